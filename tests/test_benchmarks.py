"""The benchmarks of memory and of families of fractals, on a small scale."""

import csv
import importlib
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a benchmark; it may set the number of threads."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, loaded = torch.get_num_threads(), []

    def load(name):
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    torch.set_num_threads(threads)
    for name in loaded:
        sys.modules.pop(name)


def test_soak_fails_where_memory_grows(load, tmp_path, monkeypatch, capsys):
    soak = load("soak")
    config = soak.Config(batches=40, batch_size=2, output=tmp_path)
    levels = iter(range(10**6))
    monkeypatch.setattr(soak, "resident", lambda: 2**30 + next(levels) * 2**20)
    assert soak.main(config) == 1
    # 40 notes, 1 MB more each: the last four are 32 MB above those in places four to seven
    assert "GROWING: +32.0 MB over 40 batches" in capsys.readouterr().out
    monkeypatch.setattr(soak, "resident", lambda: 2**30)
    assert soak.main(config) == 0
    with (tmp_path / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["batches"]) for row in rows] == list(range(1, 41))
    assert rows[0]["resident_mb"] == "1024.0"


def test_families_are_compared_with_the_first(load, tmp_path, monkeypatch):
    families = load("families")
    few = {"num_points": 1_024}
    chosen = {
        "2D": ("fractaldb-1k", few),
        "graded": ("wacv-1k", {**few, "background": "black"}),
    }
    monkeypatch.setattr(families, "FAMILIES", chosen)
    families.main(families.Config(output=tmp_path, rounds=2, batch=2))
    with (tmp_path / "families.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["times_fractaldb"] == "1.000" and float(second["times_fractaldb"]) > 0
    assert (second["family"], second["dataset"]) == ("graded", "wacv-1k")
