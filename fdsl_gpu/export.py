"""Store samples as files, for programs that read files: PNGs in folders or tar shards.

Every file is whole or absent, and a sample's place follows from its index: a killed export goes on
where it was.
"""

from __future__ import annotations

import csv
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image

from fdsl_gpu.backends import Backend
from fdsl_gpu.cores import num_cores
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.export_files import ImageFolder, Layout, Sample, TarShards, encode_png
from fdsl_gpu.files import make_folder, replacing, write_error
from fdsl_gpu.formulas.base import View
from fdsl_gpu.render import MAX_INDEX, Renderer, Split
from fdsl_gpu.settings import check_choices, dump_settings, load_settings, plain_settings

__all__ = ["ExportConfig", "ExportSummary", "export"]

SETTINGS_FILE: Final = "stream.toml"
LABELS_FILE: Final = "labels.csv"
NUM_PROBES: Final = 32
"""Samples drawn before the start: they tell time and disk, and that what is there is the same."""
BATCH_BYTES: Final = 2**25
"""Pixels of a batch; two are in memory, one drawn while the one before is encoded and written."""
SPARE_DISK: Final = 1.05
"""Folders, labels, and samples that take more than the probes."""

_HOW: Final = ("output", "device", "backend", "workers")
"""Settings that do not change what is stored: they may differ when an export goes on."""

_log: Final = logging.getLogger("fdsl_gpu")


