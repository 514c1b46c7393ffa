"""Which settings of FractalDB matter? One factor at a time, at equal numbers of images seen.

    python benchmarks/study.py           # half an hour on one core; stopped, it goes on
    python benchmarks/study.py --quick   # a minute, to see that it runs; nothing is kept

Factors: categories (and so images of each), instances (fresh ones, all published ones, or 25 stored
images a category, seen again and again), patches against points, and the step of the weights that
make the instances (0.1 to 0.5). Each level is pre-trained with several seeds and fine-tuned for 20
steps with the same splits, order and head; base is 100 categories, fresh instances, patches and a
step of 0.4. Rows are kept in study.csv as they come; study-summary.csv and study.png have means and
95 % intervals over pre-trainings of the difference from base, paired by seed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from csv_tables import Row, read_rows, write_rows
from scipy.stats import t as student_t
from transfer import (
    RESULTS,
    TransferConfig,
    finetuning,
    pretrain_arm,
    pretraining,
    run_cell,
)

from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.fitting import Pictures
from fdsl_gpu.formulas.fractaldb import weight_rows
from fdsl_gpu.frames import cached_boxes
from fdsl_gpu.tables import save_ifs_table
from fdsl_gpu.targets import load_target

COLUMNS = ["factor", "level", "pretrain_seed", "held_out_top1", "target", "per_class", "seed"]
COLUMNS += ["steps", "test_top1"]
SUMMARY = ["factor", "level", "target", "num_pretrainings", "mean", "minus_base", "low", "high"]


@dataclass(frozen=True)
class Level:
    """One setting that differs from base.

    Args:
        factor: What is varied.
        name: Its value.
        settings: Settings of the formula.
        weight_step: Step of the weights, where it is not the published 0.4.
    """

    factor: str
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    weight_step: float | None = None


BASE = Level("base", "base")
STORED = {"instances": "published", "num_turns": 1, "num_patches": 1}
LEVELS = (
    BASE,
    *(Level("categories", str(count), {"num_categories": count}) for count in (25, 50, 200, 400)),
    Level("instances", "published", {"instances": "published"}),
    Level("instances", "25 stored", STORED),
    Level("drawing", "points", {"drawing": "point_gray"}),
    *(Level("weight step", str(step), {}, step) for step in (0.1, 0.2, 0.3, 0.5)),
)
COLORS = ("#1f6fb4", "#b4551f")
BASE_NAMES = {"categories": "100", "instances": "fresh", "drawing": "patches", "weight step": "0.4"}


@dataclass(frozen=True)
class StudyConfig:
    """Pre-train with one setting changed, fine-tune, compare with base."""

    results: Path = RESULTS
    """Folder of the tables and the plot."""
    images: int = 12_800
    """Fractals seen in each pre-training; whole batches of 64."""
    pretrainings: int = 2
    """Seeds of pre-training."""
    seeds: int = 3
    """Seeds of fine-tuning."""
    targets: tuple[str, ...] = ("mnist-5k:10", "animals:20")
    """Real images, and how many of each class to learn from."""
    val_size: int = 1_000
    """Held-out fractals that pre-training is judged on."""
    quick: bool = False
    """A tiny study of some levels in a temporary folder."""


def reweighted(step: float, num_categories: int, folder: Path) -> str:
    """A table of the first categories whose instances are made with another step."""
    path = folder / f"step-{step}.safetensors"
    formula: Any = get_dataset("fractaldb-1k").formula
    maps, probs = (getattr(formula.table, name)[:num_categories] for name in ("maps", "probs"))
    weights = weight_rows(step)
    boxes = cached_boxes(maps, probs, weights)
    arrays = {"maps": maps, "probs": probs, "weights": weights, "boxes": boxes, "coverage": None}
    save_ifs_table(path, replace(formula.table, **arrays))
    return str(path)


def run_level(
    config: StudyConfig, level: Level, seed: int, prepared: dict[str, Pictures]
) -> list[Row]:
    """Pre-train one level and fine-tune it on all targets."""
    transfer = TransferConfig(steps=(20,), lr=(3e-3,), images=config.images, val_per_class=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = replace(pretraining(transfer), seed=seed, val_size=config.val_size)
        if level.weight_step is not None:
            run = replace(run, dataset=reweighted(level.weight_step, transfer.categories, folder))
        run = replace(run, dataset_settings=run.dataset_settings | level.settings)
        weights = folder / "weights.safetensors"
        told = pretrain_arm(run, weights, shuffled=False)
        rows = []
        for target in config.targets:
            images, per_class = target.split(":")
            for split in range(config.seeds):
                settings = finetuning(transfer, split, weights)
                if images not in prepared:
                    prepared[images] = Pictures(load_target(images), settings, training=False)
                cell = run_cell(transfer, prepared[images], int(per_class), split, "", settings)
                row = {key: value for key, value in next(cell).items() if key in COLUMNS}
                row |= {"factor": level.factor, "level": level.name, "pretrain_seed": seed}
                rows.append(row | {"held_out_top1": told["held_out_top1"]})
    return rows


def means(rows: list[Row], level: Level, target: str) -> dict[str, float]:
    """Mean top-1 over splits of each pre-training of a level."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        key = (row["factor"], row["level"], f"{row['target']}:{row['per_class']}")
        if key == (level.factor, level.name, target):
            scores.setdefault(row["pretrain_seed"], []).append(float(row["test_top1"]))
    return {seed: float(np.mean(values)) for seed, values in scores.items()}


