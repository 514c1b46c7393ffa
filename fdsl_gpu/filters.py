"""A picture of what a model's first layer looks for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor, nn

from fdsl_gpu.files import replacing

__all__ = ["draw_filters"]

PICTURE_SIDE: Final = 640
"""Pixels that the picture's side is about; each weight is a square of whole pixels."""

_log: Final = logging.getLogger("fdsl_gpu")


def draw_filters(model: nn.Module, path: Path, *, gray: bool) -> bool:
    """Draw the filters of the first convolution as a PNG: each stretched to its own range.

    Args:
        model: Any model; one without a convolution has no picture, which is logged.
        path: The picture.
        gray: Whether the model sees gray images, whose channels are equal: then only the sum of a
            filter's channels acts, and it is what is drawn. Three channels are colours otherwise.

    Returns:
        Whether there is a picture.

    Raises:
        RuntimeError: It cannot be written.

    Source:
        Kataoka et al., Pre-training without Natural Images, IJCV 2022, shows them as its figure of
        first-layer filters.
    """
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None:
        _log.warning("the model has no convolution: no picture of its filters")
        return False
    sheet = filter_sheet(first.weight.detach().float().cpu(), gray=gray)
    with replacing(path) as partial:
        Image.fromarray(sheet.numpy()).save(partial, "PNG")
    return True


def filter_sheet(weight: Tensor, *, gray: bool) -> Tensor:  # [F, C, h, w] -> [H, W, 3] uint8
    """All filters side by side on white, as square a sheet as can be."""
    count, channels, height, width = weight.shape
    if gray or channels != 3:
        weight = weight.sum(1, keepdim=True).expand(-1, 3, -1, -1)
    low, high = weight.amin((1, 2, 3), keepdim=True), weight.amax((1, 2, 3), keepdim=True)
    pixels = ((weight - low) / (high - low).clamp_min(1e-12) * 255).round().byte()
    columns = int(torch.tensor(count).sqrt().ceil())
    scale = max(1, PICTURE_SIDE // (columns * (width + 1)))
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    gap, rows = max(2, scale // 4), -(-count // columns)
    step_y, step_x = height * scale + gap, width * scale + gap
    sheet = torch.full((rows * step_y + gap, columns * step_x + gap, 3), 255, dtype=torch.uint8)
    for number, tile in enumerate(pixels):
        top, left = gap + number // columns * step_y, gap + number % columns * step_x
        sheet[top : top + height * scale, left : left + width * scale] = tile.permute(1, 2, 0)
    return sheet
