"""Drawing on this machine's CPU: the table of `fdsl-gpu bench`, and what its cost depends on.

    python benchmarks/render.py            # some minutes; results/render.csv, render_cost.csv, PNG
    python benchmarks/render.py --quick    # a tiny run that shows that everything works

Cost: CPU time of an image against the number of points, the canvas, the number of maps, the batch
and the threads, each alone, the others at fractaldb-1k's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from csv_tables import read_rows, write_rows

from fdsl_gpu.bench import BenchConfig, bench, device_name
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas.view import View
from fdsl_gpu.render import Renderer

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Config:
    """Settings.

    Args:
        output: Folder of the CSV files and plots.
        rounds: Rounds of every measurement.
        quick: A tiny run.
    """

    output: Path = RESULTS
    rounds: int = 15
    quick: bool = False


def sweeps(quick: bool) -> dict[str, list[dict[str, Any]]]:
    """What is varied alone: for each axis, settings of a measurement."""
    points = (12_800, 51_200) if quick else (12_800, 25_600, 51_200, 102_400, 204_800, 409_600)
    sizes = (64, 128) if quick else (64, 128, 224, 362, 512, 768)
    return {
        "num_points": [{"num_points": value} for value in points],
        "image_size": [{"image_size": value} for value in sizes],
        "num_maps": [{"num_maps": value} for value in range(2, 4 if quick else 8)],
        "batch": [{"batch": value} for value in ((4,) if quick else (1, 4, 16, 64, 256))],
        "threads": [{"threads": value} for value in (1, 2)],
    }


class Case:
    """A measurement: batches of one setting, with the seconds that each round took."""

    def __init__(self, *, image_size: int = 362, batch: int = 64, threads: int = 1, **other: int):
        self.settings = {"image_size": image_size, "batch": batch, "threads": threads, **other}
        spec = get_dataset("fractaldb-1k")
        if "num_points" in other:
            spec = spec.replace(num_points=other["num_points"])
        self.renderer = Renderer(spec, View(image_size), backend="numba")
        self.threads = threads
        indices = np.arange(20_000, dtype=np.uint64)
        if "num_maps" in other:
            formula: Any = spec.formula
            labels = formula.instance(indices, 0, View(8)).label
            indices = indices[formula.table.num_maps[labels] == other["num_maps"]]
        self.batches = np.array_split(
            indices[: len(indices) // batch * batch], len(indices) // batch
        )
        self.seconds: list[float] = []

    def measure(self, number: int) -> None:
        """Draw one batch; wall time, since CPU time does not see what threads gain."""
        torch.set_num_threads(self.threads)
        indices = self.batches[number % len(self.batches)]
        started = time.perf_counter()
        self.renderer.draw(self.renderer.instance(indices))
        self.seconds.append((time.perf_counter() - started) / len(indices))


def measure_costs(config: Config) -> list[dict[str, Any]]:
    """Every axis in turn, its settings interleaved."""
    rows = []
    for axis, all_settings in sweeps(config.quick).items():
        cases = [Case(**settings) for settings in all_settings]
        for case in cases:
            case.measure(0)
        for number in range(1, config.rounds + 1):
            for case in cases:
                case.measure(number)
        for case, settings in zip(cases, all_settings, strict=True):
            p50, p20, p80 = np.percentile(np.array(case.seconds[1:]) * 1e6, (50, 20, 80))
            rows.append(
                {
                    "axis": axis,
                    "value": settings[axis],
                    "p50_us": f"{p50:.4g}",
                    "p20_us": f"{p20:.4g}",
                    "p80_us": f"{p80:.4g}",
                    "device": device_name(),
                }
            )
            print(f"{axis} {settings[axis]}: {p50:.0f} us an image [{p20:.0f}, {p80:.0f}]")
    return rows


def plot_costs(source: Path, path: Path) -> None:
    """One panel an axis, from the CSV alone."""
    rows = read_rows(source)
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(1, len(axes), figsize=(3.2 * len(axes), 3), squeeze=False)
    for panel, axis in zip(panels[0], axes, strict=True):
        own = [row for row in rows if row["axis"] == axis]
        unit = 1000 if axis == "num_points" else 1
        values = [float(row["value"]) / unit for row in own]
        middle, low, high = (
            np.array([float(row[name]) for row in own]) for name in ("p50_us", "p20_us", "p80_us")
        )
        panel.errorbar(values, middle, [middle - low, high - middle], marker="o", capsize=3)
        panel.set(
            xlabel=axis.replace("_", " ") + (", thousands" if unit > 1 else ""), ylim=(0, None)
        )
        if axis in ("batch", "threads", "num_maps"):
            panel.set_xscale("log", base=2)
            panel.set_xticks(values, [f"{value:.0f}" for value in values], minor=False)
    panels[0][0].set_ylabel("us an image")
    figure.suptitle(f"fractaldb-1k on {rows[0]['device']}: wall time, median, 20-80 %", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def plot_table(source: Path, path: Path) -> None:
    """Every contender's time over ours, from the CSV alone."""
    rows = [row for row in read_rows(source) if row["dataset"] == "fractaldb-1k"]
    cases = list(dict.fromkeys((row["image_size"], row["num_points"]) for row in rows))
    figure, panels = plt.subplots(1, len(cases), figsize=(4.2 * len(cases), 2.8), squeeze=False)
    for panel, (size, points) in zip(panels[0], cases, strict=True):
        own = [row for row in rows if (row["image_size"], row["num_points"]) == (size, points)]
        bars = panel.barh(
            [row["contender"] for row in own], [float(row["p50_us"]) for row in own], log=True
        )
        panel.bar_label(bars, [f"{float(row['times_ours']):.3g}x" for row in own], padding=3)
        panel.set(xlabel="us an image (log)", title=f"{size}x{size}, {int(points):,} points")
        panel.invert_yaxis()
        panel.margins(x=0.3)
        if panel is not panels[0][0]:
            panel.set_yticklabels([])
    figure.suptitle(f"one core of {rows[0]['device']}, CPU time", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(config: Config) -> None:
    """Measure, write and draw."""
    if config.quick:
        config = replace(config, rounds=2)
    config.output.mkdir(parents=True, exist_ok=True)
    table = config.output / "render.csv"
    bench(BenchConfig(output=table, rounds=config.rounds, quick=config.quick), print)
    plot_table(table, config.output / "render.png")
    costs = config.output / "render_cost.csv"
    rows = measure_costs(config)
    write_rows(costs, list(rows[0]), rows)
    plot_costs(costs, config.output / "render_cost.png")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