def summarise(rows: list[Row], config: StudyConfig) -> list[Row]:
    """Differences from base, paired by the seed of pre-training."""
    summary: list[Row] = []
    for level in LEVELS:
        for target in config.targets:
            own, base = means(rows, level, target), means(rows, BASE, target)
            paired = sorted(own.keys() & base.keys())
            if not paired:
                continue
            row = {"factor": level.factor, "level": level.name, "target": target}
            row |= {"num_pretrainings": len(paired)}
            row["mean"] = round(float(np.mean([own[seed] for seed in paired])), 2)
            if level is not BASE:
                gains = np.array([own[seed] - base[seed] for seed in paired])
                row["minus_base"] = round(float(gains.mean()), 2)
                if len(paired) > 1:
                    half = student_t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1)
                    half /= len(gains) ** 0.5
                    row["low"] = round(float(gains.mean() - half), 2)
                    row["high"] = round(float(gains.mean() + half), 2)
            summary.append(row)
    return summary


def plot(rows: list[Row], config: StudyConfig, path: Path) -> None:
    """Top-1 of each pre-training, one panel a factor, one colour a target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(BASE_NAMES), figsize=(13, 3.2), sharey=True)
    for axis, (factor, base_name) in zip(axes, BASE_NAMES.items(), strict=True):
        levels = {level.name: level for level in LEVELS if level.factor == factor}
        levels[base_name] = BASE
        if factor in ("categories", "weight step"):
            levels = {name: levels[name] for name in sorted(levels, key=float)}
        for color, target in zip(COLORS, config.targets, strict=False):
            for place, level in enumerate(levels.values()):
                if scores := list(means(rows, level, target).values()):
                    axis.plot([place] * len(scores), scores, "o", color=color, alpha=0.7)
                    axis.plot(place, np.mean(scores), "_", color=color, markersize=16)
        axis.set_xticks(range(len(levels)), list(levels))
        axis.set_title(factor)
    for color, target in zip(COLORS, config.targets, strict=False):
        axes[0].plot([], [], "o", color=color, label=target.replace(":", ", ") + " a class")
    axes[0].set_ylabel("test top-1 after 20 steps, %")
    axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def run(config: StudyConfig) -> list[Row]:
    """The whole study, or what is left of it."""
    config.results.mkdir(parents=True, exist_ok=True)
    table = config.results / "study.csv"
    rows = read_rows(table)
    finished = {(row["factor"], row["level"], row["pretrain_seed"]) for row in rows}
    prepared: dict[str, Pictures] = {}
    for seed in range(config.pretrainings):
        for level in LEVELS[::5] if config.quick else LEVELS:
            if (level.factor, level.name, str(seed)) in finished:
                continue
            new = run_level(config, level, seed, prepared)
            rows += [{key: str(value) for key, value in row.items()} for row in new]
            write_rows(table, COLUMNS, rows)
            print(f"seed {seed}  {level.factor} {level.name}", flush=True)
    summary = summarise(rows, config)
    write_rows(config.results / "study-summary.csv", SUMMARY, summary)
    plot(rows, config, config.results / "study.png")
    return summary


def main(config: StudyConfig) -> None:
    """Run the study and print its table."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if config.quick:
        folder = Path(tempfile.mkdtemp())
        config = replace(
            config,
            results=folder,
            images=64,
            val_size=64,
            pretrainings=1,
            seeds=1,
            targets=("digits:2",),
        )
    for row in run(config):
        interval = f" [{row['low']:+.1f}, {row['high']:+.1f}]" if "low" in row else ""
        gain = f"{row['minus_base']:+6.1f}{interval}" if "minus_base" in row else ""
        print(f"{row['factor']:12} {row['level']:10} {row['target']:12} {row['mean']:6.1f}  {gain}")


if __name__ == "__main__":
    main(tyro.cli(StudyConfig, description=__doc__))
