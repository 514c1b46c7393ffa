"""Say what is here and whether it is right: versions, devices, each backend's pixels, images/s.

The report is plain text, made to be pasted into an issue.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
import torch
import tyro

from fdsl_gpu.cores import num_cores
from fdsl_gpu.datasets import DatasetSpec, get_dataset, list_datasets
from fdsl_gpu.formulas.base import View
from fdsl_gpu.render import Renderer

__all__ = ["BackendCheck", "DoctorConfig", "DoctorReport", "doctor"]

DISTRIBUTIONS: Final = (
    ("fdsl_gpu", ("fdsl-gpu",)),
    ("torch", ("torch",)),
    ("torchvision", ("torchvision",)),
    ("triton", ("triton", "triton-windows", "pytorch-triton", "pytorch-triton-rocm")),
    ("numba", ("numba",)),
    ("numpy", ("numpy",)),
    ("timm", ("timm",)),
)
"""What a report names, and what it is called where packages are installed."""
ENVIRONMENT: Final = (
    "CUDA_VISIBLE_DEVICES",
    "NUMBA_CPU_NAME",
    "NUMBA_DISABLE_JIT",
    "OMP_NUM_THREADS",
    "TRITON_INTERPRET",
)
"""Variables that change who draws, or how fast."""

CHECKED_SIZES: Final = (31, 64)
"""Pixels: one that no block divides, and one that all do."""
CHECKED_IMAGES: Final = 2
FIRST_INDEX: Final = 2**33
"""Past 32 bits, where an index cut short shows."""
INTERPRETER: Final = "interpreter"
"""The device of Triton kernels without a GPU."""
INTERPRETER_POINTS: Final = 5_000
"""Points an image where a data set has more: few run every line, and slowly enough."""
CHECK_SHARE: Final = 0.65
"""Of the time, for pixels; the rest is for images/s."""
MAX_RATE_SECONDS: Final = 0.5
"""Enough for a median of each."""
OUT_OF_TIME: Final = "not checked: out of time"


@dataclass(frozen=True)
class DoctorConfig:
    """Check this installation: versions, devices, each backend's pixels against NumPy, images/s."""

    datasets: tyro.conf.Positional[tuple[str, ...]] = ()
    """Data sets to check; all by default."""
    image_size: int = 224
    """Side of the images whose rate is measured, in pixels."""
    seconds: float = 15.0
    """Time after imports; what does not fit is left out, and said."""


@dataclass(frozen=True)
class BackendCheck:
    """One backend and one data set.

    Args:
        dataset: Name of the data set.
        backend: "numpy", "numba" or "triton".
        device: Where it draws: "cpu", "cuda" or "interpreter".
        passed: Whether it draws the definition's pixels; None where it is not available.
        result: The same in words, with where it differs or why it is not available.
        rate_img_s: Images a second, instance and drawing; None where it was not measured.
    """

    dataset: str
    backend: str
    device: str
    passed: bool | None
    result: str
    rate_img_s: float | None = None


@dataclass(frozen=True)
class DoctorReport:
    """What `doctor` found; `str` gives the text to paste.

    Args:
        versions: Package and its version.
        devices: Device and what it is.
        environment: Variables that are set and matter.
        checks: One for each data set and backend.
        image_size: Pixels at which rates were measured.
    """

    versions: dict[str, str]
    devices: dict[str, str]
    environment: dict[str, str]
    checks: tuple[BackendCheck, ...]
    image_size: int

    @property
    def ok(self) -> bool:
        """Whether every backend that is available draws the definition's pixels."""
        return all(check.passed is not False for check in self.checks)

    def __str__(self) -> str:
        """Plain text in columns."""
        rows = [("data set", "backend", "device", "images/s", "pixels")]
        for check in self.checks:
            rate = "-" if check.rate_img_s is None else f"{check.rate_img_s:,.0f}"
            rows.append((check.dataset, check.backend, check.device, rate, check.result))
        outcomes = [check.passed for check in self.checks]
        verdict = f"{outcomes.count(True)} of {len(outcomes)} checks passed"
        if None in outcomes:
            verdict += f", {outcomes.count(None)} not made"
        if False in outcomes:
            verdict += f", {outcomes.count(False)} FAILED: please report it with this text"
        if any(check.result == OUT_OF_TIME for check in self.checks):
            verdict += ". For more time raise --seconds, or repeat: a first run compiles."
        sections = [_columns(self.versions.items()), _columns(self.devices.items())]
        if self.environment:
            sections.append(_columns(self.environment.items()))
        sections += [_columns(rows), f"images/s at {self.image_size} pixels; {verdict}"]
        return "\n\n".join(sections)


