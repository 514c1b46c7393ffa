"""What drawing contours costs on one CPU core, against a plain Python and PIL loop of the same law.

    python benchmarks/contours.py            # a minute; results/contours.csv
    python benchmarks/contours.py --quick    # one tiny round, to see that it runs; nothing is kept

First the compiled drawing is compared with the NumPy definition: a drawing that is wrong is not
timed. Times are CPU seconds of the one thread, in rounds that take turns, so that other work on the
machine falls on all alike; the ratio is the median over the rounds. The loop is written as the
published programs are: lists of numbers, random.uniform for each vertex, one ImageDraw.line a side.
Its noise is Python, too; where the package noise is installed, a second loop calls its pnoise1,
which is C, as those programs do.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from csv_tables import write_rows
from PIL import Image, ImageDraw

from fdsl_gpu.backends.numba.contours import draw
from fdsl_gpu.bench import device_name
from fdsl_gpu.formulas.contour_drawing import ContourInstance
from fdsl_gpu.formulas.contours import RCDB, VISUAL_ATOM, ContourFormula
from fdsl_gpu.formulas.line_noise import gradients
from fdsl_gpu.formulas.view import View

RESULTS = Path(__file__).parent / "results" / "contours.csv"
GRADIENTS = gradients().tolist()


@dataclass(frozen=True)
class Case:
    """Contours of one kind: all with these many vertices and orbits, or as the data set has them.

    Args:
        name: As in the table.
        formula: What is drawn.
        num_orbits: Orbits of every image; None for those of the categories.
        loop: Whether the Python loop is timed, too.
    """

    name: str
    formula: ContourFormula
    num_orbits: int | None = None
    loop: bool = False


def fixed(num_vertices: int) -> ContourFormula:
    """VisualAtom with this many vertices and a middling noise."""
    return dataclasses.replace(
        VISUAL_ATOM, min_vertices=num_vertices, max_vertices=num_vertices, min_noise=2.0,
        max_noise=2.0,
    )  # fmt: skip


CASES = [
    Case("V=600 L=100", fixed(600), 100, loop=True),
    Case("V=1000 L=200", fixed(1000), 200, loop=True),
    Case("visualatom-1k", VISUAL_ATOM),
    Case("rcdb-1k", RCDB),
]


def python_noise(place: float) -> float:
    """Perlin's noise on a line, in plain Python."""
    interval = int(place)
    t = place - interval
    near = GRADIENTS[interval & 255] * t
    far = GRADIENTS[(interval & 255) + 1] * (t - 1)
    return 0.4 * (near + t * t * t * (t * (t * 6 - 15) + 10) * (far - near))


def loop(samples: ContourInstance, sample: int, noise: Callable[[float], float]) -> Image.Image:
    """One image of VisualAtom's law as a loop over vertices."""
    shape = {name: each[sample] for name, each in samples.describe().items()}
    size, count = samples.image_size, int(shape["num_vertices"])
    p, w = shape["noise"].item(), shape["growth"].item()
    angles = [2 * math.pi * v / count for v in range(count)]
    cos, sin = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
    f1, f2 = int(shape["frequency_1"]), int(shape["frequency_2"])
    waves = [0.5 * math.sin(f1 * a) + 0.5 * math.sin(f2 * a) for a in angles]
    center_x, center_y = (shape[f"center_{axis}"].item() for axis in "xy")
    radius_x, radius_y = (
        (shape["radius"] * shape[f"ellipse_{axis}"]).item() for axis in ("x", "y")
    )
    x = [center_x + radius_x * c for c in cos]
    y = [center_y + radius_y * s for s in sin]
    image = Image.new("RGB", (size, size))
    pen = ImageDraw.Draw(image)
    for _ in range(int(samples.num_orbits[sample, 0])):
        gray = random.randint(0, 255)
        for v in range(count):
            x[v] += cos[v] * (p - p * noise(random.uniform(0, 10_000)) + waves[v] + w)
            y[v] += sin[v] * (p - p * noise(random.uniform(0, 10_000)) + waves[v] + w)
        for v in range(count):
            u = (v + 1) % count
            pen.line((x[v], y[v], x[u], y[u]), fill=(gray, gray, gray), width=1)
    return image


def loops() -> dict[str, Callable[[float], float]]:
    """Names of the loops and their noises."""
    found = {"Python and PIL": python_noise}
    try:
        from noise import pnoise1
    except ImportError:
        return found
    return found | {"Python and PIL, noise in C": pnoise1}


def samples_of(case: Case, image_size: int, count: int) -> ContourInstance:
    """The first samples of a case."""
    samples = case.formula.instance(np.arange(count, dtype=np.uint64), 0, View(image_size))
    if case.num_orbits is not None:
        orbits = np.full_like(samples.num_orbits, case.num_orbits)
        samples = dataclasses.replace(samples, num_orbits=orbits)
    return samples


def check(case: Case, image_size: int) -> None:
    """Refuse to time a drawing that is not the definition's."""
    samples = samples_of(case, image_size, 2)
    expected, actual = np.zeros((2, 2, 1, image_size, image_size), np.uint8)
    case.formula.draw_numpy(samples, expected)
    draw(samples, actual)
    if not np.array_equal(expected, actual):
        raise RuntimeError(f"{case.name}: the compiled drawing is not the definition's")


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this thread."""
    start = time.thread_time()
    work()
    return 1e3 * (time.thread_time() - start)


def main(image_size: int = 512, batch: int = 64, rounds: int = 7, quick: bool = False) -> None:
    """Time every case.

    Args:
        image_size: Side of the images in pixels.
        batch: Images of a call of the compiled drawing.
        rounds: Rounds; in each, every loop draws one image.
        quick: One tiny round.
    """
    if quick:
        image_size, batch, rounds = 64, 2, 1
    torch.set_num_threads(1)
    random.seed(0)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    rows = []
    for case in CASES:
        check(case, image_size)
        samples = samples_of(case, image_size, batch)
        images = np.zeros((batch, 1, image_size, image_size), np.uint8)
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            own = cpu_ms(lambda s=samples, i=images: draw(s, i)) / batch
            times.setdefault("numba", []).append(own)
            for name, noise in loops().items() if case.loop else ():
                sample = number % batch
                spent = cpu_ms(lambda s=samples, k=sample, n=noise: loop(s, k, n))
                times.setdefault(name, []).append(spent)
        for name, spent in times.items():
            ratios = [other / own for other, own in zip(spent, times["numba"], strict=True)]
            rows.append(
                {
                    "case": case.name,
                    "drawing": name,
                    "image_size": image_size,
                    "ms_image_p50": f"{statistics.median(spent):.3f}",
                    "ms_image_min": f"{min(spent):.3f}",
                    "times_numba": f"{statistics.median(ratios):.1f}",
                    "rounds": rounds,
                    "machine": device_name(),
                    "date": today,
                }
            )
            print("  ".join(f"{value:>{width}}" for value, width in zip(
                [*rows[-1].values()][:6], (14, 27, 5, 9, 9, 7), strict=True)))  # fmt: skip
    if quick:
        return
    write_rows(RESULTS, list(rows[0]), rows)


if __name__ == "__main__":
    tyro.cli(main)
