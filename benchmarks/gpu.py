"""What drawing the 2D IFS costs on a GPU: each kernel, images/s, traffic, and a share of training.

    python benchmarks/gpu.py            # some minutes: gpu-NAME.csv and gpu-NAME.png in results/
    python benchmarks/gpu.py --quick    # one tiny round, to see that it runs; nothing is kept

First the device draws some samples, also from a CUDA graph, and they are compared with the NumPy
definition: a drawing that is wrong is not timed. Times are triton.testing.do_bench's median and
20 and 80 % quantiles, the L2 cache emptied between calls. docs/performance.md has a model of what
comes out, to be held against it.
"""

from __future__ import annotations

import csv
import datetime
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
import tyro
from torch import Tensor, nn

from fdsl_gpu.backends.triton import check_device, scratch_size
from fdsl_gpu.backends.triton.ifs import IfsDrawing
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas.ifs import IfsInstance
from fdsl_gpu.formulas.view import View
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.stream import FormulaStream

RESULTS = Path(__file__).parent / "results"
MEAN, STD = (0.5,) * 3, (0.5,) * 3
Quantiles = tuple[float, float, float]
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        dataset: A data set of the 2D IFS.
        image_sizes: Sides of the images in pixels; the first one is trained on.
        num_points: Points an image; the first one is the data set's own for the kernels.
        batch_sizes: Images of a batch; the first one is used for kernels and training.
        models: Models whose training steps are fed.
        steps: Training steps of a round.
        rounds: Rounds of training steps.
        device: "cuda", or "cpu" under TRITON_INTERPRET=1.
        output: Folder of the CSV and the plot.
        quick: One tiny round; its numbers mean nothing and are not kept.
    """

    dataset: str = "fractaldb-1k"
    image_sizes: tuple[int, ...] = (224, 362)
    num_points: tuple[int, ...] = (200_000, 100_000, 50_000)
    batch_sizes: tuple[int, ...] = (256, 64, 1024)
    models: tuple[str, ...] = ("deit_tiny_patch16_224", "resnet50")
    steps: int = 20
    rounds: int = 7
    device: str = "cuda"
    output: Path = RESULTS
    quick: bool = False


_QUICK: dict[str, Any] = {
    "image_sizes": (32,),
    "num_points": (1024,),
    "batch_sizes": (2,),
    "models": ("test_resnet",),
    "steps": 1,
    "rounds": 1,
}


def main() -> None:
    """Check, measure, print the table, and write the CSV and the plot that is drawn from it."""
    config = tyro.cli(Config)
    if config.quick:
        config = replace(config, **_QUICK)
    device = torch.device(config.device)
    try:
        check_device(device)
    except RuntimeError as error:
        sys.exit(f"gpu.py: {error}")
    print(header(device))
    check(config, device)
    rows = [bandwidth(device), *host(config, device)]
    rows += [row for size in config.image_sizes for row in kernels(config, size, device)]
    rows += [
        drawing(config, size, points, batch, device)
        for size in config.image_sizes
        for points in config.num_points
        for batch in config.batch_sizes
    ]
    rows += [row for model in config.models for row in training(config, model, device)]
    for row in rows:
        print(line(row))
    if not config.quick:
        name = re.sub(r"\W+", "-", device_name(device)).strip("-").lower()
        path = config.output / f"gpu-{name}.csv"
        write(rows, path, device)
        plot(path, path.with_suffix(".png"))


def samples(config: Config, size: int, points: int, count: int) -> IfsInstance:
    """The first samples of the stream, with this number of points."""
    formula = get_dataset(config.dataset).replace(num_points=points).formula
    instance: IfsInstance = formula.instance(np.arange(count, dtype=np.uint64), 0, View(size))
    return instance


def blank(instance: IfsInstance, device: torch.device, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Images to draw into; float images are channels_last, as tensor cores want them."""
    size = instance.image_size
    images = torch.empty((len(instance.label), 3, size, size), dtype=dtype, device=device)
    return images if dtype == torch.uint8 else images.to(memory_format=torch.channels_last)


