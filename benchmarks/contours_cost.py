"""What the time of a contour image depends on: the pixels of its lines, and its vertices.

    python benchmarks/contours_cost.py            # half a minute; results/contours_cost.*
    python benchmarks/contours_cost.py --quick    # a few small images; nothing is kept

Images of many numbers of vertices and orbits are drawn on one core, all in turn. Their times are
fitted by a line: nanoseconds a pixel that a line covers (an image counts a pixel as often as it is
drawn) and nanoseconds a vertex of an orbit. R2 is the share of the variance that the line explains.
"""

from __future__ import annotations

import datetime
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from contours import Case, cpu_ms, fixed, samples_of
from csv_tables import write_rows
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.contours import draw
from fdsl_gpu.bench import device_name
from fdsl_gpu.formulas.contour_drawing import ContourInstance, polygons
from fdsl_gpu.formulas.polygons import outline

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Config:
    """Settings.

    Args:
        output: Folder of the table and the plot.
        vertices: Numbers of vertices.
        orbits: Numbers of orbits.
        image_size: Side of the images in pixels.
        batch: Images of each kind.
        rounds: Rounds of all kinds.
        quick: Few small images; nothing is kept.
    """

    output: Path = RESULTS
    vertices: tuple[int, ...] = (100, 200, 400, 600, 800, 1000)
    orbits: tuple[int, ...] = (10, 25, 50, 100, 200)
    image_size: int = 512
    batch: int = 16
    rounds: int = 9
    quick: bool = False


def drawn_pixels(samples: ContourInstance) -> int:
    """Pixels of all lines that lie in the images; one that is drawn twice counts twice."""
    size = samples.image_size
    return sum(
        len(outline(x, y, size)[0])
        for sample in range(len(samples.label))
        for x, y in polygons(samples, sample, 0)
    )


def fit(kinds: list[dict[str, Any]]) -> tuple[NDArray[np.float64], float, float]:
    """Microseconds an image, a pixel and a vertex; R2; and the largest error of a kind's time."""
    times = np.array([kind["us_image"] for kind in kinds])
    columns = [[1, kind["pixels"], kind["num_vertices"] * kind["num_orbits"]] for kind in kinds]
    slopes, *_ = np.linalg.lstsq(np.array(columns, np.float64), times, rcond=None)
    rest = times - np.array(columns) @ slopes
    return slopes, 1 - float(rest.var() / times.var()), float(abs(rest / times).max())


def measure(config: Config) -> list[dict[str, Any]]:
    """Pixels and time of each kind of image."""
    kinds, drawings = [], []
    for num_vertices in config.vertices:
        for num_orbits in config.orbits:
            case = Case(f"V={num_vertices} L={num_orbits}", fixed(num_vertices), num_orbits)
            samples = samples_of(case, config.image_size, config.batch)
            shape = config.batch, 1, config.image_size, config.image_size
            drawings.append((samples, np.zeros(shape, np.uint8)))
            pixels = drawn_pixels(samples) / config.batch
            kinds.append({"num_vertices": num_vertices, "num_orbits": num_orbits, "pixels": pixels})
    times: list[list[float]] = [[] for _ in kinds]
    for _ in range(config.rounds + 1):  # the first one compiles
        for spent, (samples, images) in zip(times, drawings, strict=True):
            spent.append(1e3 * cpu_ms(lambda s=samples, i=images: draw(s, i)) / config.batch)
    for kind, spent in zip(kinds, times, strict=True):
        kind["us_image"] = statistics.median(spent[1:])
    return kinds


def plot(kinds: list[dict[str, Any]], path: Path) -> None:
    """Time against pixels, a line for each number of vertices."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for num_vertices in sorted({kind["num_vertices"] for kind in kinds}):
        own = [kind for kind in kinds if kind["num_vertices"] == num_vertices]
        x, y = [kind["pixels"] / 1e3 for kind in own], [kind["us_image"] / 1e3 for kind in own]
        axes.plot(x, y, "o-", markersize=4, linewidth=1, label=f"{num_vertices} vertices")
    axes.set(xlabel="thousand pixels drawn", ylabel="ms an image, one core", xlim=0, ylim=0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main(config: Config) -> None:
    """Measure, write, plot and print."""
    torch.set_num_threads(1)
    small = {"vertices": (10, 20), "orbits": (2, 4), "image_size": 64, "batch": 2, "rounds": 1}
    kinds = measure(replace(config, **small) if config.quick else config)
    (image, pixel, vertex), r2, error = fit(kinds)
    print(
        f"{image:.1f} us an image + {1e3 * pixel:.2f} ns a pixel + {1e3 * vertex:.2f} ns a vertex "
        f"of an orbit; R2 {r2:.4f} over {len(kinds)} kinds of images, the worst {error:.0%} off"
    )
    if config.quick:
        return
    today = datetime.date.today().isoformat()
    for kind in kinds:
        kind |= {"pixels": round(kind["pixels"]), "us_image": round(kind["us_image"], 1)}
        kind |= {"image_size": config.image_size, "device": device_name(), "date": today}
    write_rows(config.output / "contours_cost.csv", list(kinds[0]), kinds)
    plot(kinds, config.output / "contours_cost.png")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