@dataclass(frozen=True)
class ExportConfig:
    """Store samples as PNGs in folders or as tar shards. Started again, it goes on."""

    dataset: tyro.conf.Positional[str]
    """Name of a data set, or a folder of category files."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder to fill: a new one, or that of the same export, which then goes on."""
    count: int
    """Samples to store. A folder of PNGs may be given a larger count later."""
    start: int = 0
    """Index of the first sample."""
    format: Literal["folder", "tar"] = "folder"
    """folder: CATEGORY/INDEX.png and labels.csv; tar: NAME-000000.tar and so on."""
    images_per_shard: int = 10_000
    """Samples in each tar shard."""
    image_size: int = 224
    """Side of each image in pixels."""
    seed: int = 0
    """Seed of everything random."""
    split: Split = "train"
    """Samples of training, or those of validation."""
    dataset_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Settings of its formula to change, as NAME VALUE pairs: num_points 50000."""
    device: str = "cpu"
    """Where the images are drawn: cpu or cuda."""
    backend: Backend = "auto"
    """Who draws; auto is the fastest that the device has."""
    workers: int | None = None
    """Threads that encode; by default one a core."""


@dataclass(frozen=True)
class ExportSummary:
    """What an export did; `str` says it in one sentence.

    Args:
        output: The folder.
        written: Samples stored now.
        kept: Samples that were there before.
        num_bytes: What they take on the disk.
        seconds: Wall time.
    """

    output: Path
    written: int
    kept: int
    num_bytes: int
    seconds: float

    def __str__(self) -> str:
        """For people."""
        kept = f"; {self.kept:,} were there before" if self.kept else ""
        return (
            f"wrote {self.written:,} images ({_size(self.num_bytes)}) to {self.output} "
            f"in {_duration(self.seconds)}{kept}"
        )


def export(
    config: ExportConfig,
    *,
    say: Callable[[str], None] = _log.info,
    progress: Callable[[int, int], None] | None = None,
) -> ExportSummary:
    """Store the samples [start, start + count), pixel for pixel what `render` gives.

    Gray drawings become gray PNGs, which any loader that asks for RGB, as ImageFolder does, reads
    as three equal channels.

    Args:
        config: What to store, and where.
        say: Is told images, disk and time before the start.
        progress: Is told (images there, images in all) after every batch.

    Raises:
        ValueError: Something is unknown or out of range, or the folder holds something else.
            Nothing was written.
        RuntimeError: The disk is full, the folder cannot be written, or the backend is not here.
            What was written is whole, and the same command goes on from there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(ExportConfig("fractaldb-1k", Path(folder), count=3, image_size=32)).written
        3
    """
    started = time.perf_counter()
    check_choices(config)
    renderer = _renderer(config)
    layout = _layout(config, renderer)
    _check_folder(config)
    missing = sum(part.size for part in layout.parts())
    kept = config.count - missing
    written = num_bytes = 0
    make_folder(config.output)
    with ThreadPoolExecutor(config.workers or num_cores()) as pool:
        say(_estimate(config, renderer, layout, pool, missing))
        with replacing(config.output / SETTINGS_FILE) as file:
            file.write_bytes(dump_settings(config, _heading(renderer.dataset)))
        try:
            for part in layout.parts():
                with layout.opened(part) as put:
                    for samples in _samples(renderer, _batches(part, renderer), pool):
                        for sample in samples:
                            put(sample)
                            num_bytes += layout.disk_bytes(sample)
                        written += len(samples)
                        if progress is not None:
                            progress(kept + written, config.count)
        except RuntimeError as error:
            if isinstance(error.__cause__, OSError):
                raise RuntimeError(f"{error}; the same command goes on from here") from error
            raise
    if isinstance(layout, ImageFolder):
        _write_labels(renderer, layout)
    return ExportSummary(config.output, written, kept, num_bytes, time.perf_counter() - started)


def _renderer(config: ExportConfig) -> Renderer:
    """Who draws, once every setting is known to be good."""
    for name in ("count", "images_per_shard"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if config.workers is not None and config.workers < 1:
        raise ValueError(f"workers must be at least 1, got {config.workers}")
    if not 0 <= config.start <= MAX_INDEX - config.count:
        raise ValueError(
            f"start must be in [0, 2**62 - count], got {config.start} with count {config.count}"
        )
    dataset = get_dataset(config.dataset).replace(**config.dataset_settings)
    if dataset.target != "class":
        raise ValueError(
            f"export stores class labels, and the samples of {dataset.name!r} have a "
            f"{dataset.target} target; draw them with fdsl_gpu.render"
        )
    return Renderer(
        dataset,
        View(config.image_size),
        seed=config.seed,
        split=config.split,
        channels=dataset.formula.channels,
        device=torch.device(config.device),
        backend=config.backend,
    )


def _layout(config: ExportConfig, renderer: Renderer) -> Layout:
    indices = range(config.start, config.start + config.count)
    if config.format == "tar":
        name = Path(renderer.dataset.name).resolve().name
        return TarShards(config.output, name, indices, config.images_per_shard)

    def labels_of(some: NDArray[np.uint64]) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = renderer.instance(some).label
        return labels

    return ImageFolder(config.output, indices, labels_of, renderer.dataset.num_classes)


def _check_folder(config: ExportConfig) -> None:
    """Refuse a folder that holds anything but the same export."""
    folder = config.output
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"output must be a folder, and {folder} is a file")
    settings = folder / SETTINGS_FILE
    if not settings.exists():
        # what a start killed early may leave is no obstacle
        if any(entry.name != f"{SETTINGS_FILE}.tmp" for entry in folder.iterdir()):
            raise ValueError(
                f"{folder} is not empty and holds no {SETTINGS_FILE}; choose another output"
            )
        return
    saved = plain_settings(load_settings(ExportConfig, settings))
    current = plain_settings(config)
    if config.format == "folder" and saved.get("count", 0) <= config.count:
        saved["count"] = config.count
    changed = [
        f"{name} ({saved.get(name)!r} there, {current.get(name)!r} here)"
        for name in sorted(saved.keys() | current.keys())
        if name not in _HOW and saved.get(name) != current.get(name)
    ]
    if changed:
        raise ValueError(
            f"{folder} holds another export: it differs in {', '.join(changed)}; "
            "choose another output"
        )


def _estimate(
    config: ExportConfig,
    renderer: Renderer,
    layout: Layout,
    pool: ThreadPoolExecutor,
    missing: int,
) -> str:
    """Draw some samples: what the rest will take, and that what is there is the same.

    Raises:
        ValueError: A stored image is not what the data set draws.
        RuntimeError: The disk is too small.
    """
    spread = np.linspace(0, config.count - 1, min(NUM_PROBES, config.count)).astype(np.uint64)
    if config.format == "tar":  # the first of a shard is quickly found where it is there
        firsts = spread - spread % np.uint64(config.images_per_shard)
        spread = np.unique(np.concatenate([spread, firsts]))
    indices = np.uint64(config.start) + spread
    for _ in range(2):  # the first time may compile
        started = time.perf_counter()
        batches = _samples(renderer, _batches(indices, renderer), pool)
        probes = [sample for batch in batches for sample in batch]
        _write_probes(config.output, probes)
    seconds = (time.perf_counter() - started) / len(probes) * missing
    for probe in probes:
        stored = layout.stored(probe.index, probe.label)
        if stored is not None and not _same_pixels(stored, probe.png):
            raise ValueError(
                f"{config.output} holds another export: its sample {probe.index} is not what "
                f"{config.dataset!r} draws; choose another output"
            )
    needed = int(np.mean([layout.disk_bytes(probe) for probe in probes]) * missing)
    free = shutil.disk_usage(config.output).free
    if needed * SPARE_DISK > free:
        raise RuntimeError(
            f"{missing:,} images need about {_size(needed)}, and the disk of {config.output} has "
            f"{_size(free)} free; make room, or store fewer or smaller images"
        )
    there = f" ({config.count - missing:,} are there)" if missing < config.count else ""
    return (
        f"{config.count:,} images of {renderer.dataset.name} at {config.image_size} pixels{there}: "
        f"about {_size(needed)} of {_size(free)} free, {_duration(seconds)}"
    )


def _write_probes(folder: Path, probes: list[Sample]) -> None:
    """Write the probes to files without names: part of the time that is estimated."""
    try:
        for probe in probes:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(probe.png)
    except OSError as error:
        raise write_error(folder, error) from error


def _same_pixels(stored: bytes, drawn: bytes) -> bool:
    """Whether two PNGs show the same; another zlib gives other bytes for the same pixels."""
    try:
        with Image.open(io.BytesIO(stored)) as old, Image.open(io.BytesIO(drawn)) as new:
            return np.array_equal(np.asarray(old), np.asarray(new))
    except OSError:  # no image at all
        return False


def _batches(part: NDArray[np.uint64], renderer: Renderer) -> Iterator[NDArray[np.uint64]]:
    """Pieces of a part that fit into memory."""
    pixels = renderer.channels * renderer.view.image_size**2
    size = min(max(BATCH_BYTES // pixels, 1), 1024)
    for first in range(0, part.size, size):
        yield part[first : first + size]


def _samples(
    renderer: Renderer, batches: Iterable[NDArray[np.uint64]], pool: ThreadPoolExecutor
) -> Iterator[list[Sample]]:
    """Encoded batches in order; one is drawn while the one before is encoded."""
    waiting: Iterator[Sample] | None = None
    for indices in batches:
        instance = renderer.instance(indices)
        images, _ = renderer.draw(instance)
        pngs = pool.map(encode_png, images.cpu().numpy())
        encoded = map(
            Sample, indices.tolist(), instance.label.tolist(), pngs, _about(indices, instance)
        )
        if waiting is not None:
            yield list(waiting)
        waiting = encoded
    if waiting is not None:
        yield list(waiting)


def _about(indices: NDArray[np.uint64], instance: Any) -> Iterator[dict[str, Any]]:
    """Index and description of each sample, in plain values."""
    columns = {"index": indices, **instance.describe()}
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield dict(zip(columns, row, strict=True))


def _write_labels(renderer: Renderer, layout: ImageFolder) -> None:
    """labels.csv: file, index, label and description of each sample, in the order of the stream."""
    path = layout.folder / LABELS_FILE
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        for some in layout.chunks():
            for about in _about(some, renderer.instance(some)):
                image = layout.path(about["index"], about["label"])
                if about["index"] == layout.indices.start:
                    table.writerow(["file", *about])
                table.writerow([image.relative_to(layout.folder).as_posix(), *about.values()])


def _heading(dataset: DatasetSpec) -> str:
    return (
        f"fdsl-gpu export of {dataset.name}, version {dataset.version}.\n"
        f"Again, or on from where it was: fdsl-gpu export --config {SETTINGS_FILE}"
    )


def _size(num_bytes: int) -> str:
    """Bytes for people."""
    if num_bytes < 10**6:
        return f"{num_bytes / 10**3:.0f} kB"
    return f"{num_bytes / 10**6:.0f} MB" if num_bytes < 10**9 else f"{num_bytes / 10**9:.1f} GB"


def _duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
