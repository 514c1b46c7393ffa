"""What a person at a terminal sees of long commands: progress bars, and a summary at the end."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fdsl_gpu.bench import BenchConfig, bench, device_name
from fdsl_gpu.demo import DemoConfig, demo
from fdsl_gpu.export import ExportConfig, ExportSummary, export
from fdsl_gpu.finetune import FinetuneConfig, FinetuneResult, finetune
from fdsl_gpu.pretrain import PretrainConfig, Report, Speed, pretrain
from fdsl_gpu.pretrain import Progress as PretrainProgress
from fdsl_gpu.runs import SETTINGS
from fdsl_gpu.search import SearchConfig, search
from fdsl_gpu.search3d import Search3dConfig, search_3d
from fdsl_gpu.search_state import SearchResult

__all__ = ["run_demo", "run_export", "run_finetune", "run_pretrain", "run_search", "show_log"]

_console: Final = Console(stderr=True, highlight=False)


def show_log() -> None:
    """Show what the library logs, between the bars; only warnings on other ranks than the first."""
    log = logging.getLogger("fdsl_gpu")
    log.setLevel(logging.WARNING if _is_other_rank() else logging.INFO)
    log.handlers = [
        RichHandler(console=_console, show_time=False, show_level=False, show_path=False)
    ]


def run_pretrain(config: PretrainConfig) -> None:
    """`fdsl-gpu pretrain`."""
    with _resumable(config), _training_bar(config) as report:
        end = pretrain(config, report)
    if not _is_other_rank():
        _say(*_summary(config, end))


def run_demo(config: DemoConfig) -> None:
    """`fdsl-gpu demo`."""
    run = config.pretraining()
    _say(
        f"Pre-training {run.model} on {run.spec().num_classes} categories of {run.dataset} at "
        f"{run.image_size} pixels: {run.num_updates * run.batch_size:,} images, each drawn when it "
        "is needed and seen once.",
        "Compiling comes first.",
    )
    with _resumable(run), _training_bar(run) as report:
        preview, end = demo(run, report)
    _say(*_summary(run, end), f"preview  {preview}: categories as rows, instances as columns")


def run_finetune(config: FinetuneConfig) -> None:
    """`fdsl-gpu finetune`."""
    with _bar("{task.description}") as bar:
        task = bar.add_task("starting", total=None)

        def report(done: int, total: int, loss: float) -> None:
            text = f"update {done:,} of {total:,}"
            if not math.isnan(loss):
                text += f"  loss {loss:.3f}"
            bar.update(task, completed=done, total=total, description=text)

        result = finetune(config, report)
    _say(*_finetuned(config, result))


def run_export(config: ExportConfig) -> ExportSummary:
    """`fdsl-gpu export`."""
    with _bar("{task.completed:,} of {task.total:,} images") as bar:
        task = bar.add_task("export", total=config.count)
        return export(
            config,
            say=_say,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def run_search(config: SearchConfig) -> SearchResult:
    """`fdsl-gpu search`."""
    return _searched(search, config)


def run_search_3d(config: Search3dConfig) -> SearchResult:
    """`fdsl-gpu search-3d`."""
    return _searched(search_3d, config)


def _searched(run: Callable[..., Any], config: SearchConfig | Search3dConfig) -> Any:
    with _bar("{task.completed:,} of {task.total:,} {task.description}") as bar:
        task = bar.add_task("categories", total=config.num_categories)

        def report(stage: str, done: int, total: int) -> None:
            if bar.tasks[task].description != stage:
                bar.reset(task, description=stage)  # the time of another stage says nothing
            bar.update(task, completed=done, total=total)

        return run(config, report)


def run_bench(config: BenchConfig) -> str:
    """`fdsl-gpu bench`."""
    _say(f"{device_name()}, one core, CPU time an image: median [20 %, 80 %] of the rounds")
    rows = bench(config, _say)
    return f"{len(rows)} figures" + (f" in {config.output}" if config.output else "")


def _say(*lines: str) -> None:
    for line in lines:
        _console.print(line, soft_wrap=True, markup=False)


def _is_other_rank() -> bool:
    return int(os.environ.get("RANK", 0)) > 0


@contextmanager
def _resumable(config: PretrainConfig) -> Iterator[None]:
    """Say how to go on where Ctrl-C ends a run."""
    try:
        yield
    except KeyboardInterrupt:
        settings = config.output / SETTINGS
        how = f"go on with: fdsl-gpu pretrain --config {settings} --resume"
        raise KeyboardInterrupt(how if settings.exists() else "nothing was started") from None


def _bar(text: str) -> Progress:
    return Progress(
        BarColumn(),
        TextColumn(text),
        TimeRemainingColumn(),
        console=_console,
        transient=True,
        disable=not _console.is_terminal,
    )


@contextmanager
def _training_bar(config: PretrainConfig) -> Iterator[Report]:
    """A bar while a run lives; where there is no terminal, a line for each row of its log."""
    shown = 0.0
    with _bar("{task.description}") as bar:
        task = bar.add_task("starting", total=config.num_updates)

        def report(progress: PretrainProgress) -> None:
            nonlocal shown
            text = _line(config, progress)
            bar.update(task, completed=progress.update, description=text)
            if not _console.is_terminal and shown != (row := progress.learned.get("update", 0.0)):
                shown = row
                _say(f"update {progress.update:,} of {progress.num_updates:,}  {text}")

        yield report


def _line(config: PretrainConfig, progress: PretrainProgress) -> str:
    epoch = (progress.update - 1) // config.updates_per_epoch + 1
    parts = [f"epoch {epoch} of {config.epochs}"]
    if "loss" in progress.learned:
        parts.append(f"loss {progress.learned['loss']:.3f}")
    if "val_top1" in progress.learned:
        parts.append(f"top-1 {progress.learned['val_top1']:.1f} %")
    if "val_map" in progress.learned:
        parts.append(f"mAP {progress.learned['val_map']:.1f} %")
    if progress.speed.images:
        parts.append(_speed(progress.speed))
    return "  ".join(parts)


def _speed(speed: Speed) -> str:
    return (
        f"{speed.img_s:,.0f} images/s, drawing {speed.draw_share:.0%} of the time, "
        f"waited for {speed.wait_share:.0%}"
    )


def _summary(config: PretrainConfig, end: PretrainProgress) -> list[str]:
    folder, learned = config.output, end.learned
    lines = [
        f"model    {config.model}, {end.num_classes:,} categories of {config.dataset}",
        f"images   {end.update * config.batch_size:,} drawn, none stored",
    ]
    if end.speed.images:
        lines.append(f"speed    {_speed(end.speed)}")
    for name, of in (("", "weights"), ("_ema", "weights' moving average")):
        if f"val_top1{name}" in learned:
            top1, chance = learned[f"val_top1{name}"], 100 / end.num_classes
            lines.append(
                f"top-1    {top1:.1f} % of {config.val_size:,} held-out images with the {of}; "
                f"chance is {chance:.2g} %"
            )
        if f"val_map{name}" in learned:
            lines.append(
                f"mAP      {learned[f'val_map{name}']:.1f} %, mean average precision of the ranked "
                f"categories of {config.val_size:,} held-out images with the {of}"
            )
    weights = folder / "model.safetensors"
    lines += [
        f"weights  {weights}, which timm reads:",
        f'         timm.create_model("{config.model}", num_classes={end.num_classes}, '
        f'in_chans={config.channels}, checkpoint_path="{weights}")',
        f"log      {folder / 'log.csv'}, {folder / 'speed.csv'}",
        f"filters  {folder / 'filters.png'}: what the first layer looks for",
    ]
    return lines


def _finetuned(config: FinetuneConfig, result: FinetuneResult) -> list[str]:
    lines = [
        f"model       {result.model}, from {result.checkpoint or 'random weights'}",
        f"images      {result.num_train:,} of {result.target} to learn from",
        f"updates     {result.steps:,}",
    ]
    for lr, top1 in result.val_top1.items():
        if top1 is not None:
            chosen = "  <- chosen" if lr == result.lr and len(result.val_top1) > 1 else ""
            lines.append(
                f"lr {lr:<8g} top-1 {top1:.1f} % of {result.num_val:,} validation images{chosen}"
            )
    if result.test_top1 is not None:
        lines.append(
            f"test        top-1 {result.test_top1:.1f} % of {result.num_test:,} test images"
        )
    files = ("model.safetensors", "result.json", "log.csv")
    return [*lines, "files       " + ", ".join(str(config.output / name) for name in files)]
