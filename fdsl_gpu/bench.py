"""What drawing costs on this machine, against other ways to get the same images, in one run.

Every contender draws in turn, round after round, and is timed by its thread's CPU time, so that
other work on the machine disturbs all alike; ratios are medians of the rounds.
"""

from __future__ import annotations

import csv
import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import fdsl_gpu
from fdsl_gpu import baselines
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.formulas.ifs import IfsInstance, walk
from fdsl_gpu.formulas.view import View
from fdsl_gpu.render import Renderer, render

__all__ = ["BenchConfig", "Row", "bench", "device_name", "write_csv"]

# (data set, image size, points or None for its own)
CASES: Final = (
    ("fractaldb-1k", 362, None),
    ("fractaldb-1k", 224, None),
    ("fractaldb-1k", 224, 50_000),
)
OTHERS: Final = ("rcdb-1k", "visualatom-1k", "perlin-100", "exfractaldb-1k")


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a benchmark.

    Args:
        output: Also write the rows to this CSV file.
        rounds: Rounds of all contenders.
        batch: Images of a round and contender; the slow ones draw fewer.
        quick: A tiny run that shows that everything works.
    """

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    rounds: int = 15
    batch: int = 64
    quick: bool = False


@dataclass(frozen=True)
class Row:
    """One figure: CPU microseconds an image, and how often that fits into the baseline's."""

    dataset: str
    contender: str
    image_size: int
    num_points: int
    p50_us: float
    p20_us: float
    p80_us: float
    times_ours: float
    """Median over the rounds of its time over ours: 30 means that ours is 30 times as fast."""


@dataclass
class _Contender:
    name: str
    run: Callable[[], Any]
    images: int
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        started = time.thread_time()
        self.run()
        self.seconds.append((time.thread_time() - started) / self.images)


