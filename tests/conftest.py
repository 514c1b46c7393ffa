"""What every test may use: reference data, small data sets, and the one marker for a GPU."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("fdsl_gpu.kernels") is None:
    raise pytest.UsageError("fdsl_gpu is not installed in editable mode; run: pip install -e .")

import torch  # noqa: E402

from fdsl_gpu.formulas.ifs import IfsFormula  # noqa: E402
from fdsl_gpu.formulas.ifs_table import IfsTable  # noqa: E402

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


def interruptible():
    """Let SIGINT reach a child: what is started in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def reference_data():
    """Folder of published parameters and of what the published renderer drew from them."""
    folder = os.environ.get("FDSL_GPU_REFERENCE_DATA")
    if folder is None:
        pytest.skip("FDSL_GPU_REFERENCE_DATA does not name the folder of published reference data")
    return Path(folder)


@pytest.fixture(scope="session")
def run_python():
    """Run Python code in a process of its own and return what it printed."""

    def run(code, *arguments, **environment):
        process = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run


def contracting_table(num_maps=(2, 3, 4, 5, 6, 7, 8), num_weights=3, seed=7):
    """A table of one contracting category for each number of maps: its walks stay in the frame."""
    random = np.random.default_rng(seed)
    num_classes, width = len(num_maps), max(num_maps)
    maps = np.full((num_classes, width, 6), np.nan)
    probs = np.zeros((num_classes, width))
    for category, count in enumerate(num_maps):
        maps[category, :count, :4] = random.uniform(-0.6, 0.6, (count, 4))
        maps[category, :count, 4:] = random.uniform(-1, 1, (count, 2))
        probs[category, :count] = random.dirichlet(np.ones(count))
    weights = np.ones((num_weights, 6))
    weights[1:, 0] = np.linspace(0.6, 1.4, num_weights - 1)
    boxes = np.empty((num_classes, num_weights, 4))
    boxes[..., 0::2], boxes[..., 1::2] = -2.5, 2.5
    return IfsTable(maps, probs, weights, boxes)


@pytest.fixture
def small_ifs():
    """Seven categories of 2 to 8 maps, few walks and steps: drawn in milliseconds even by NumPy."""
    return IfsFormula(contracting_table(), num_walks=128, num_points=128 * 21, burn_in=4)
