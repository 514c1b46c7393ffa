"""Lines of contours and of curves on a GPU: their rows of parameters, their pixels, their grays.

A chunk's canvases and vertices fit in the L2 cache, where the lines' maxima are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.triton import interpreted, launch_options
from fdsl_gpu.kernels import contours as kernels

__all__ = [
    "LINES",
    "Blocks",
    "check_images",
    "draw_lines",
    "in_chunks",
    "put",
    "put_blocks",
    "shade",
]

MAX_GRID: Final = 65535
"""Largest second extent of a grid."""
LINES: Final[int] = kernels.LINES.value


@dataclass(frozen=True)
class Blocks:
    """How the work is cut into programs; it changes no pixel.

    Args:
        shared_by: Programs that share the lines of a contour: few images still reach many
            multiprocessors.
        pixels: Pixels that a program shades.
        rows: Rows that a program fills.
    """

    shared_by: int = 64
    pixels: int = 512
    rows: int = 32

    @classmethod
    def chosen(cls) -> Blocks:
        """Few programs for the interpreter, which takes as long for an idle one."""
        return cls(1, 2**14, 256) if interpreted() else cls()


def check_images(images: Tensor, count: int, size: int) -> None:
    """Refuse images that these samples cannot be drawn into.

    Raises:
        ValueError: They are not uint8 [count, 1 or 3, size, size].
    """
    shapes = [(count, channels, size, size) for channels in (1, 3)]
    if tuple(images.shape) not in shapes or images.dtype != torch.uint8:
        raise ValueError(
            f"images must be uint8 of shape {shapes[0]} or {shapes[1]}, got {images.dtype} of "
            f"{tuple(images.shape)}"
        )


def in_chunks(image_bytes: NDArray[np.int64], budget: int) -> list[tuple[int, int]]:
    """Ranges of images that fit in the budget together; at least one image each."""
    chunks, start, total = [], 0, 0
    for number, size in enumerate(image_bytes.tolist()):
        if number > start and (total + size > budget or number - start == MAX_GRID):
            chunks.append((start, number))
            start, total = number, 0
        total += size
    return [*chunks, (start, len(image_bytes))]


def put(rows: NDArray[np.int32], offset: Any, values: NDArray[Any]) -> None:
    """Write values [N, I] or [N, I, V] of 32 bits into rows [N, I, ROW], where a kernel reads."""
    bits = np.ascontiguousarray(values).view(np.int32).reshape(*rows.shape[:2], -1)
    rows[:, :, offset.value : offset.value + bits.shape[2]] = bits


def put_blocks(
    rows: NDArray[np.int32], blocks: NDArray[np.int64], chunks: list[tuple[int, int]]
) -> None:
    """Write where each contour's blocks [N, I] begin among those of its chunk."""
    for start, stop in chunks:
        part = blocks[start:stop]
        first = (np.cumsum(part) - part.ravel()).reshape(part.shape)
        rows[start:stop, :, :2] = first[..., None].view(np.int32)


def draw_lines(
    params: Tensor,  # [N, I, ROW]
    points: Tensor,
    longest: Tensor,
    canvas: Tensor,
    *,
    image_size: int,
    num_grays: int,
    fills: bool = False,
) -> None:
    """Lines from vertex to vertex: the largest key of each pixel of the canvas."""
    count, num_contours, _ = params.shape
    grid = (count * num_contours, Blocks.chosen().shared_by)
    one_warp = launch_options(num_warps=1)
    kernels.contour_measure_kernel[grid](
        params, points, longest, image_size, FILLS=fills, **one_warp
    )
    kernels.contour_lines_kernel[grid](
        params, points, longest, canvas, num_contours, image_size, num_grays, **one_warp
    )


def shade(
    params: Tensor,  # [N, I, ROW]
    canvas: Tensor,
    images: Tensor,
    background: int,
    labels: Tensor | None = None,
) -> None:
    """Grays of a canvas in images, and its contours' values in labels."""
    count, num_contours, _ = params.shape
    size, block = images.shape[-1], Blocks.chosen().pixels
    kernels.contour_shade_kernel[(-(-(size**2) // block), count)](
        params,
        canvas,
        images,
        params if labels is None else labels,
        num_contours,
        size,
        *images.stride(),
        background,
        CHANNELS=images.shape[1],
        LABELS=labels is not None,
        BLOCK=block,
        **launch_options(num_warps=4),
    )