def check(config: Config, device: torch.device) -> None:
    """Draw on the device, and from a CUDA graph, and compare with the definition.

    Raises:
        SystemExit: A pixel differs.
    """
    size, points = config.image_sizes[0], config.num_points[0]
    formula = get_dataset(config.dataset).formula
    first = samples(config, size, points, min(4, config.batch_sizes[0]))
    other = replace(first, walk_index=first.walk_index + np.uint64(100))
    images = blank(first, device)
    drawing = IfsDrawing(first, images)
    drawing.launch()
    expect(formula, first, images, "the device")
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            drawing.launch()
    drawing.load(other)
    graph.replay() if device.type == "cuda" else drawing.launch()
    expect(formula, other, images, "a CUDA graph")


def expect(formula: Any, instance: IfsInstance, images: Tensor, who: str) -> None:
    """Leave with a message where images differ from the definition."""
    defined = np.empty(tuple(images.shape), np.uint8)
    formula.draw_numpy(instance, defined)
    differing = int((images.cpu().numpy() != defined).sum())
    if differing:
        sys.exit(
            f"gpu.py: {differing} of {defined.size} values from {who} are not the definition's"
        )


def milliseconds(run: Callable[[], Any], device: torch.device) -> Quantiles:
    """Median, 20 and 80 % quantile of a call; on a CPU, of one call by the clock."""
    if device.type == "cuda":
        middle, low, high = triton.testing.do_bench(run, quantiles=[0.5, 0.2, 0.8])
        return middle, low, high
    started = time.perf_counter()
    run()
    return (1000 * (time.perf_counter() - started),) * 3


def row(measure: str, unit: str, values: Quantiles, **settings: Any) -> Row:
    """One line of the CSV: a measure with its quantiles, and what it was measured for."""
    return {
        "measure": measure,
        "unit": unit,
        **dict(zip(("p50", "p20", "p80"), (float(f"{v:.4g}") for v in values), strict=True)),
        **{name: settings.get(name, "") for name in ("image_size", "num_points", "batch_size")},
    }


def per(amount: float, times: Quantiles) -> Quantiles:
    """Rates from times: the slow quantile of the one is the low quantile of the other."""
    middle, low, high = times
    return amount / middle, amount / high, amount / low


def bandwidth(device: torch.device) -> Row:
    """Bytes that a copy reads and writes a second: what the card's memory gives."""
    size = 2**30 if device.type == "cuda" else 2**20
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    times = milliseconds(lambda: target.copy_(source), device)
    return row("copy", "GB/s", per(2 * size / 1e6, times))


def host(config: Config, device: torch.device) -> list[Row]:
    """What the host does for an image: NumPy's instance, and packing and starting the copy."""
    size, points, batch = config.image_sizes[0], config.num_points[0], config.batch_sizes[0]
    instance = samples(config, size, points, batch)
    drawing = IfsDrawing(instance, blank(instance, device))
    settings = {"image_size": size, "num_points": points, "batch_size": batch}
    rows = []
    for name, run in (
        ("instance", lambda: samples(config, size, points, batch)),
        ("pack and copy", lambda: drawing.load(instance)),
    ):
        seconds = []
        for _ in range(1 if config.quick else 50):
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        values = np.percentile(seconds, [50, 20, 80]) * 1e6 / batch
        rows.append(row(name, "us/image", tuple(values.tolist()), **settings))
    return rows


def kernels(config: Config, size: int, device: torch.device) -> list[Row]:
    """Each kernel's time for a batch; points and, of the resolve kernel, bytes a second."""
    points, batch = config.num_points[0], config.batch_sizes[0]
    settings = {"image_size": size, "num_points": points, "batch_size": batch}
    instance = samples(config, size, points, batch)
    drawing = IfsDrawing(instance, blank(instance, device))
    drawing.launch()
    rows = []
    for name in ("words", "clear", "walk", "resolve"):
        steps = [step for kind, step in drawing.steps() if kind == name]
        times = milliseconds(lambda: [step() for step in steps], device)  # noqa: B023
        rows.append(row(name, "ms", times, **settings))
        if name == "walk":
            drawn = batch * instance.num_steps * instance.num_walks
            rows.append(row("points", "G/s", per(drawn / 1e6, times), **settings))
        if name == "resolve":
            moved = batch * (4 * (size + 3) ** 2 + 3 * size**2)
            rows.append(row("resolve traffic", "GB/s", per(moved / 1e6, times), **settings))
    return rows


