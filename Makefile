# Each target makes its own virtual environment from nothing. Needs Python 3.10+, git and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test study-smoke lint types format check clean

demo: $(VENV)/.installed
	$(BIN)/fdsl-gpu demo

test: $(VENV)/.installed-dev
	@command -v cc >/dev/null || command -v gcc >/dev/null || \
	  { echo "make test needs a C compiler (gcc or cc): it runs the compiled PTX of the kernels on the CPU"; exit 1; }
	$(BIN)/python -m pytest -n 2

# does pre-training help? not part of make test
study-smoke: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/transfer_smoke.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint types test

# torch and torchvision are resolved in one command: a torchvision for another torch fails at import
$(VENV)/.installed: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
