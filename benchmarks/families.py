"""What other fractals cost against FractalDB's, at as many points: 3D systems and graded drawing.

    python benchmarks/families.py      # a minute; results/families.csv

One core, thread CPU time, all in turn; ratios to the first row are taken within a round. Targets:
3D within 1.5 times of 2D, graded drawing within 1.3 times of ordered.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from csv_tables import write_rows

from fdsl_gpu.bench import device_name
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas.view import View
from fdsl_gpu.render import Renderer

RESULTS = Path(__file__).parent / "results"
POINTS = {"num_points": 100_000}
BLACK = {"background": "black"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "FractalDB, ordered": ("fractaldb-1k", POINTS),
    "3D, patches": ("exfractaldb-1k", {**POINTS, "drawing": "patch_gray"}),
    "3D, points": ("exfractaldb-1k", POINTS),
    "sigma-factor, graded, black": ("wacv-1k", {**POINTS, **BLACK}),
    "sigma-factor, graded, noise behind": ("wacv-1k", POINTS),
    "1 to 5 of 30,000 points, black": ("wacv-1k-multi", BLACK),
}


@dataclass(frozen=True)
class Config:
    """Settings.

    Args:
        output: Folder of families.csv.
        rounds: Rounds of all families.
        batch: Images of a round and family.
    """

    output: Path = RESULTS
    rounds: int = 15
    batch: int = 64


def main(config: Config) -> None:
    """Measure, write and print."""
    torch.set_num_threads(1)
    renderers = {
        name: Renderer(get_dataset(dataset).replace(**settings), View(224), backend="numba")
        for name, (dataset, settings) in FAMILIES.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in FAMILIES}
    for number in range(config.rounds + 1):
        indices = np.arange(number * config.batch, (number + 1) * config.batch, dtype=np.uint64)
        for name, renderer in renderers.items():
            instance = renderer.instance(indices)
            started = time.thread_time()
            renderer.draw(instance)
            seconds[name].append((time.thread_time() - started) / config.batch)
    # the first round compiles
    table = {name: np.array(values[1:]) for name, values in seconds.items()}
    first = next(iter(table.values()))
    rows = []
    for name, values in table.items():
        p50, p20, p80 = np.percentile(values * 1e6, (50, 20, 80))
        row: dict[str, Any] = {"family": name, "p50_us": f"{p50:.1f}", "p20_us": f"{p20:.1f}"}
        row |= {"p80_us": f"{p80:.1f}", "times_fractaldb": f"{np.median(values / first):.3f}"}
        row |= {"dataset": FAMILIES[name][0], "image_size": 224, "batch": config.batch}
        row |= {"device": device_name(), "date": datetime.date.today().isoformat()}
        rows.append(row)
        print(f"{name:36} {p50:6.0f} us an image [{p20:.0f}, {p80:.0f}]  {row['times_fractaldb']}x")
    write_rows(config.output / "families.csv", list(rows[0]), rows)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
