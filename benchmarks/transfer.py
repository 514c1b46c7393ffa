"""Does pre-training on fractals help on real images? Three arms, the same splits, paired seeds.

    python benchmarks/transfer.py           # an hour on one core; stopped, it goes on where it was
    python benchmarks/transfer.py --quick   # two minutes, to see that it runs; nothing is kept

Arms: `fractals` (pre-trained on fractals), `shuffled` (pre-trained on the same images with labels
at random: what the images do without their categories) and `scratch` (random weights). All arms of
a seed learn from the same images, in the same order, with the same new head. The learning rate is
chosen for each arm, seed and number of steps on validation images; the test split is seen once, by
the model so chosen. BatchNorm's statistics are estimated anew before any model is judged: the
running ones lag after few steps, which would make random weights look far worse than they are.

Each finished cell is some rows of transfer.csv, and is skipped when the study is started again.
transfer-summary.csv has means over seeds and paired differences from scratch with 95 % intervals
(Student's t), transfer.png shows them, transfer-pretraining.csv what pre-training cost.
"""

from __future__ import annotations

import copy
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import tyro
from csv_tables import Row, read_rows, write_rows
from scipy.stats import t as student_t
from torch import Tensor

from fdsl_gpu.checkpoints import save_weights
from fdsl_gpu.finetune_config import FinetuneConfig
from fdsl_gpu.fitting import Pictures, fit, new_model, renew_statistics, top1
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.ranks import Ranks
from fdsl_gpu.settings import dump_settings, load_settings
from fdsl_gpu.targets import Target, load_target, pick
from fdsl_gpu.trainer import Trainer
from fdsl_gpu.weights import read_weights

RESULTS = Path(__file__).parent / "results"
ARMS = ("fractals", "shuffled", "scratch")
CPU = torch.device("cpu")
COLUMNS = ["target", "per_class", "seed", "arm", "steps", "lr"] + [
    "val_top1",
    "num_val",
    "test_top1",
    "num_test",
]
SUMMARY = ["target", "per_class", "steps", "arm", "num_seeds", "mean", "std"] + [
    "minus_scratch",
    "low",
    "high",
]