def doctor(config: DoctorConfig | None = None) -> DoctorReport:
    """Look at the installation and check what every backend draws.

    Without a GPU the Triton kernels run on Triton's interpreter, in a process of their own.

    Args:
        config: What to check.

    Returns:
        The report. What is broken here is in it and raises nothing.

    Raises:
        ValueError: A data set is unknown, or the image size is out of range.

    Example:
        >>> report = doctor()  # doctest: +SKIP
        >>> report.ok  # doctest: +SKIP
        True
    """
    config = config or DoctorConfig()
    # fractaldb-10k is drawn as fractaldb-1k is, after a minute for its frames
    names = config.datasets or tuple(name for name in list_datasets() if name != "fractaldb-10k")
    datasets = _each_formula_first({name: get_dataset(name) for name in names})
    for dataset in datasets.values():
        _renderer(dataset, config.image_size, "numpy", "cpu")
    if config.seconds <= 0:
        raise ValueError(f"seconds must be positive, got {config.seconds}")
    started = time.monotonic()
    gpu = torch.cuda.is_available()
    interpreter = None if gpu else _start_interpreter(tuple(datasets))
    plan = [("numpy", "cpu"), ("numba", "cpu")] + [("triton", "cuda")] * gpu
    deadline = started + CHECK_SHARE * config.seconds
    checks = []
    for dataset in datasets.values():
        for backend, device in plan:
            if time.monotonic() < deadline:
                checks.append(check_backend(dataset, backend, device))
            else:
                checks.append(BackendCheck(dataset.name, backend, device, None, OUT_OF_TIME))
    if interpreter is not None:
        checks += _finish_interpreter(interpreter, tuple(datasets), deadline)
    checks = _with_rates(checks, datasets, config.image_size, started + config.seconds)
    return DoctorReport(
        _versions(),
        _devices(),
        {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        tuple(sorted(checks, key=lambda check: names.index(check.dataset))),
        config.image_size,
    )


def check_backend(
    dataset: DatasetSpec, backend: str, device: str, sizes: tuple[int, ...] = CHECKED_SIZES
) -> BackendCheck:
    """Compare what a backend draws with the definition, on a few small images.

    Args:
        dataset: What is drawn.
        backend: "numpy", "numba" or "triton".
        device: "cpu" or "cuda".
        sizes: Sides of the images, in pixels.

    Returns:
        Passed, failed or not available, and why.
    """
    check = BackendCheck(dataset.name, backend, device, passed=None, result="")
    try:
        renderers = [_renderer(dataset, size, backend, device) for size in sizes]
    except (ValueError, RuntimeError) as error:
        return replace(check, result=f"not available: {error}")
    try:
        differences = [_difference(renderer) for renderer in renderers]
    except Exception as error:  # a report says what is broken, whatever it is
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return replace(check, passed=False, result=f"FAILED: {reason}")
    if any(differences):
        return replace(
            check, passed=False, result=f"DIFFERENT: {'; '.join(filter(None, differences))}"
        )
    result = "the definition" if backend == "numpy" else "equal"
    return replace(check, passed=True, result=result)


def _each_formula_first(datasets: dict[str, DatasetSpec]) -> dict[str, DatasetSpec]:
    """In an order in which what does not fit into the time is variants of what was checked."""
    variants: Counter[type] = Counter()
    rank = {}
    for name, dataset in datasets.items():
        rank[name] = variants[type(dataset.formula)]
        variants[type(dataset.formula)] += 1
    return {name: datasets[name] for name in sorted(datasets, key=rank.__getitem__)}


def _renderer(dataset: DatasetSpec, size: int, backend: str, device: str) -> Renderer:
    return Renderer(dataset, View(size), device=torch.device(device), backend=backend)


def _difference(renderer: Renderer) -> str:
    """Where the images differ from the definition's, in words; nothing where they are equal."""
    indices = np.arange(FIRST_INDEX, FIRST_INDEX + CHECKED_IMAGES, dtype=np.uint64)
    instance = renderer.instance(indices)
    images, _ = renderer.draw(instance)
    if renderer.backend == "numpy":  # this is the definition
        return ""
    actual = images.cpu().numpy()
    expected = np.empty_like(actual)
    renderer.dataset.formula.draw_numpy(instance, expected)
    wrong = np.argwhere(actual != expected)
    if not wrong.size:
        return ""
    sample, channel, row, column = wrong[0]
    return (
        f"{len(wrong)} of {actual.size} values at {renderer.view.image_size} pixels, first in "
        f"sample {indices[sample]}, channel {channel}, row {row}, column {column}"
    )


def _start_interpreter(names: tuple[str, ...]) -> subprocess.Popen[str]:
    """Check the Triton kernels in a process of their own: triton decides at import to interpret."""
    code = "import sys; from fdsl_gpu.doctor import _interpret; _interpret(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )


def _interpret(names: list[str]) -> None:
    """Print the checks of the interpreted kernels as JSON, one a line: what that process runs."""
    for name in names:
        dataset = get_dataset(name)
        if "num_points" in dataset.settings():
            dataset = dataset.replace(num_points=INTERPRETER_POINTS)
        check = check_backend(dataset, "triton", "cpu", CHECKED_SIZES[:1])
        print(json.dumps(asdict(replace(check, device=INTERPRETER))), flush=True)


def _finish_interpreter(
    process: subprocess.Popen[str], names: tuple[str, ...], deadline: float
) -> list[BackendCheck]:
    """The checks of the interpreted kernels, as many as there was time for."""
    try:
        printed, errors = process.communicate(timeout=max(0, deadline - time.monotonic()))
        reason = f"not available: {(errors.strip().splitlines() or ['it stopped'])[-1]}"
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
        reason = OUT_OF_TIME
    checks = [BackendCheck(**json.loads(line)) for line in printed.splitlines()]
    missing = names[len(checks) :]
    return checks + [BackendCheck(name, "triton", INTERPRETER, None, reason) for name in missing]


def _with_rates(
    checks: list[BackendCheck], datasets: dict[str, DatasetSpec], image_size: int, deadline: float
) -> list[BackendCheck]:
    """The checks with images/s where pixels are right; an equal share of the time for each."""
    able = [check for check in checks if check.passed and check.device != INTERPRETER]
    rates = {}
    for number, check in enumerate(able):
        left = deadline - time.monotonic()
        if left > 0:
            seconds = min(left / (len(able) - number), MAX_RATE_SECONDS)
            rates[check] = _rate(datasets[check.dataset], image_size, check, seconds)
    return [replace(check, rate_img_s=rates.get(check)) for check in checks]


def _rate(dataset: DatasetSpec, image_size: int, check: BackendCheck, seconds: float) -> float:
    """Images a second, instance and drawing: the median of batches."""
    renderer = _renderer(dataset, image_size, check.backend, check.device)
    batch = {"numpy": 2, "numba": 64, "triton": 1024}[check.backend]
    times: list[float] = []
    end = time.perf_counter() + seconds
    first = 0
    while len(times) < 2 or time.perf_counter() < end:
        indices = np.arange(first, first + batch, dtype=np.uint64)
        started = time.perf_counter()
        images, _ = renderer.draw(renderer.instance(indices))
        if images.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        first += batch
    # the first batch allocates and, at a new size, compiles
    return batch / statistics.median(times[1:])


def _versions() -> dict[str, str]:
    """What is installed, without importing it."""
    versions = {"python": f"{platform.python_version()} on {platform.platform()}"}
    for package, distributions in DISTRIBUTIONS:
        versions[package] = "not installed"
        for distribution in distributions:
            try:
                versions[package] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    versions["torch"] = torch.__version__  # with what it was built for
    return versions


def _devices() -> dict[str, str]:
    """The CPU and each GPU that torch sees."""
    cores = num_cores()
    devices = {
        "cpu": f"{_cpu_model()}, {cores} core{'s' * (cores > 1)}, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    }
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        devices[f"cuda:{number}"] = (
            f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, "
            f"compute capability {gpu.major}.{gpu.minor}, {runtime}"
        )
    if not torch.cuda.device_count():
        devices["gpu"] = "none that torch sees"
    return devices


def _cpu_model() -> str:
    """The CPU's name: Linux tells it in a file, other systems to the standard library."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _columns(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows as text, each column as wide as it needs."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