def drawing(config: Config, size: int, points: int, batch: int, device: torch.device) -> Row:
    """Whole batches, normalised to bfloat16 as a model takes them."""
    instance = samples(config, size, points, batch)
    images = blank(instance, device, torch.bfloat16)
    drawing = IfsDrawing(instance, images, mean=MEAN, std=STD)
    rates = per(1000 * batch, milliseconds(drawing.launch, device))
    settings = {"image_size": size, "num_points": points, "batch_size": batch}
    return row("draw", "images/s", rates, **settings)


def training(config: Config, model_name: str, device: torch.device) -> list[Row]:
    """A training step on one batch reused, and fed by the stream; and what share drawing takes."""
    import timm

    size, points, batch = config.image_sizes[0], config.num_points[0], config.batch_sizes[0]
    spec = get_dataset(config.dataset)
    torch.manual_seed(0)
    model = timm.create_model(model_name, num_classes=spec.num_classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(images: Tensor, target: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # first, for the loader draws ahead on a thread of its own
    drawn = milliseconds(stream_batch(config, device), device)[0]
    stream = FormulaStream(spec, batch, image_size=size, device=device, backend="triton")
    fed = iter(FormulaLoader(stream, mean=MEAN, std=STD, channels_last=True))
    one = next(fed)
    feeds = {"alone": lambda: one, "fed": lambda: next(fed)}
    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    for number in range(config.rounds + 1):
        for name, feed in feeds.items():
            synchronize(device)
            started = time.perf_counter()
            for _ in range(config.steps):
                step(*feed())
            synchronize(device)
            if number or config.quick:  # the first round compiles and picks algorithms
                seconds[name].append((time.perf_counter() - started) / config.steps)
    settings = {"image_size": size, "num_points": points, "batch_size": batch}
    quantiles = {name: np.percentile(values, [50, 20, 80]) for name, values in seconds.items()}
    cost = np.percentile(np.array(seconds["fed"]) / seconds["alone"] - 1, [50, 20, 80])
    share = tuple(100 * drawn / (1000 * value) for value in quantiles["alone"][[0, 2, 1]])
    return [
        row(f"{model_name} step", "ms", tuple(1000 * quantiles["alone"]), **settings),
        row(f"{model_name} step, fed", "ms", tuple(1000 * quantiles["fed"]), **settings),
        row(f"{model_name} cost of feeding", "%", tuple(100 * cost), **settings),
        row(f"{model_name} drawing / step", "%", share, **settings),
    ]


def stream_batch(config: Config, device: torch.device) -> Callable[[], None]:
    """What draws one batch of the training stream."""
    instance = samples(config, config.image_sizes[0], config.num_points[0], config.batch_sizes[0])
    return IfsDrawing(instance, blank(instance, device)).launch


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The GPU's name, or that there is none."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"


def header(device: torch.device) -> str:
    """Who measures: device, versions, scratch."""
    return (
        f"device {device_name(device)} | torch {torch.__version__} | triton {triton.__version__} | "
        f"scratch {scratch_size(device) / 2**20:.0f} MiB"
    )


def line(row: Row) -> str:
    """A row for the terminal."""
    settings = " ".join(str(row[name]) for name in ("image_size", "num_points", "batch_size"))
    values = f"{row['p50']:>12} [{row['p20']}, {row['p80']}] {row['unit']}"
    return f"{row['measure']:40s}{settings:20s}{values}"


def write(rows: list[Row], path: Path, device: torch.device) -> None:
    """Write the CSV, whole or not at all."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    commit = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    about = {
        "device": device_name(device),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "commit": commit.stdout.strip(),
        "date": datetime.date.today().isoformat(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    partial.replace(path)


def plot(source: Path, path: Path) -> None:
    """Images/s against points, a line for each size and batch, drawn from the CSV."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with source.open() as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] == "draw"]
    figure, axes = plt.subplots(figsize=(7, 4))
    for size, batch in sorted({(int(row["image_size"]), int(row["batch_size"])) for row in rows}):
        line = [
            (int(row["num_points"]), *(float(row[name]) for name in ("p50", "p20", "p80")))
            for row in rows
            if (int(row["image_size"]), int(row["batch_size"])) == (size, batch)
        ]
        points, middle, low, high = np.array(sorted(line)).T
        axes.plot(points, middle, marker="o", label=f"{size} px, batch {batch}")
        axes.fill_between(points, low, high, alpha=0.2)
    axes.set_ylim(0)
    axes.set_xlabel("points an image")
    axes.set_ylabel("images/s, normalised to bfloat16")
    axes.set_title(rows[0]["device"], fontsize=9)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
