"""Does drawing keep up with a model? Training steps fed in five ways, in turn, on a CPU.

    python benchmarks/feed.py            # about ten minutes: feed.csv and feed.png in results/
    python benchmarks/feed.py --quick    # half a minute, to see that it runs

One model trains on one batch reused (what a perfect feed would give), on the stream, on the stream
with DeiT's whole augmentation, and on the same images stored as PNG files and read by timm's own
loader and workers, plain and with the same augmentation. All five take turns in every round, so
that whatever else the machine does falls on all alike; ratios are taken within a round. CPU time
is that of the process and its workers together: on a busy machine it says more than the clock.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import timm.data
import torch
import tyro
from PIL import Image
from torch import Tensor, nn

from fdsl_gpu.augment import deit_augment
from fdsl_gpu.bench import device_name
from fdsl_gpu.formulas.view import View
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.render import render
from fdsl_gpu.stream import FormulaStream

RESULTS = Path(__file__).parent / "results"
ALONE, STREAM, STREAM_DEIT = "one batch reused", "stream", "stream, DeiT recipe"
PNG, PNG_DEIT = "stored PNG, timm", "stored PNG, timm, DeiT recipe"
FEEDS = (ALONE, STREAM, STREAM_DEIT, PNG, PNG_DEIT)
QUANTILES = {"p50": 50, "p20": 20, "p80": 80}
Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        model: A timm model.
        dataset: What is drawn.
        image_size: Side of the images in pixels, drawn and stored.
        batch_size: Images a step; even, for Mixup.
        rounds: Rounds in which every feed has its turn.
        steps: Timed steps of a turn.
        warmup: Steps of a turn before the clock starts: more than the batches that workers have
            ready, so that none is had for nothing.
        num_stored: PNG files; they stay in the memory of the operating system.
        workers: Worker processes of timm's loader.
        threads: Threads of PyTorch; 0 leaves it its own choice.
        output: Folder of feed.csv and feed.png.
        quick: Two short rounds of small batches, whose numbers mean nothing and are not kept.
    """

    model: str = "resnet18"
    dataset: str = "fractaldb-1k"
    image_size: int = 112
    batch_size: int = 64
    rounds: int = 9
    steps: int = 6
    warmup: int = 5
    num_stored: int = 2048
    workers: int = os.cpu_count() or 1
    threads: int = 0
    output: Path = RESULTS
    quick: bool = False


def main() -> None:
    """Run, print the table, and write the CSV and the plot that is drawn from it."""
    config = tyro.cli(Config)
    if config.quick:
        config = Config(**{**vars(config), **_QUICK})
    if config.threads:
        torch.set_num_threads(config.threads)
    with tempfile.TemporaryDirectory() as folder:
        store(config, Path(folder))
        rows = table(config, measure(config, Path(folder)))
    show(rows)
    if not config.quick:
        write(rows, config.output / "feed.csv")
        plot(config.output / "feed.csv", config.output / "feed.png")


_QUICK = {"batch_size": 8, "rounds": 2, "steps": 2, "warmup": 1, "num_stored": 64, "workers": 1}


def store(config: Config, folder: Path) -> None:
    """Write the first images of the stream as PNG files, a folder a class."""
    for start in range(0, config.num_stored, 256):
        indices = range(start, min(start + 256, config.num_stored))
        images, labels = render(config.dataset, indices, image_size=config.image_size)
        for index, image, label in zip(indices, images, labels.tolist(), strict=True):
            (folder / f"{label:04d}").mkdir(exist_ok=True)
            path = folder / f"{label:04d}" / f"{index}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def drawn(config: Config, augmented: bool) -> Batches:
    """Batches of the stream; augmented as DeiT's, crops drawn and not resampled."""
    size = config.image_size
    view = View(size, crop="resized", hflip=0.5) if augmented else View(size)
    stream = FormulaStream(config.dataset, config.batch_size, image_size=view)
    yield from FormulaLoader(stream, augment=deit_augment() if augmented else None)


def stored(config: Config, folder: Path, augmented: bool) -> Batches:
    """Batches of the stored images from timm's loader, with timm's own augmentation or none."""
    options = {"no_aug": True}
    if augmented:
        options = {
            "hflip": 0.5,
            "color_jitter": None,
            # without mstd0.5: timm's magnitude then never reaches 10, where it asks Pillow to keep
            # 0 bits, which newer releases of Pillow refuse
            "auto_augment": "rand-m9-inc1",
            "re_prob": 0.25,
            "re_mode": "pixel",
            "interpolation": "bicubic",
            "collate_fn": timm.data.FastCollateMixup(
                mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=1000
            ),
        }
    loader = timm.data.create_loader(
        timm.data.ImageDataset(str(folder)),
        (3, config.image_size, config.image_size),
        config.batch_size,
        is_training=True,
        num_workers=config.workers,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        device=torch.device("cpu"),
        pin_memory=False,
        persistent_workers=True,
        **options,
    )
    while True:
        yield from loader


