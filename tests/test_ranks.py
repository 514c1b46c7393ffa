"""torchrun on this machine: the same batches and the same learning for any number of ranks."""

import csv
import dataclasses
import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks_script import CONFIG, GLOBAL_BATCH, make_loader

from fdsl_gpu.pretrain import pretrain

SCRIPT = Path(__file__).parent / "ranks_script.py"


def torchrun(world_size, *arguments):
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(world_size), str(SCRIPT), *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=240,
    )


def losses(folder):
    with (folder / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    return torch.tensor(
        [[float(row[name] or 0) for name in ("loss", "val_loss", "lr")] for row in rows]
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two ranks of which one dies, then one process for two steps, then four ranks to the end."""
    folder = tmp_path_factory.mktemp("ranks")
    two, one, four = (folder / name for name in ("two", "one", "four"))
    for each in (two, one, four):
        each.mkdir()
    died = torchrun(2, two, "--die-at", 3)
    pretrain(dataclasses.replace(CONFIG, output=one / "run"))
    loader = make_loader()
    loader.load_state_dict(json.loads((two / "state.json").read_text()))
    batches = iter(loader)
    for step in (3, 4):
        torch.save(next(batches), one / f"step{step}-rank0.pt")
    (four / "state.json").write_text(json.dumps(loader.state_dict()))
    batches.close()
    finished = torchrun(4, four)
    return two, one, four, died, finished


def test_a_rank_that_dies_ends_the_job_with_an_error(folders):
    *_, died, _ = folders
    assert died.returncode == 1 and "exitcode  : 3" in died.stderr, died.stderr


def test_batches_are_those_of_one_process_whatever_happened(folders):
    two, one, four, _, finished = folders
    assert finished.returncode == 0, finished.stderr
    loader = make_loader()
    expected = [batch for _ in range(2) for batch in loader]
    assert len(expected) == 10
    world = {**dict.fromkeys(range(3), (two, 2)), 3: (one, 1), 4: (one, 1)}
    for step, batch in enumerate(expected):
        folder, world_size = world.get(step, (four, 4))
        parts = [torch.load(folder / f"step{step}-rank{rank}.pt") for rank in range(world_size)]
        assert {len(images) for images, _ in parts} == {GLOBAL_BATCH // world_size}
        for actual, whole in zip(zip(*parts, strict=True), batch, strict=True):
            assert torch.equal(torch.cat(actual), whole), f"step {step}"
    assert not list(two.glob("step3-*"))


def test_pretraining_learns_alike_on_one_two_and_four_ranks(folders):
    two, one, four, *_ = folders
    alone = losses(one)
    assert alone.shape == (8, 3) and alone[:, 0].min() > 0
    for folder in (two, four):
        torch.testing.assert_close(losses(folder), alone, rtol=2e-5, atol=0)


def test_the_arithmetic_in_the_documentation_is_right():
    document = Path(__file__).parents[1] / "docs" / "scaling.md"
    result = doctest.testfile(str(document), module_relative=False)
    assert result.attempted == 6 and result.failed == 0