def bench(config: BenchConfig, say: Callable[[str], None] = lambda line: None) -> list[Row]:
    """Measure one core, with every equality checked before anything is timed.

    Args:
        config: Settings.
        say: Called with a line for each figure, as it is known.

    Raises:
        RuntimeError: The drawing that would be timed is not the definition's.
        ValueError: A setting is out of range.
    """
    if config.rounds < 1 or config.batch < 1:
        raise ValueError(
            f"rounds and batch must be at least 1, got {config.rounds} and {config.batch}"
        )
    rounds, batch = (1, 2) if config.quick else (config.rounds, config.batch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thread CPU time counts one thread
    try:
        rows: list[Row] = []
        for name, size, num_points in CASES:
            spec = get_dataset(name)
            if num_points is not None:
                spec = spec.replace(num_points=num_points)
            new = _measured(spec, size, batch, rounds, _fractal_contenders(spec, size, batch))
            for row in new:
                say(_line(row))
            rows += new
        for name in OTHERS:
            rows += _measured(get_dataset(name), 224, min(batch, 8), rounds, [])
            say(_line(rows[-1]))
    finally:
        torch.set_num_threads(threads)
    if config.output is not None:
        write_csv(rows, config.output)
    return rows


def _measured(
    spec: DatasetSpec, size: int, batch: int, rounds: int, others: list[_Contender]
) -> list[Row]:
    _check(spec, size)
    renderer = Renderer(spec, View(size), backend="numba")
    numbers = iter(range(10**9))

    def draw() -> None:
        first = next(numbers) * batch
        indices = np.arange(first, first + batch, dtype=np.uint64)
        renderer.draw(renderer.instance(indices))

    ours = _Contender("fdsl_gpu (numba)", draw, batch)
    contenders = [ours, *others]
    for contender in contenders:
        contender.run()  # compiles, and fills the caches
    for _ in range(rounds):
        for contender in contenders:
            contender.measure()
    num_points = getattr(spec.formula, "num_points", 0)
    return [
        Row(
            spec.name,
            contender.name,
            size,
            num_points,
            *_microseconds(contender.seconds),
            float(np.median(np.divide(contender.seconds, ours.seconds))),
        )
        for contender in contenders
    ]


def _microseconds(seconds: list[float]) -> tuple[float, float, float]:
    p50, p20, p80 = (float(1e6 * np.percentile(seconds, share)) for share in (50, 20, 80))
    return p50, p20, p80


def _check(spec: DatasetSpec, size: int) -> None:
    """Refuse to time a drawing that is not the definition's."""
    for indices in ([0, 1], [2**40]):
        drawn, expected = (
            render(spec, indices, image_size=size, backend=backend)[0]
            for backend in ("numba", "numpy")
        )
        if not torch.equal(drawn, expected):
            raise RuntimeError(
                f"the numba drawing of {spec.name!r} at {size} pixels is not the definition's: "
                "nothing is timed; please report it with the output of `fdsl-gpu doctor`"
            )


def _fractal_contenders(spec: DatasetSpec, size: int, batch: int) -> list[_Contender]:
    """The baselines, on the systems of the first samples that stay finite."""
    formula: Any = spec.formula
    table, count = formula.table, max(2, min(batch, 16))
    categories = np.arange(count)
    own = [np.isfinite(table.maps[k, :, 0]) for k in categories]
    systems = [
        (np.ascontiguousarray(table.maps[k, own[k]]), table.probs[k, own[k]]) for k in categories
    ]
    maps = torch.from_numpy(np.nan_to_num(table.maps[categories])).float()
    probs = torch.from_numpy(table.probs[categories]).float()
    stored = [
        baselines.encode(image.numpy()) for image in render(spec, range(count), image_size=362)[0]
    ]
    instance: Any = formula.instance(np.arange(count, dtype=np.uint64), 0, View(size))
    places = _places(instance, size)
    canvas = np.zeros(size * size, np.int32)

    def sequential() -> None:
        for system in systems:
            baselines.sequential(*system, size, formula.num_points)

    def replay() -> None:
        for each in places:
            baselines.replay_stores(each, canvas)

    return [
        _Contender("sequential Numba walk, 3x3 splat", sequential, count),
        _Contender(
            "batched torch operations",
            lambda: baselines.batched(maps, probs, size, formula.num_points, formula.num_walks),
            count,
        ),
        _Contender(
            "PIL decoding the stored 362x362 PNG",
            lambda: [baselines.decode(each) for each in stored],
            count,
        ),
        _Contender("fdsl_gpu, its walks alone", lambda: baselines.walks_alone(instance), count),
        _Contender("floor: one int32 store a point", replay, count),
    ]


def _places(instance: IfsInstance, size: int) -> list[NDArray[np.int32]]:
    """The pixels that the points of each sample fall on, in order."""
    places = []
    for sample in range(len(instance.label)):
        x, y = (axis.ravel() for axis in walk(instance, sample))
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        places.append(y[inside].astype(np.int32) * size + x[inside].astype(np.int32))
    return places


def _line(row: Row) -> str:
    points = f", {row.num_points:,} points" if row.num_points else ""
    ratio = "" if row.times_ours == 1 else f"   {row.times_ours:6.2f} x ours"
    return (
        f"{row.dataset} {row.image_size}x{row.image_size}{points}   {row.contender:36} "
        f"{row.p50_us:10,.0f} us an image [{row.p20_us:,.0f}, {row.p80_us:,.0f}]{ratio}"
    )


def device_name() -> str:
    """The CPU as its maker names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "CPU")


def write_csv(rows: list[Row], path: Path) -> None:
    """Write the rows with what they were measured on."""
    import numba

    about = {
        "device": device_name(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "threads": 1,
        "version": fdsl_gpu.__version__,
        "date": datetime.date.today().isoformat(),
    }
    table = [{**vars(row), **about} for row in rows]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        for row in table:
            writer.writerow(
                {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in row.items()}
            )
