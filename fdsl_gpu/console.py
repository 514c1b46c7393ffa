"""What a person at a terminal sees of long commands: progress bars, and a summary at the end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fdsl_gpu.demo import DemoConfig, demo
from fdsl_gpu.export import ExportConfig, ExportSummary, export
from fdsl_gpu.pretrain import PretrainConfig, Report, pretrain
from fdsl_gpu.pretrain import Progress as PretrainProgress
from fdsl_gpu.runs import SETTINGS

__all__ = ["run_demo", "run_export", "run_pretrain", "show_log"]

_console: Final = Console(stderr=True, highlight=False)


def show_log() -> None:
    """Show what the library logs, between the bars; only warnings on other ranks than the first."""
    log = logging.getLogger("fdsl_gpu")
    log.setLevel(logging.WARNING if _is_other_rank() else logging.INFO)
    log.addHandler(
        RichHandler(console=_console, show_time=False, show_level=False, show_path=False)
    )


def run_pretrain(config: PretrainConfig) -> None:
    """`fdsl-gpu pretrain`."""
    with _resumable(config), _training_bar(config) as report:
        end = pretrain(config, report)
    if not _is_other_rank():
        _console.print(_summary(config, end))


def run_demo(config: DemoConfig) -> None:
    """`fdsl-gpu demo`."""
    run = config.pretraining()
    _console.print(
        f"Pre-training {run.model} on {run.spec().num_classes} categories of {run.dataset} "
        f"at {run.image_size} pixels: {run.num_updates * run.batch_size:,} images, each drawn "
        "when it is needed and seen once. Some compiling comes first."
    )
    with _resumable(run), _training_bar(run) as report:
        preview, end = demo(config, run, report)
    table = _summary(run, end)
    table.add_row("preview", f"{preview}: categories as rows, instances as columns")
    _console.print(table)


def run_export(config: ExportConfig) -> ExportSummary:
    """`fdsl-gpu export`."""
    with _bar("{task.completed:,} of {task.total:,} images") as bar:
        task = bar.add_task("export", total=config.count)
        return export(
            config,
            say=_console.print,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


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
        BarColumn(), TextColumn(text), TimeRemainingColumn(), console=_console, transient=True
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
                _console.print(f"update {progress.update:,} of {progress.num_updates:,}  {text}")

        yield report


def _line(config: PretrainConfig, progress: PretrainProgress) -> str:
    epoch = (progress.update - 1) // config.updates_per_epoch + 1
    parts = [f"epoch {epoch} of {config.epochs}"]
    if "loss" in progress.learned:
        parts.append(f"loss {progress.learned['loss']:.3f}")
    if "val_top1" in progress.learned:
        parts.append(f"top-1 {progress.learned['val_top1']:.1f} %")
    parts.append(f"{progress.img_s:,.0f} images/s, {_drawing(progress)}")
    return "  ".join(parts)


def _drawing(progress: PretrainProgress) -> str:
    return f"drawing {progress.draw_share:.0%} of the time, waited for {progress.wait_share:.0%}"


def _summary(config: PretrainConfig, end: PretrainProgress) -> Table:
    folder, learned = config.output, end.learned
    table = Table.grid(padding=(0, 2))
    table.add_row("model", f"{config.model}, {end.num_classes:,} categories of {config.dataset}")
    table.add_row("images", f"{end.images:,} drawn and trained on now, none stored")
    if end.images:
        table.add_row("speed", f"{end.img_s:,.0f} images/s; {_drawing(end)}")
    for name, of in (("", "weights"), ("_ema", "their moving average")):
        if f"val_top1{name}" in learned:
            chance = 100 / end.num_classes
            top1 = f"{learned[f'val_top1{name}']:.1f} % of {config.val_size:,} held-out images"
            table.add_row("top-1", f"{top1} ({of}); chance is {chance:.2g} %")
    weights = folder / "model.safetensors"
    table.add_row("weights", f'timm.create_model("{config.model}", num_classes={end.num_classes}, ')
    table.add_row("", f'    in_chans={config.channels}, checkpoint_path="{weights}")')
    table.add_row("log", f"{folder / 'log.csv'}, {folder / 'speed.csv'}")
    table.add_row("filters", f"{folder / 'filters.png'}: what the first layer looks for")
    return table
