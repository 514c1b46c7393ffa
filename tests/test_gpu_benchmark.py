import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
BENCHMARK = (
    "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_benchmark_runs_one_tiny_round(run_python):
    printed = run_python(
        BENCHMARK,
        ROOT / "benchmarks" / "gpu.py",
        "--quick",
        "--device=cpu",
        TRITON_INTERPRET=1,
    )
    for measure in ("copy", "instance", "walk", "resolve traffic", "draw", "test_resnet drawing"):
        assert f"\n{measure} " in printed, measure
    assert "device interpreter" in printed


def test_model_of_the_page_is_the_one_that_the_script_prints(run_python):
    printed = run_python(BENCHMARK, ROOT / "benchmarks" / "gpu_model.py")
    page = (ROOT / "docs" / "performance-gpu.md").read_text()
    tables = printed.strip().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        assert table in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_says_so():
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py"]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 1
    assert process.stderr.startswith("gpu.py: backend 'triton' needs a GPU and torch sees none")
