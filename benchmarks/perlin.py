"""What Perlin noise costs on one CPU core, against the package noise and batches in torch.

    pip install noise                     # C; it compiles itself. Left out where it is missing
    python benchmarks/perlin.py           # a minute; writes results/perlin.csv and perlin.png
    python benchmarks/perlin.py --quick   # one tiny round, to see that it runs; nothing is kept

First the compiled drawing is compared with the NumPy definition, pixel for pixel, and the torch
versions with its noise: what draws something else is not timed. (The package noise has gradients
of its own.) Times are CPU seconds of the one thread, in rounds that take turns, so that other work
on the machine falls on all alike; the ratio is the median over the rounds. The package is called
once a pixel, as it is meant to be. The torch versions may do what a stream of mixed categories may
not: all images of a batch have the same cells, so that places are made once and gradients are
selected by whole rows and columns. One of them blends four ramps a pixel, as it is written
everywhere; the other one blends columns of corners first, as the definition does. Each gets the
batch size out of four that suits it best.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from csv_tables import read_rows, write_rows
from torch import Tensor

from fdsl_gpu.backends.numba.perlin import draw
from fdsl_gpu.bench import device_name
from fdsl_gpu.formulas.perlin import (
    CORNER_MULTIPLIER,
    PerlinFormula,
    PerlinInstance,
    amplitudes,
    gradients,
    noise,
)
from fdsl_gpu.formulas.view import View
from fdsl_gpu.rng import mix

RESULTS = Path(__file__).parent / "results" / "perlin.csv"
BATCHES = (1, 4, 16, 64)


@dataclass(frozen=True)
class Case:
    """Noise of one category.

    Args:
        cells: Cells a side.
        octaves: Octaves added up.
    """

    cells: int
    octaves: int = 1

    @property
    def formula(self) -> PerlinFormula:
        """The data set of this category alone."""
        return PerlinFormula(
            num_frequencies=1,
            min_frequency=self.cells,
            max_frequency=self.cells,
            num_octaves=self.octaves,
        )

    def samples(self, image_size: int, count: int) -> PerlinInstance:
        """The first samples, all at the phase of the first."""
        samples = self.formula.instance(np.arange(count, dtype=np.uint64), 0, View(image_size))
        samples.phase[:] = samples.phase[0]
        return samples


CASES = [Case(2), Case(8), Case(32), Case(8, octaves=4)]


def fade(t: Tensor) -> Tensor:
    """Perlin's blend."""
    return t * t * t * (t * (t * 6 - 15) + 10)


def lattices(samples: PerlinInstance, count: int, octave: int) -> Tensor:
    """Gradients of all corners of an octave, [N, 2, rows, columns]; not timed."""
    cells = int((samples.frequency.max() + 1) * 2**octave) + 2
    row, column = np.indices((cells, cells)).reshape(2, -1)
    corner = (column + row * CORNER_MULTIPLIER).astype(np.uint32)
    keys = samples.key[:count].astype(np.uint32) + np.array([0, octave], np.uint32)
    numbers = np.stack([mix(corner, *key) >> np.uint32(28) for key in keys])
    vectors = np.stack(gradients())[:, numbers].swapaxes(0, 1)
    return torch.from_numpy(vectors.reshape(count, 2, cells, cells))


def places(samples: PerlinInstance, octave: int) -> tuple[list[Tensor], list[Tensor]]:
    """Cells of the columns and rows of pixels, and places in them."""
    pixels = torch.arange(samples.image_size) + 0.5
    where = [
        (pixels * float(samples.step[0, axis]) + float(samples.phase[0, axis])) * 2**octave
        for axis in (0, 1)
    ]
    return [each.long() for each in where], [each - each.floor() for each in where]


def corner_by_corner(samples: PerlinInstance, lattice: Tensor, octave: int) -> Tensor:
    """Four ramps a pixel, blended across and then down: [N, S, S]."""
    (left, top), (tx, ty) = places(samples, octave)
    ty = ty[:, None]

    def ramp(right: int, down: int) -> Tensor:
        g = lattice.index_select(2, top + down).index_select(3, left + right)
        return g[:, 0] * (tx - right) + g[:, 1] * (ty - down)

    across, along = fade(tx), fade(ty)
    upper = torch.lerp(ramp(0, 0), ramp(1, 0), across)
    return torch.lerp(upper, torch.lerp(ramp(0, 1), ramp(1, 1), across), along)


def columns_first(samples: PerlinInstance, lattice: Tensor, octave: int) -> Tensor:
    """Two numbers a row of pixels and column of corners, then one blend a pixel: [N, S, S]."""
    (left, top), (tx, ty) = places(samples, octave)
    ty = ty[:, None]
    along = fade(ty)
    upper, lower = lattice.index_select(2, top), lattice.index_select(2, top + 1)
    slope = torch.lerp(upper[:, 0], lower[:, 0], along)
    height = torch.lerp(upper[:, 1] * ty, lower[:, 1] * (ty - 1), along)
    near, far = (
        torch.addcmul(
            height.index_select(2, left + right), slope.index_select(2, left + right), tx - right
        )
        for right in (0, 1)
    )
    return torch.lerp(near, far, fade(tx))


def in_torch(
    version: Callable[..., Tensor], samples: PerlinInstance, grids: list[Tensor]
) -> Tensor:
    """Gray levels of a batch, [N, S, S]."""
    strengths = amplitudes(samples.num_octaves, samples.persistence).tolist()
    total = version(samples, grids[0], 0) * strengths[0]
    for octave, strength in enumerate(strengths[1:], 1):
        total += version(samples, grids[octave], octave) * strength
    return total.mul_(180).add_(128).clamp_(0, 255).to(torch.uint8)


