"""See a data set: a sheet of samples, categories as rows and instances as columns. Or see all."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fdsl_gpu.backends import Backend
from fdsl_gpu.datasets import DatasetSpec, get_dataset, list_datasets
from fdsl_gpu.files import make_folder, replacing
from fdsl_gpu.formulas.base import View
from fdsl_gpu.render import Renderer, Split

__all__ = ["PreviewConfig", "draw_categories", "draw_sheet", "find_samples", "preview"]

ALL: Final = "all"
"""In place of a data set's name: every one of them. A folder of this name is ./all."""
MAX_SHEET_SIDE: Final = 16_384
"""Pixels: many viewers refuse more, and more is a slip rather than a wish."""
MAX_SEARCH: Final = 64
"""A category that has not turned up after so many times its share of the samples never will."""
Rows = tuple[Tensor, list[str], str]
"""Images [R, I, 3, H, W] on the CPU, what each row shows, and what all show."""
CHUNK: Final = 16_384
"""Indices whose labels are looked up at once: some 10 MB of instances."""


@dataclass(frozen=True)
class PreviewConfig:
    """Draw a sheet of samples: categories as rows, instances as columns. Or of all data sets."""

    dataset: tyro.conf.Positional[str]
    """Name of a data set, or a folder of category files; all for a row of every data set."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("preview.png")
    """Picture to write."""
    rows: int = 6
    """Categories to show, spread evenly over all of them. A sheet of all data sets has its own."""
    columns: int = 8
    """Instances of each category; of all data sets, categories of each."""
    categories: tuple[int, ...] = ()
    """Show these categories instead of an even spread."""
    image_size: int = 128
    """Side of each image in pixels."""
    seed: int = 0
    """Seed of everything random."""
    split: Split = "train"
    """Samples of training, or those of validation."""
    device: str = "cpu"
    """Where the images are drawn: cpu or cuda."""
    backend: Backend = "auto"
    """Who draws; auto is the fastest that the device has."""
    dataset_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Settings of its formula to change, as NAME VALUE pairs: num_points 50000."""


