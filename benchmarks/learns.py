"""Can a small model learn each data set within two minutes on two cores?

    python benchmarks/learns.py --results runs/learns    # a quarter of an hour; stopped, it goes on
    python benchmarks/learns.py --quick                  # half a minute, to see that it runs

Without --results, it adds to the table that lies in benchmarks/results.

A fresh small model sees each image once and is judged on held-out images. A row has the time on the
clock and the CPU seconds of all threads, from the start of the data set to the end of training;
judging is left out, but for masks.

* Where images have a class, the score is top-1 in per cent with the lower end of its 95 % Wilson
  interval, and chance is one in the number of categories.
* Where images have several categories, the score is the mean over images of the average precision,
  chance is the same score of a ranking at random, and prior the mean frequency of a category, of
  the categories drawn.
* Where they have masks, the score is the share of labelled pixels that are named rightly, chance
  one in the number of categories, and prior the share of the most frequent one.

The settings of `RUNS` were chosen by such runs, of seed 0; other seeds have other images, weights
and judges. Each finished data set and seed is a row of learns.csv; it is not run again while the
settings in its row are those of `RUNS`.
"""

from __future__ import annotations

import runpy
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
import tyro
from csv_tables import Row, read_rows, write_rows

from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.evaluate import wilson_interval
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.ranks import Ranks
from fdsl_gpu.trainer import Trainer

RESULTS = Path(__file__).parent / "results"
EXAMPLE = Path(__file__).parents[1] / "examples" / "segmentation.py"
BUDGET_S = 120
FACTOR = 20
COLUMNS = ["dataset", "settings", "seed", "images", "categories", "num_val", "score", "low"]
COLUMNS += ["prior", "chance", "times_chance", "cpu_s", "wall_s", "threads"]
# what a row is known by
SETTINGS = ["dataset", "settings", "seed", "images"]

Settings = dict[str, Any]