def by_package(samples: PerlinInstance) -> np.ndarray:
    """One image, a call a pixel."""
    from noise import pnoise2

    pixels = np.arange(samples.image_size) + 0.5
    x, y = ((pixels * samples.step[0, axis] + samples.phase[0, axis]).tolist() for axis in (0, 1))
    octaves = samples.num_octaves
    values = [[pnoise2(u, v, octaves) for u in x] for v in y]
    return np.clip(128 + 180 * np.array(values), 0, 255).astype(np.uint8)


def has_package() -> bool:
    """Whether the package noise can be imported; if not, it says how to get it."""
    try:
        import noise  # noqa: F401
    except ImportError:
        print("the package noise is not installed, so it is left out; cure: pip install noise")
        return False
    return True


def check(case: Case, image_size: int) -> None:
    """Refuse to time a drawing that is not the definition's."""
    samples = case.samples(image_size, 2)
    expected, actual = np.zeros((2, 2, 1, image_size, image_size), np.uint8)
    case.formula.draw_numpy(samples, expected)
    draw(samples, actual)
    if not np.array_equal(expected, actual):
        raise RuntimeError(f"{case}: the compiled drawing is not the definition's")
    grids = [lattices(samples, 2, octave) for octave in range(case.octaves)]
    strengths = amplitudes(case.octaves, samples.persistence)
    for version in (corner_by_corner, columns_first):
        total = sum(version(samples, grids[k], k) * float(strengths[k]) for k in range(len(grids)))
        if abs(total[1].numpy() - noise(samples, 1)).max() > 1e-4:
            raise RuntimeError(f"{case}: {version.__name__} is not the definition's noise")


def cpu_ms(work: Callable[[], object], images: int) -> float:
    """CPU time of this thread, for each of so many images."""
    start = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - start) / images


def contenders(
    case: Case, image_size: int, batches: tuple[int, ...]
) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, by name, and how many images it draws."""
    samples = case.samples(image_size, max(batches))
    images = np.zeros((max(batches), 1, image_size, image_size), np.uint8)
    found: dict[str, tuple[Callable[[], object], int]] = {
        "numba": (partial(draw, samples, images), max(batches))
    }
    grids = [lattices(samples, max(batches), octave) for octave in range(case.octaves)]
    for version in (corner_by_corner, columns_first):
        name = "torch, " + version.__name__.replace("_", " ")
        works = [
            (partial(in_torch, version, samples, [grid[:count].clone() for grid in grids]), count)
            for count in batches
        ]
        for work, _ in works:
            work()
        found[name] = min(works, key=lambda each: min(cpu_ms(*each) for _ in range(3)))
    if has_package():
        found["noise.pnoise2, a call a pixel"] = partial(by_package, samples), 1
    return found


def main(image_size: int = 224, rounds: int = 9, quick: bool = False) -> None:
    """Time every case.

    Args:
        image_size: Side of the images in pixels.
        rounds: Rounds; in each, everyone draws once.
        quick: One tiny round.
    """
    batches = BATCHES
    if quick:
        image_size, rounds, batches = 33, 1, (2,)
    torch.set_num_threads(1)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    rows = []
    for case in CASES:
        check(case, image_size)
        works = contenders(case, image_size, batches)
        times = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                times[name].append(cpu_ms(*work))
        for name, spent in times.items():
            ratios = [other / own for other, own in zip(spent, times["numba"], strict=True)]
            rows.append(
                {
                    "cells": case.cells,
                    "octaves": case.octaves,
                    "drawing": name,
                    "batch": works[name][1],
                    "image_size": image_size,
                    "ms_image_p50": f"{statistics.median(spent):.4f}",
                    "ms_image_min": f"{min(spent):.4f}",
                    "times_numba": f"{statistics.median(ratios):.1f}",
                    "rounds": rounds,
                    "device": device_name(),
                    "torch": torch.__version__,
                    "date": today,
                }
            )
            print("  ".join(f"{value:>{width}}" for value, width in zip(
                [*rows[-1].values()][:8], (2, 1, 30, 2, 4, 9, 9, 7), strict=True)))  # fmt: skip
    if quick:
        return
    write_rows(RESULTS, list(rows[0]), rows)
    plot(RESULTS)


def plot(source: Path) -> None:
    """Draw the plot beside its CSV."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_rows(source)
    names = list(dict.fromkeys(row["drawing"] for row in rows))
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for number, name in enumerate(names):
        own = [row for row in rows if row["drawing"] == name]
        bars = axes.bar(
            [case + (number - (len(names) - 1) / 2) * 0.2 for case in range(len(own))],
            [float(row["ms_image_p50"]) for row in own],
            0.18,
            label=name,
        )
        axes.bar_label(bars, [f"{float(row['times_numba']):.3g}x" for row in own], fontsize=8)
    cases = list(dict.fromkeys((row["cells"], row["octaves"]) for row in rows))
    labels = [
        f"{cells} cells, {octaves} octave" + "s" * (octaves != "1") for cells, octaves in cases
    ]
    axes.set_xticks(range(len(cases)), labels)
    size, device = rows[0]["image_size"], rows[0]["device"]
    axes.set(
        yscale="log", ylabel="ms an image", title=f"{size} x {size} pixels, one core: {device}"
    )
    axes.margins(y=0.15)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    figure.tight_layout()
    figure.savefig(source.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    tyro.cli(main)