def preview(config: PreviewConfig) -> Path:
    """Draw the sheet and write it as a PNG.

    Where the target is not a class there are no categories to choose: the first samples are shown.
    Where it is a mask, a row of images is over the row of their masks, a colour a category and
    black for the background.

    With "all" in place of a name, every data set has a row: one image of each of a few categories.

    Returns:
        The picture's path. It is whole or absent, and an old one stays until the new one is whole.

    Raises:
        ValueError: The data set, a setting or a category is unknown, or a number is out of range.
        RuntimeError: The backend is not available here, or the picture cannot be written.
    """
    for name, count in (("rows", config.rows), ("columns", config.columns)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    rows_of = _rows_of_all if config.dataset == ALL else _rows_of_one
    images, row_names, title = rows_of(config)
    sheet = draw_sheet(
        images,
        row_names=row_names,
        title=f"{title}, {config.image_size} pixels, seed {config.seed}, {config.split}",
    )
    with replacing(config.output) as partial:
        sheet.save(partial, "PNG")
    return config.output


def _rows_of_one(config: PreviewConfig) -> Rows:
    """A row a category, or rows of the first samples."""
    dataset = get_dataset(config.dataset).replace(**config.dataset_settings)
    has_masks = dataset.target == "mask"
    # masks have a class for the background
    title = f"{dataset.name}   {dataset.num_classes - has_masks:,} categories"
    categories = _categories(config, dataset)
    _check_sheet(config, len(categories) or config.rows * (1 + has_masks))
    renderer = _renderer(config, dataset)
    make_folder(config.output.parent)
    if has_masks:
        images = _images_and_masks(renderer, config.rows, config.columns)
        return images, ["image", "mask"] * config.rows, title
    if categories:
        samples = find_samples(renderer, categories, config.columns)
        digits = len(str(dataset.num_classes - 1))
        names = [f"{category:0{digits}}" for category in categories]
    else:
        first = np.arange(config.rows * config.columns, dtype=np.uint64)
        samples = first.reshape(config.rows, config.columns)
        names = [f"from {index}" for index in samples[:, 0]]
    return _drawn(renderer, samples), names, title


def _rows_of_all(config: PreviewConfig) -> Rows:
    """A row a data set, and one of its masks."""
    if config.categories or config.dataset_settings:
        raise ValueError(
            "categories and dataset_settings are those of one data set, and a sheet of all shows "
            "every one as it is: leave them out, or name a data set"
        )
    specs = [get_dataset(name) for name in list_datasets()]
    _check_sheet(config, sum(1 + (spec.target == "mask") for spec in specs))
    make_folder(config.output.parent)
    rows, names = [], []
    for spec in specs:
        rows.append(draw_categories(_renderer(config, spec), config.columns))
        names += [spec.name, f"{spec.name} masks"][: len(rows[-1])]
    return torch.cat(rows), names, f"{len(specs)} data sets, a category a column"


def draw_categories(renderer: Renderer, count: int) -> Tensor:  # [1 or 2, count, 3, H, W]
    """A sample of each of some categories, or the first ones; and a row of their masks.

    Args:
        renderer: Draws the data set.
        count: Samples; their categories are spread evenly over all.

    Returns:
        A row of images, uint8 on the CPU; where the target is a mask, a second row of masks in
        colours.

    Example:
        >>> draw_categories(Renderer(get_dataset("perlin-100"), View(32)), 4).shape
        torch.Size([1, 4, 3, 32, 32])
    """
    dataset = renderer.dataset
    if dataset.target == "mask":
        return _images_and_masks(renderer, 1, count)
    samples = np.arange(count, dtype=np.uint64)
    if dataset.target == "class":
        # fewer categories than samples are shown again, by other samples
        total = dataset.num_classes
        categories = _spread(min(count, total), total)
        times = -(-count // total)
        samples = find_samples(renderer, categories, times).T.ravel()[:count]
    return _drawn(renderer, samples[None])


def _renderer(config: PreviewConfig, dataset: DatasetSpec) -> Renderer:
    return Renderer(
        dataset,
        View(config.image_size),
        seed=config.seed,
        split=config.split,
        device=torch.device(config.device),
        backend=config.backend,
    )


def _drawn(renderer: Renderer, samples: NDArray[np.uint64]) -> Tensor:  # [R, I, 3, H, W]
    images, _ = renderer.draw(renderer.instance(samples.ravel()))
    return images.reshape(*samples.shape, *images.shape[1:]).cpu()


def _spread(count: int, total: int) -> list[int]:
    """Categories at even distances, from the first on."""
    return [number * total // count for number in range(count)]


def find_samples(
    renderer: Renderer,
    categories: Sequence[int],  # [R]
    num_instances: int,
) -> NDArray[np.uint64]:  # [R, num_instances]
    """The first samples of each category, in the order of the stream.

    Labels are looked up and nothing is drawn: some milliseconds for 1,000 balanced categories.

    Args:
        renderer: Draws the data set; its seed and split decide which samples these are.
        categories: Labels in [0, K).
        num_instances: Samples wanted of each.

    Returns:
        Indices of the samples, to be drawn by the same renderer.

    Raises:
        ValueError: The data set's target is not a class.
        RuntimeError: A category does not turn up.

    Example:
        >>> renderer = Renderer(get_dataset("fractaldb-1k"), View(32))
        >>> samples = find_samples(renderer, [7, 700], 2)
        >>> renderer.instance(samples.ravel()).label
        array([  7,   7, 700, 700])
    """
    dataset = renderer.dataset
    if dataset.target != "class":
        raise ValueError(
            f"a sheet has one category a row, and the samples of {dataset.name!r} have a "
            f"{dataset.target} target; draw them with fdsl_gpu.render"
        )
    wanted = np.asarray(categories, np.int64)[:, None]  # [R, 1]
    limit = MAX_SEARCH * num_instances * dataset.num_classes
    found: list[NDArray[np.uint64]] = [np.empty(0, np.uint64) for _ in categories]
    for first in range(0, limit, CHUNK):
        indices = np.arange(first, min(first + CHUNK, limit), dtype=np.uint64)
        shown = renderer.instance(indices).label == wanted  # [R, chunk]
        found = [
            np.concatenate([have, indices[row]])[:num_instances]
            for have, row in zip(found, shown, strict=True)
        ]
        if all(len(have) == num_instances for have in found):
            return np.stack(found)
    missing = [
        category
        for category, have in zip(categories, found, strict=True)
        if len(have) < num_instances
    ]
    raise RuntimeError(
        f"the first {limit:,} samples of {dataset.name!r} do not show the categories {missing} "
        f"{num_instances} times; choose other categories"
    )


def _images_and_masks(
    renderer: Renderer, rows: int, columns: int
) -> Tensor:  # [2 rows, columns, 3, H, W]
    """The first samples: a row of images, the row of their masks, and so on."""
    images, masks = renderer.draw(renderer.instance(np.arange(rows * columns, dtype=np.uint64)))
    # hues a golden section of a turn apart: neighbouring categories differ
    hues = (np.arange(1, renderer.dataset.num_classes) * 0.618) % 1
    colors = [(0.0, 0.0, 0.0), *(colorsys.hsv_to_rgb(hue, 0.7, 1) for hue in hues.tolist())]
    table = (255 * torch.tensor(colors, device=masks.device)).to(torch.uint8)
    colored = table[masks].permute(0, 3, 1, 2)
    both = torch.stack([each.view(rows, columns, *each.shape[1:]) for each in (images, colored)], 1)
    return both.flatten(0, 1).cpu()


def draw_sheet(
    images: Tensor,  # [R, I, 3, H, W] uint8
    *,
    row_names: Sequence[str],
    title: str,
) -> Image.Image:
    """Lay images out on one sheet: a title, and a name before each row.

    Args:
        images: R rows of I images, uint8 in [0, 255], on the CPU.
        row_names: What each row shows, R of them.
        title: One line above.

    Returns:
        A picture in RGB, dark on white around the images.

    Example:
        >>> images = torch.zeros(2, 4, 3, 64, 64, dtype=torch.uint8)
        >>> draw_sheet(images, row_names=["0", "1"], title="black").mode
        'RGB'
    """
    num_rows, num_columns, _, height, width = images.shape
    gap = max(2, width // 32)
    font_size = min(max(10, width // 7), 28)
    font = ImageFont.load_default(font_size)
    margin = 2 * gap
    left = margin + max(int(font.getlength(name)) for name in row_names) + 2 * gap
    top = margin + 2 * font_size
    sheet_width = left + num_columns * (width + gap) - gap + margin
    # a narrow grid below a long title: the sheet grows rather than cut it
    sheet_width = max(sheet_width, left + int(font.getlength(title)) + margin)
    sheet_height = top + num_rows * (height + gap) - gap + margin
    sheet = Image.new("RGB", (sheet_width, sheet_height), "white")
    write = ImageDraw.Draw(sheet)
    write.text((left, margin), title, fill="black", font=font)
    for row, name in enumerate(row_names):
        upper = top + row * (height + gap)
        middle = upper + height // 2
        write.text((left - 2 * gap, middle), name, fill="black", font=font, anchor="rm")
        for column in range(num_columns):
            tile: NDArray[Any] = images[row, column].permute(1, 2, 0).numpy()
            sheet.paste(Image.fromarray(tile), (left + column * (width + gap), upper))
    return sheet


def _categories(config: PreviewConfig, dataset: DatasetSpec) -> list[int]:
    """The categories asked for, or an even spread; none where the target is not a class."""
    total = dataset.num_classes
    if dataset.target != "class":
        if config.categories:
            raise ValueError(
                f"categories cannot be chosen where every image shows many: the samples of "
                f"{dataset.name!r} have a {dataset.target} target; leave categories out"
            )
        return []
    if not config.categories:
        return _spread(min(config.rows, total), total)
    for category in config.categories:
        if not 0 <= category < total:
            raise ValueError(
                f"categories of {dataset.name!r} must be in [0, {total}), got {category}"
            )
    return list(config.categories)


def _check_sheet(config: PreviewConfig, num_rows: int) -> None:
    """Refuse a sheet that no viewer opens, before anything is drawn."""
    for side, count in (("wide", config.columns), ("high", num_rows)):
        if count * config.image_size > MAX_SHEET_SIDE:
            raise ValueError(
                f"a sheet may be {MAX_SHEET_SIDE} pixels {side}, got {count} images of "
                f"{config.image_size} pixels; ask for fewer or smaller images"
            )