PRETRAINING: Final[Settings] = {
    "model": "test_resnet",
    "image_size": 32,
    "supersample": 4,
    "mean": 0.2,
    "std": 0.5,
    "epochs": 1,
    "batch_size": 64,
    "lr": 3e-3,
    "warmup_epochs": 0.1,
    "val_size": 4_000,
    "model_settings": {},
    "channels_last": True,
    "precision": "bf16",
    "device": "cpu",
    "smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
"""Settings of `fdsl-gpu pretrain`: a small model, and no augmentation."""
ON_WHITE: Final[Settings] = {"mean": 0.9, "std": 0.2}
MANY: Final[Settings] = {"batch_size": 256, "lr": 5e-3, "val_size": 40_000}
WHOLE: Final[Settings] = {"fractals": (1, 1), "window": "whole"}
SEGMENTATION: Final[Settings] = {
    "model": "test_resnet",
    "steps": 1_600,
    "batch_size": 16,
    "image_size": 96,
    "num_pixels": 256,
    "lr": 1e-2,
    "num_val": 256,
    "dtype": torch.bfloat16,
    "num_categories": 254,
    "num_instances": 32,
    "mask": "M1",
}

RUNS: Final[dict[str, list[Settings]]] = {
    "rcdb-1k": [{"epoch_size": 200_000, **ON_WHITE}],
    "rcdb-21k": [{"epoch_size": 320_000, **ON_WHITE, **MANY}],
    "visualatom-1k": [{"epoch_size": 100_000}],
    "visualatom-21k": [{"epoch_size": 200_000, **MANY}],
    "segrcdb": [SEGMENTATION],
    "exfractaldb-1k": [{"epoch_size": 100_000}],
    "wacv-1k": [{"epoch_size": 250_000, "supersample": 2}],
    # first what a fractal is, one to an image and whole; then several to an image, as published
    "wacv-1k-multi": [
        {"epoch_size": 110_000, "supersample": 2, "dataset_settings": WHOLE},
        {"epoch_size": 90_000, "supersample": 1, "image_size": 64, "lr": 1.2e-2},
    ],
}
"""What each data set is learnt with, one run after another with the same model: what differs from
`PRETRAINING`, or the arguments of examples/segmentation.py. The last run's data set is as
published, and judges."""


@dataclass(frozen=True)
class LearnsConfig:
    """Train a small model on each data set for at most two minutes."""

    results: Path = RESULTS
    """Folder of the table."""
    datasets: tuple[str, ...] = field(default_factory=lambda: tuple(RUNS))
    """Names of data sets, of those that have settings here."""
    seed: int = 0
    """Seed of the images and the weights."""
    threads: int = 1
    """Threads of torch; the next batch is drawn by another one meanwhile."""
    quick: bool = False
    """A few batches of each, in a temporary folder."""


def runs_of(name: str, config: LearnsConfig) -> list[Settings]:
    """All settings of the runs on a data set, in their order.

    Raises:
        ValueError: There are no settings for the data set.
    """
    if name not in RUNS:
        raise ValueError(f"datasets must be of {sorted(RUNS)}, got {name!r}")
    if get_dataset(name).target == "mask":
        few = {"steps": 3, "image_size": 32, "num_val": 8}
        return [run | few if config.quick else run for run in RUNS[name]]
    few = {"epoch_size": 256, "val_size": 64}
    runs = [PRETRAINING | run for run in RUNS[name]]
    return [run | few if config.quick else run for run in runs]


def described(name: str, runs: list[Settings], seed: int) -> Row:
    """The settings that a row is of; the text of each, as the table has it."""
    texts = [" ".join(f"{key}={value}" for key, value in run.items()) for run in runs]
    images = 0
    for run in runs:
        steps = run["steps"] if "steps" in run else run["epoch_size"] // run["batch_size"]
        images += steps * run["batch_size"]
    row = {"dataset": name, "settings": "; then ".join(texts), "seed": seed, "images": images}
    return {key: str(value) for key, value in row.items()}


class Stopwatch:
    """Seconds on the clock and of all threads since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def row(self) -> Row:
        """Both, as the table has them."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {"cpu_s": round(cpu, 1), "wall_s": round(wall, 1)}


def pretrain(name: str, runs: list[Settings], seed: int) -> tuple[Trainer, Row]:
    """Train one model through all runs; the trainer of the last, and what they cost."""
    watch, trainer = Stopwatch(), None
    for run in runs:
        config = PretrainConfig(dataset=name, seed=seed, **run)
        config.validate()
        weights = trainer and trainer.model.state_dict()
        trainer = Trainer(config, Ranks(0, 1, torch.device("cpu")))
        if weights:
            trainer.model.load_state_dict(weights)
        while trainer.update_number < config.num_updates:
            trainer.update()
        trainer.close()
    return trainer, watch.row()


def judged(trainer: Trainer) -> Row:
    """Score on held-out images, and what it is to be compared with."""
    classes, num_val = trainer.spec.num_classes, trainer.config.val_size
    row = {"categories": classes, "num_val": num_val}
    if trainer.spec.target == "class":
        _, score = trainer.validate(trainer.model)
        low, _ = wilson_interval(score / 100, num_val)
        return row | {"score": score, "low": 100 * low, "prior": "", "chance": 100 / classes}
    precisions, chance = trainer.precisions(trainer.model)
    row |= {"score": 100 * float(precisions.mean()), "low": "", "chance": 100 * chance}
    least, most = trainer.spec.formula.fractals
    return row | {"prior": 50 * (least + most) / classes}


def segment(run: Settings, seed: int) -> Row:
    """Train and judge the segmentation model of the example; the time has the judging in it."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        main = runpy.run_path(str(EXAMPLE))["main"]
        _, scores = main(**run, seed=seed, output=Path(folder) / "figure.png")
    categories = run["num_categories"]
    row = {"categories": categories, "num_val": run["num_val"], "score": 100 * scores["right"]}
    row |= {"low": "", "prior": 100 * scores["frequent"], "chance": 100 / categories}
    return row | watch.row()


def learn(name: str, runs: list[Settings], seed: int) -> Row:
    """Train, judge, and tell what it cost."""
    if get_dataset(name).target == "mask":
        (run,) = runs
        row = segment(run, seed)
    else:
        trainer, cost = pretrain(name, runs, seed)
        row = judged(trainer) | cost
    times = round(row["score"] / row["chance"], 1)
    rounded = {key: round(row[key], 4) for key in ("score", "low", "prior", "chance") if row[key]}
    row |= {"times_chance": times, "threads": torch.get_num_threads()}
    return described(name, runs, seed) | row | rounded


def study(config: LearnsConfig) -> list[Row]:
    """All data sets, or those that have no row of the same settings yet."""
    path = config.results / "learns.csv"
    rows = read_rows(path)
    lessons = {name: runs_of(name, config) for name in config.datasets}
    for name, runs in lessons.items():
        settings = described(name, runs, config.seed)
        if any(all(row[key] == settings[key] for key in SETTINGS) for row in rows):
            print(f"{name}: in {path} already, not run; --results FOLDER measures anew", flush=True)
            continue
        new = {key: str(value) for key, value in learn(name, runs, config.seed).items()}
        rows = [row for row in rows if (row["dataset"], row["seed"]) != (name, new["seed"])] + [new]
        order = {name: place for place, name in enumerate(RUNS)}
        rows.sort(key=lambda row: (order.get(row["dataset"], len(order)), int(row["seed"])))
        write_rows(path, COLUMNS, rows)
        print(f"{name}: {new['score']} % in {new['wall_s']} s", flush=True)
    seed = str(config.seed)
    return [row for row in rows if row["dataset"] in config.datasets and row["seed"] == seed]


def main(config: LearnsConfig) -> None:
    """Run what is left and print the table."""
    torch.set_num_threads(config.threads)
    if config.quick:
        config = replace(config, results=Path(tempfile.mkdtemp()))
    for row in study(config):
        in_time = float(row["wall_s"]) <= BUDGET_S
        # a score of several categories is compared with the frequency of a category
        several = get_dataset(row["dataset"]).target == "multi_hot"
        enough = several or float(row["times_chance"]) >= FACTOR
        print(
            f"{row['dataset']:15}{row['categories']:>6} categories {row['images']:>7} images  "
            f"{float(row['score']):8.4f} % (low {row['low'] or '-'}, prior {row['prior'] or '-'})  "
            f"{float(row['times_chance']):6.1f} x chance  {row['cpu_s']:>6} CPU s "
            f"{row['wall_s']:>6} s  {'' if config.quick or (in_time and enough) else 'SHORT'}"
        )


if __name__ == "__main__":
    main(tyro.cli(LearnsConfig, description=__doc__))
