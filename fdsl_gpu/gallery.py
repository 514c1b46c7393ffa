"""Make the gallery: one web page that shows every data set of the package.

The page is a function of the package and of the speeds that lie beside it, so it can be made again
on any machine, and a test sees when the committed one is stale.
"""

from __future__ import annotations

import datetime
import json
import logging
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import tyro

from fdsl_gpu.bench import device_name
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.files import make_folder, replacing
from fdsl_gpu.formulas.base import View
from fdsl_gpu.gallery_facts import FAMILIES
from fdsl_gpu.gallery_page import Exhibit, Speeds, page
from fdsl_gpu.preview import draw_categories
from fdsl_gpu.render import Renderer

__all__ = ["GalleryConfig", "exhibit", "gallery", "load_speeds", "measure_speeds"]

PAGE: Final = "index.html"
SPEEDS: Final = "speeds.json"
NUM_TILES: Final = 8
"""Images of a data set."""
TILE_SIZE: Final = 128
"""Pixels: what eight in a row are shown at on a wide screen."""
TIMED_SIZE: Final = 224
"""Pixels of the images whose drawing is timed."""
TIMED_IMAGES: Final = 64
"""Of each round."""
TIMED_ROUNDS: Final = 9

_log: Final = logging.getLogger("fdsl_gpu")


@dataclass(frozen=True)
class GalleryConfig:
    """Make a web page that shows every data set: images, equation, speed, source."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("docs/gallery")
    """Folder of the page and of the measured speeds."""
    measure: bool = False
    """Measure the speeds again, though speeds.json has them."""


def gallery(config: GalleryConfig) -> Path:
    """Draw every data set and write the page: one file that needs no other.

    Speeds are measured where speeds.json lacks a data set, all in one run, and kept there.

    Returns:
        The page's path. It is whole or absent, and an old one stays until the new one is whole.

    Raises:
        ValueError: speeds.json is damaged.
        RuntimeError: The folder cannot be written.
    """
    make_folder(config.output)
    specs = [get_dataset(name) for family in FAMILIES for name in family.datasets]
    path = config.output / SPEEDS
    speeds = load_speeds(path) if path.exists() and not config.measure else None
    if speeds is None or {spec.name for spec in specs} != set(speeds.us_an_image):
        _log.info("measuring the speed of %d data sets on one core", len(specs))
        speeds = measure_speeds(specs)
        with replacing(path) as partial:
            partial.write_text(json.dumps(asdict(speeds), indent=2) + "\n", encoding="utf-8")
    text = page(FAMILIES, {spec.name: exhibit(spec) for spec in specs}, speeds)
    with replacing(config.output / PAGE) as partial:
        partial.write_text(text, encoding="utf-8")
    return config.output / PAGE


def exhibit(spec: DatasetSpec) -> Exhibit:
    """What the page shows of a data set that is not written in its facts.

    Args:
        spec: A data set of the package.

    Example:
        >>> exhibit(get_dataset("perlin-100")).tiles.shape
        torch.Size([1, 8, 3, 128, 128])
    """
    return Exhibit(
        # masks have a class for the background
        num_categories=spec.num_classes - (spec.target == "mask"),
        target=spec.target,
        settings=spec.settings(),
        tiles=draw_categories(Renderer(spec, View(TILE_SIZE)), NUM_TILES),
    )


def load_speeds(path: Path) -> Speeds:
    """Speeds that were measured before.

    Args:
        path: A file that `gallery` wrote.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        return Speeds(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} does not hold speeds ({error}): delete it to measure") from error


def measure_speeds(specs: Iterable[DatasetSpec]) -> Speeds:
    """Time the Numba drawing of each data set by its CPU time, on one core.

    All draw in turn, round after round, so that other work on the machine disturbs all alike.

    Args:
        specs: Data sets, each with its own settings.

    Returns:
        The median of the rounds of each, instance and drawing, in microseconds an image.
    """
    renderers = [Renderer(spec, View(TIMED_SIZE), backend="numba") for spec in specs]
    seconds: dict[str, list[float]] = {renderer.dataset.name: [] for renderer in renderers}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thread CPU time counts one thread
    try:
        for number in range(TIMED_ROUNDS + 1):
            first = number * TIMED_IMAGES
            indices = np.arange(first, first + TIMED_IMAGES, dtype=np.uint64)
            for renderer in renderers:
                started = time.thread_time()
                renderer.draw(renderer.instance(indices))
                if number:  # the first round compiles
                    seconds[renderer.dataset.name].append(time.thread_time() - started)
    finally:
        torch.set_num_threads(threads)
    return Speeds(
        machine=device_name(),
        date=datetime.date.today().isoformat(),
        image_size=TIMED_SIZE,
        us_an_image={
            name: round(1e6 * statistics.median(each) / TIMED_IMAGES, 1)
            for name, each in seconds.items()
        },
    )