@dataclass(frozen=True)
class TransferConfig:
    """Pre-train on fractals, fine-tune on real images, compare with scratch and a control."""

    results: Path = RESULTS
    """Folder of the tables and the plot."""
    weights: Path = Path("runs/transfer")
    """Folder of the pre-trained weights."""
    targets: tuple[str, ...] = ("mnist-5k:5", "mnist-5k:10", "animals:20")
    """Real images, and how many of each class to learn from."""
    steps: tuple[int, ...] = (20, 50, 150)
    """Updates of fine-tuning after which a model is judged."""
    lr: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates of fine-tuning to choose from."""
    seeds: int = 5
    """Seeds: splits, order, new head."""
    val_per_class: int = 20
    """Images of each class that the learning rate is chosen on."""
    batch_size: int = 32
    """Images of an update of fine-tuning."""
    categories: int = 100
    """Categories of fractals."""
    images: int = 44_800
    """Fractals to learn from, each seen once; whole batches of 64."""
    pretraining: Path | None = None
    """Settings of pre-training, as of `fdsl-gpu pretrain --config`, in place of the fractals."""
    quick: bool = False
    """A tiny study in a temporary folder."""


def pretraining(config: TransferConfig) -> PretrainConfig:
    """Gray fractals of 32 pixels, drawn at four times the size and averaged: what taught most."""
    if config.pretraining is not None:
        return load_settings(PretrainConfig, config.pretraining)
    return PretrainConfig(
        dataset_settings={
            "num_categories": config.categories,
            "num_points": 6_000,
            "num_walks": 256,
        },
        image_size=32,
        supersample=4,
        mean=0.2,
        model="resnet10t",
        model_settings={},
        epochs=1,
        epoch_size=config.images,
        val_size=2_000,
        batch_size=64,
        lr=3e-3,
        warmup_epochs=0.1,
        mixup=0.0,
        cutmix=0.0,
    )


def pretrain_arm(run: PretrainConfig, path: Path, *, shuffled: bool) -> Row:
    """Pre-train one arm, keep its weights, and tell how it went."""
    trainer = Trainer(run, Ranks(0, 1, CPU))
    if shuffled:
        random = torch.Generator().manual_seed(run.seed)
        classes = trainer.spec.num_classes

        def at_random(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return images, torch.randint(0, classes, labels.shape, generator=random)

        trainer.loader.mixup_fn = at_random
    started = time.process_time()
    while trainer.update_number < run.num_updates:
        trainer.update()
    seconds = time.process_time() - started
    _, percent = trainer.validate(trainer.model)
    trainer.close()
    about = {"arch": run.model, "image_size": run.image_size, "channels": run.channels}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, trainer.model, about | {"mean": run.mean, "std": run.std})
    images = run.num_updates * run.batch_size
    row = {"arm": path.stem, "images": images, "categories": trainer.spec.num_classes}
    return row | {"held_out_top1": percent, "cpu_s": round(seconds, 1)}


def finetuning(config: TransferConfig, seed: int, weights: Path | None) -> FinetuneConfig:
    """Full fine-tuning at a constant rate: 20 steps are the first 20 of 150."""
    settings = FinetuneConfig(
        checkpoint=weights,
        scratch=weights is None,
        model="resnet10t",
        image_size=32,
        channels=3,
        mean=(0.2,),
        std=(0.5,),
        steps=max(config.steps),
        batch_size=config.batch_size,
        lr=config.lr,
        sched="constant",
        seed=seed,
    )
    settings.validate()
    return settings.with_defaults(None)


def run_cell(
    config: TransferConfig,
    pictures: Pictures,
    per_class: int,
    seed: int,
    arm: str,
    settings: FinetuneConfig,
) -> Iterator[Row]:
    """Fine-tune one arm on the images of one seed; a row for each number of steps."""
    target = pictures.target
    train, val = pick(target, per_class, config.val_per_class, seed)
    weights = None if settings.checkpoint is None else read_weights(settings.checkpoint)
    start = new_model(settings, len(target.classes), weights, CPU)
    best: dict[int, tuple[float, float, Any]] = {}
    for lr in config.lr:
        model = copy.deepcopy(start)
        for step, _ in enumerate(fit(model, pictures, train, settings, lr, CPU), 1):
            if step in config.steps:
                judged = copy.deepcopy(model)
                renew_statistics(judged, pictures, train, settings, CPU)
                score = top1(judged, pictures, val, settings, CPU)
                if step not in best or score > best[step][0]:
                    best[step] = score, lr, judged
    for step, (score, lr, model) in sorted(best.items()):
        yield {
            "target": target.name,
            "per_class": per_class,
            "seed": seed,
            "arm": arm,
            "steps": step,
            "lr": lr,
            "val_top1": score,
            "num_val": len(val),
            "test_top1": top1(model, pictures, target.test, settings, CPU),
            "num_test": len(target.test),
        }


def open_study(config: TransferConfig) -> None:
    """Check that the tables in the folder are of this study; only its seeds may grow."""
    config.results.mkdir(parents=True, exist_ok=True)
    path = config.results / "transfer.toml"
    same = replace(config, seeds=0, results=Path("."), weights=Path("."))
    if not path.exists():
        machine = f"torch {torch.__version__}, timm {timm.__version__}, {platform.machine()}"
        path.write_bytes(dump_settings(same, f"Settings of benchmarks/transfer.py\n{machine}"))
    elif load_settings(TransferConfig, path) != same:
        raise ValueError(f"{path} is of a study with other settings; choose another --results")


def summarise(rows: list[Row], config: TransferConfig) -> list[Row]:
    """Means over seeds, and differences from scratch paired by seed."""
    summary: list[Row] = []
    for name in config.targets:
        target, per_class = name.split(":")
        for steps in config.steps:
            scores = {
                arm: {
                    int(row["seed"]): float(row["test_top1"])
                    for row in rows
                    if (row["target"], row["per_class"]) == (target, per_class)
                    and (int(row["steps"]), row["arm"]) == (steps, arm)
                }
                for arm in ARMS
            }
            for arm in ARMS:
                paired = sorted(scores[arm].keys() & scores["scratch"].keys())
                if len(paired) < 2:
                    continue
                own = np.array([scores[arm][seed] for seed in paired])
                gains = own - [scores["scratch"][seed] for seed in paired]
                row = {"target": target, "per_class": per_class, "steps": steps, "arm": arm}
                row |= {"num_seeds": len(paired), "mean": own.mean(), "std": own.std(ddof=1)}
                if arm != "scratch":
                    half = student_t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1)
                    half /= len(gains) ** 0.5
                    mean = gains.mean()
                    row |= {"minus_scratch": mean, "low": mean - half, "high": mean + half}
                summary.append(
                    {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}
                )
    return summary


def plot(summary: list[Row], config: TransferConfig, path: Path) -> None:
    """Differences from scratch by steps, one panel a target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(config.targets), figsize=(3.6 * len(config.targets), 3.2), sharey=True, squeeze=False
    )
    colors = {"fractals": "#1f6fb4", "shuffled": "#b4551f"}
    for axis, name in zip(axes[0], config.targets, strict=True):
        target, per_class = name.split(":")
        for shift, arm in enumerate(("fractals", "shuffled")):
            points = [
                row
                for row in summary
                if (row["target"], row["per_class"], row["arm"]) == (target, per_class, arm)
            ]
            if not points:
                continue
            axis.errorbar(
                [config.steps.index(row["steps"]) + 0.12 * shift for row in points],
                [row["minus_scratch"] for row in points],
                yerr=[(row["high"] - row["low"]) / 2 for row in points],
                fmt="o-",
                capsize=3,
                color=colors[arm],
                label={"fractals": "fractals", "shuffled": "labels shuffled"}[arm],
            )
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(config.steps)), [str(steps) for steps in config.steps])
        axis.set_title(f"{target}, {per_class} a class")
        axis.set_xlabel("fine-tuning steps")
    axes[0][0].set_ylabel("test top-1 minus scratch, points")
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def run(config: TransferConfig) -> list[Row]:
    """The whole study, or what is left of it."""
    open_study(config)
    table = config.results / "transfer-pretraining.csv"
    told = read_rows(table)
    for arm in ARMS[:2]:
        path = config.weights / f"{arm}.safetensors"
        if not path.exists():
            row = pretrain_arm(pretraining(config), path, shuffled=arm == "shuffled")
            told = [other for other in told if other["arm"] != arm] + [row]
            write_rows(table, list(row), told)
            print(row, flush=True)
    table = config.results / "transfer.csv"
    rows = read_rows(table)
    finished = {(row["target"], row["per_class"], row["seed"], row["arm"]) for row in rows}
    prepared: dict[str, Pictures] = {}
    # seeds outermost: stopped early, fewer seeds are there, but of every target and arm
    for seed in range(config.seeds):
        for name in config.targets:
            target, per_class = name.split(":")
            for arm in ARMS:
                if (target, per_class, str(seed), arm) in finished:
                    continue
                weights = None if arm == "scratch" else config.weights / f"{arm}.safetensors"
                settings = finetuning(config, seed, weights)
                if target not in prepared:
                    images: Target = load_target(target)
                    prepared[target] = Pictures(images, settings, training=False)
                new = run_cell(config, prepared[target], int(per_class), seed, arm, settings)
                rows += [{k: str(v) for k, v in row.items()} for row in new]
                write_rows(table, COLUMNS, rows)
                print(f"seed {seed}  {name}  {arm}", flush=True)
    summary = summarise(rows, config)
    write_rows(config.results / "transfer-summary.csv", SUMMARY, summary)
    plot(summary, config, config.results / "transfer.png")
    return summary


def main(config: TransferConfig) -> None:
    """Run the study and print its table."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if config.quick:
        folder = Path(tempfile.mkdtemp())
        config = replace(
            config,
            results=folder / "results",
            weights=folder / "weights",
            targets=("mnist-5k:2",),
            steps=(2, 4),
            seeds=2,
            images=640,
        )
    for row in run(config):
        gain = (
            f"{row['minus_scratch']:+6.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
            if "low" in row
            else ""
        )
        print(
            f"{row['target']:9} k={row['per_class']:3} {row['steps']:4} steps  {row['arm']:9}"
            f"{row['mean']:6.1f} ± {row['std']:.1f}  {gain}"
        )


if __name__ == "__main__":
    main(tyro.cli(TransferConfig, description=__doc__))
