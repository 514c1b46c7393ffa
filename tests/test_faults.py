"""What goes wrong while batches are drawn: a clear error or an exact continuation, never a hang."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import interruptible
from torch.utils.data import DataLoader

from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.render import describe
from fdsl_gpu.stream import FormulaStream

EARLY = "the last iteration over this DataLoader was left early: this one starts again"


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


@pytest.fixture
def warnings_of_workers(tmp_path):
    """What all processes have warned of so far."""
    path, logger = tmp_path / "log.txt", logging.getLogger("fdsl_gpu")
    handler = logging.FileHandler(path)
    logger.addHandler(handler)
    yield path.read_text
    logger.removeHandler(handler)
    handler.close()


def stream_of(spec, num_samples=40, batch_size=4, **settings):
    return FormulaStream(
        spec, batch_size, image_size=16, backend="numpy", num_samples=num_samples, **settings
    )


def workers(stream, num_workers=2, **settings):
    return DataLoader(stream, batch_size=None, num_workers=num_workers, **settings)


def labels(batches):
    return [label for _, target in batches for label in target.tolist()]


def expected(spec, *indices):
    return describe(spec, range(*indices))["label"].tolist()


def test_a_killed_worker_is_an_error_and_the_epoch_can_start_again(small, warnings_of_workers):
    others = set(multiprocessing.active_children())
    loader = workers(stream_of(small, num_samples=4000))
    batches = iter(loader)
    next(batches)
    os.kill((set(multiprocessing.active_children()) - others).pop().pid, signal.SIGKILL)
    # torch's own error depends on what the worker was doing
    with pytest.raises((RuntimeError, OSError, EOFError)):
        list(batches)
    del batches
    assert labels([next(iter(loader))]) == expected(small, 4)
    assert EARLY in warnings_of_workers()


@pytest.mark.parametrize("persistent", [False, True])
def test_an_iteration_left_early_starts_again_and_says_so(small, persistent, warnings_of_workers):
    stream = stream_of(small)
    loader = workers(stream, persistent_workers=persistent)
    for _ in loader:
        break
    assert EARLY not in warnings_of_workers()
    assert labels(loader) == expected(small, 40)
    assert warnings_of_workers().count(EARLY) == 1
    assert labels(loader) == expected(small, 40, 80)
    for _ in loader:
        break
    stream.set_epoch(7)  # a deliberate change needs no warning
    assert labels(loader) == expected(small, 280, 320)
    assert warnings_of_workers().count(EARLY) == 1


def test_state_is_refused_where_only_workers_know_it(small):
    stream = stream_of(small)
    loader = workers(stream)
    batches = iter(loader)
    next(batches)
    with pytest.raises(RuntimeError, match="only they know where; save torchdata's Stateful"):
        stream.state_dict()
    list(batches)
    assert stream.state_dict()["position"] == 40
    # and whoever goes on goes on there
    assert labels(stream) == expected(small, 40, 80)
    assert labels(loader) == expected(small, 80, 120)


@pytest.mark.filterwarnings("ignore:'set_vital'")
@pytest.mark.parametrize("num_workers", [0, 2, 3])
@pytest.mark.parametrize("steps", [1, 5, 9, 10])
def test_stateful_dataloader_goes_on_after_any_batch(small, num_workers, steps):
    from torchdata.stateful_dataloader import StatefulDataLoader

    def make():
        return StatefulDataLoader(stream_of(small), batch_size=None, num_workers=num_workers)

    loader = make()
    batches = iter(loader)
    for _ in range(steps):
        next(batches)
    state = loader.state_dict()
    del batches
    restored = make()
    restored.load_state_dict(state)
    # in this process the epoch is over after its last batch, a worker has yet to be asked for more
    if num_workers or steps < 10:
        assert labels(restored) == expected(small, 4 * steps, 40)
    assert labels(restored) == expected(small, 40, 80)


@pytest.mark.parametrize("num_workers", [4, 7])
def test_more_workers_than_batches(small, num_workers):
    loader = workers(stream_of(small, num_samples=12), num_workers)
    assert labels(loader) == expected(small, 12)
    assert labels(loader) == expected(small, 12, 24)


def test_another_global_batch_goes_on_at_the_next_sample(small):
    loader = FormulaLoader(stream_of(small, num_samples=None))
    batches = iter(loader)
    next(batches), next(batches)
    batches.close()
    parts = []
    for rank in (0, 1):
        other = FormulaLoader(stream_of(small, None, 3, rank=rank, world_size=2))
        other.load_state_dict(loader.state_dict())
        batches = iter(other)
        parts += [next(batches), next(batches)]
        batches.close()
    assert labels(parts[0::2]) == expected(small, 8, 14)
    assert labels(parts[1::2]) == expected(small, 14, 20)


@pytest.mark.parametrize(
    "change",
    [{"seed": 9}, {"version": 2}, {"dataset": "other"}, {"num_samples": 44}, {"position": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_loader_refuses_a_state_of_another_stream_and_goes_on(small, change):
    loader = FormulaLoader(stream_of(small))
    batches = iter(loader)
    next(batches)
    batches.close()
    with pytest.raises(ValueError, match=next(iter(change))):
        loader.load_state_dict({**loader.state_dict(), **change})
    assert labels(loader) == expected(small, 4, 40)


def test_a_gpu_is_not_drawn_on_in_a_worker(small):
    stream = stream_of(small)
    object.__setattr__(stream.renderer, "device", torch.device("cuda"))
    with pytest.raises(RuntimeError, match="pass num_workers=0, got 2"):
        next(iter(workers(stream)))


INTERRUPTED = """
import sys, time
sys.path.insert(0, {tests!r})
from conftest import contracting_table
from torch.utils.data import DataLoader
from fdsl_gpu import DatasetSpec, FormulaLoader, FormulaStream
from fdsl_gpu.formulas.ifs import IfsFormula

spec = DatasetSpec("small", 1, IfsFormula(contracting_table(), num_walks=128, num_points=2688))
stream = FormulaStream(spec, 4, image_size=16, backend="numpy")
for loader in (FormulaLoader(stream), DataLoader(stream, batch_size=None, num_workers=2)):
    steps = 0
    try:
        for _ in loader:
            steps += 1
            print("step", flush=True)
            time.sleep(0.1)  # where the interrupt finds it
    except KeyboardInterrupt:
        if isinstance(loader, FormulaLoader):
            print("missed", loader.state_dict()["position"] - 4 * steps, flush=True)
        print("interrupted", flush=True)
"""


def test_an_interrupt_ends_at_once_with_an_exact_state():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(tests=os.path.dirname(__file__))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,
    )
    lines = []
    for _ in range(2):  # a FormulaLoader, then a DataLoader with workers
        while lines[-3:] != ["step\n"] * 3:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
        while not lines[-1].startswith("interrupted"):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "missed 0\n" in lines and not rest