class Trainer:
    """A model and its optimiser."""

    def __init__(self, model: str) -> None:
        torch.manual_seed(0)
        self.model = timm.create_model(model, num_classes=1000).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def step(self, images: Tensor, target: Tensor) -> None:
        """One training step."""
        loss = nn.functional.cross_entropy(self.model(images), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def measure(config: Config, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Seconds a step and CPU seconds a step of each feed, one pair a round."""
    feeds: dict[str, Batches] = {
        STREAM: drawn(config, augmented=False),
        STREAM_DEIT: drawn(config, augmented=True),
        PNG: stored(config, folder, augmented=False),
        PNG_DEIT: stored(config, folder, augmented=True),
    }
    feeds = {ALONE: itertools.repeat(next(feeds[STREAM])), **feeds}
    trainer = Trainer(config.model)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in FEEDS}
    for number in range(config.rounds):
        # another order each round, so that none always follows the same one
        for name in FEEDS[number % len(FEEDS) :] + FEEDS[: number % len(FEEDS)]:
            for _ in range(config.warmup):
                trainer.step(*next(feeds[name]))
            started, spent = time.perf_counter(), cpu_seconds()
            for _ in range(config.steps):
                trainer.step(*next(feeds[name]))
            lasted, spent = time.perf_counter() - started, cpu_seconds() - spent
            seconds[name].append((lasted / config.steps, spent / config.steps))
            time.sleep(0.1 if config.quick else 1.0)  # what is drawn ahead falls on no other feed
    return seconds


def cpu_seconds() -> float:
    """CPU time of this process and, where /proc tells it, of its workers."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        with suppress(OSError):
            fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def table(config: Config, seconds: dict[str, list[tuple[float, float]]]) -> list[dict[str, object]]:
    """One row a feed: images/s and the cost over the model alone, by the clock and in CPU time.

    Each as its median and its 20 and 80 % quantiles over the rounds.
    """
    rows = []
    alone = np.array(seconds[ALONE])  # [rounds, 2]
    for name in FEEDS:
        taken = np.array(seconds[name])
        metrics = {
            "images_per_s": config.batch_size / taken[:, 0],
            "cost_percent": 100 * (taken / alone - 1)[:, 0],
            "cpu_ms_per_image": 1000 * taken[:, 1] / config.batch_size,
            "cpu_cost_percent": 100 * (taken / alone - 1)[:, 1],
        }
        row: dict[str, object] = {"feed": name}
        for metric, values in metrics.items():
            for label, share in QUANTILES.items():
                row[f"{metric}_{label}"] = round(float(np.percentile(values, share)), 2)
        row |= {
            "model": config.model,
            "dataset": config.dataset,
            "image_size": config.image_size,
            "batch_size": config.batch_size,
            "rounds": config.rounds,
            "workers": config.workers,
            "threads": torch.get_num_threads(),
            "device": f"{device_name()}, {os.cpu_count()} cores",
            "torch": torch.__version__,
            "timm": timm.__version__,
            "commit": commit(),
            "date": datetime.date.today().isoformat(),
        }
        rows.append(row)
    return rows


def commit() -> str:
    """The commit that is measured; with + where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return result.stdout.strip()


def show(rows: list[dict[str, object]]) -> None:
    """Print the table."""
    first = rows[0]
    print(
        f"{first['model']}, {first['image_size']} px, batches of {first['batch_size']}, "
        f"{first['device']}, {first['threads']} threads, {first['workers']} workers"
    )
    columns = {
        "images_per_s": "images/s",
        "cost_percent": "cost of the feed, %",
        "cpu_cost_percent": "in CPU time, %",
    }
    print(f"{'median [20 %, 80 %]':30s}" + "".join(f"{title:>26s}" for title in columns.values()))
    for row in rows:
        line = f"{row['feed']:30s}"
        for metric in columns:
            middle, low, high = (row[f"{metric}_{label}"] for label in QUANTILES)
            line += f"{middle:10.1f} [{low:5.1f}, {high:5.1f}]"
        print(line)


def write(rows: list[dict[str, object]], path: Path) -> None:
    """Write the CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def plot(source: Path, path: Path) -> None:
    """Draw the plot from the CSV."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with source.open() as file:
        rows = list(csv.DictReader(file))[::-1]
    values = {label: [float(row[f"images_per_s_{label}"]) for row in rows] for label in QUANTILES}
    errors = [
        [mid - low for mid, low in zip(values["p50"], values["p20"], strict=True)],
        [high - mid for mid, high in zip(values["p50"], values["p80"], strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(8, 3))
    colors = ["#4c72b0" if row["feed"].startswith("stream") else "#999999" for row in rows]
    bars = axes.barh([row["feed"] for row in rows], values["p50"], xerr=errors, color=colors)
    axes.bar_label(bars, [f" {float(row['cost_percent_p50']):+.1f} %" for row in rows], padding=4)
    axes.set_xlim(0, 1.25 * max(values["p80"]))
    axes.set_xlabel("training images/s; % = time of a step over that of one batch reused")
    first = rows[0]
    axes.set_title(
        f"{first['model']}, {first['image_size']} px, batch {first['batch_size']}: "
        f"{first['device']}",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
