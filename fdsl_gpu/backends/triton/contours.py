"""Contours on a GPU: what the kernels read is packed into one buffer, copied once, drawn in chunks.

A chunk's canvases and vertices fit in the L2 cache, where the lines' maxima are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.triton import (
    check_device,
    interpreted,
    launch_options,
    launching,
    scratch_size,
)
from fdsl_gpu.formulas.contour_drawing import MAX_VERTICES, ContourInstance, unit_circle
from fdsl_gpu.formulas.line_noise import gradients
from fdsl_gpu.kernels import contours as kernels

__all__ = ["draw"]

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


def draw(
    instance: ContourInstance,
    images: Tensor,  # [N, C, H, W]
    masks: Tensor | None = None,  # [N, H, W]
    *,
    scratch: int | None = None,
) -> None:
    """Draw the samples into images on their device, without waiting for it.

    Args:
        instance: The samples.
        images: uint8, C 1 or 3, any strides; wholly overwritten.
        masks: uint8, contiguous, where the formula has a mask; wholly overwritten.
        scratch: Bytes of scratch in flight: how many images are drawn at a time. By default what
            fits the device's L2 cache. It changes no pixel.

    Raises:
        ValueError: The images or masks do not fit the samples.
        RuntimeError: Triton cannot draw on the images' device.
    """
    _check(instance, images, masks)
    check_device(images.device)
    if not len(images):
        return
    num_images, num_contours = instance.category.shape
    # blocks of lines of each contour
    blocks = -(-instance.num_vertices.astype(np.int64) // LINES) * instance.num_orbits
    image_blocks = blocks.sum(1)
    image_bytes = image_blocks * (LINES * 8 + 4)
    planes = 4 if instance.mask in ("M2", "M3") else 1
    image_bytes += 4 * planes * instance.image_size**2
    budget = scratch_size(images.device) if scratch is None else scratch
    chunks = _chunks(image_bytes, budget)
    rows = np.zeros((num_images, num_contours, kernels.ROW.value), np.int32)
    _pack(instance, blocks, chunks, rows)
    pinned = images.is_cuda
    host = torch.empty(rows.shape, dtype=torch.int32, pin_memory=pinned)
    host.numpy()[:] = rows
    # freed pinned memory is given out again only after the copy: nothing needs to wait here
    params = host.to(images.device, non_blocking=True)
    circles, noise = _tables(images.device)
    with launching(images.device):
        for start, stop in chunks:
            _draw_chunk(
                instance,
                params[start:stop],
                circles,
                noise,
                int(image_blocks[start:stop].sum()),
                int(instance.num_vertices[start:stop].max()),
                images[start:stop],
                None if masks is None else masks[start:stop],
            )


def _draw_chunk(
    instance: ContourInstance,
    params: Tensor,  # [N, I, ROW]
    circles: Tensor,
    noise: Tensor,
    num_blocks: int,
    max_vertices: int,
    images: Tensor,
    masks: Tensor | None,
) -> None:
    device, size = images.device, instance.image_size
    count, num_contours, _ = params.shape
    labels, fills = instance.mask == "M1", instance.mask in ("M2", "M3")
    points = torch.empty(num_blocks * LINES, dtype=torch.int64, device=device)
    zeros = torch.zeros(
        num_blocks + (4 if fills else 1) * count * size**2, dtype=torch.int32, device=device
    )
    longest, planes = zeros[:num_blocks], zeros[num_blocks:].view(-1, count * size**2)
    blocks = Blocks.chosen()
    polygon_blocks = -(-max_vertices // LINES)
    one_warp = launch_options(num_warps=1)
    kernels.contour_move_kernel[(count * num_contours, polygon_blocks)](
        params, circles, noise, points, circles.shape[1], **one_warp
    )
    grid = (count * num_contours, blocks.shared_by)
    kernels.contour_measure_kernel[grid](params, points, longest, size, FILLS=fills, **one_warp)
    kernels.contour_lines_kernel[grid](
        params, points, longest, planes[0], num_contours, size, instance.max_gray + 1, **one_warp
    )
    kernels.contour_shade_kernel[(-(-(size**2) // blocks.pixels), count)](
        params,
        planes[0],
        images,
        masks if labels else params,
        num_contours,
        size,
        *images.stride(),
        instance.background,
        CHANNELS=images.shape[1],
        LABELS=labels,
        BLOCK=blocks.pixels,
        **launch_options(num_warps=4),
    )
    if fills:
        kernels.contour_fill_kernel[(count * num_contours, polygon_blocks)](
            params,
            points,
            longest,
            planes[1],
            planes[2:],
            count,
            num_contours,
            size,
            HOLES=instance.mask == "M2",
            **one_warp,
        )
        kernels.contour_mask_kernel[(-(-size // blocks.rows), count)](
            params,
            planes[1],
            planes[2:],
            masks,
            count,
            num_contours,
            size,
            BLOCK=blocks.rows,
            **one_warp,
        )


def _check(instance: ContourInstance, images: Tensor, masks: Tensor | None) -> None:
    size, count = instance.image_size, len(instance.label)
    shapes = [(count, channels, size, size) for channels in (1, 3)]
    if tuple(images.shape) not in shapes or images.dtype != torch.uint8:
        raise ValueError(
            f"images must be uint8 of shape {shapes[0]} or {shapes[1]}, got {images.dtype} of "
            f"{tuple(images.shape)}"
        )
    if instance.mask is None:
        return
    fits = masks is not None and masks.shape == (count, size, size) and masks.is_contiguous()
    if not fits or masks is None or masks.dtype != torch.uint8:
        given = None if masks is None else (masks.dtype, tuple(masks.shape))
        raise ValueError(f"masks must be contiguous uint8 {(count, size, size)}, got {given}")


def _chunks(image_bytes: NDArray[np.int64], budget: int) -> list[tuple[int, int]]:
    """Ranges of images that fit in the budget together; at least one image each."""
    chunks, start, total = [], 0, 0
    for number, size in enumerate(image_bytes.tolist()):
        if number > start and (total + size > budget or number - start == MAX_GRID):
            chunks.append((start, number))
            start, total = number, 0
        total += size
    return [*chunks, (start, len(image_bytes))]


def _pack(
    instance: ContourInstance,
    blocks: NDArray[np.int64],
    chunks: list[tuple[int, int]],
    rows: NDArray[np.int32],
) -> None:
    """Write what the kernels read of each contour into its row, at the offsets that they name."""

    def put(offset: Any, values: NDArray[Any]) -> None:
        bits = np.ascontiguousarray(values).view(np.int32).reshape(*blocks.shape, -1)
        rows[:, :, offset.value : offset.value + bits.shape[2]] = bits

    for start, stop in chunks:
        part = blocks[start:stop]
        first = (np.cumsum(part) - part.ravel()).reshape(part.shape)
        rows[start:stop, :, :2] = first[..., None].view(np.int32)
    put(kernels.NUM_VERTICES, instance.num_vertices)
    put(kernels.NUM_ORBITS, instance.num_orbits)
    put(kernels.FREQUENCY, instance.frequency)
    put(kernels.CIRCLE_AT, _circle_at(instance.num_vertices))
    put(kernels.VALUE, (instance.category + 1).astype(np.int32))
    put(kernels.CENTER, instance.center)
    put(kernels.RADIUS, instance.radius)
    put(kernels.STEP, instance.step)
    put(kernels.AMPLITUDE, instance.amplitude)
    put(kernels.WAVE, np.full(blocks.shape, instance.wave, np.float32))
    put(kernels.KEY, instance.key)


def _circle_at(num_vertices: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the circle of V vertices begins: after those of 3, 4, ... V - 1."""
    return num_vertices * (num_vertices - 1) // 2 - 3


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Circles of every number of vertices, [2, 524,797], and the gradients: 4 MB a device."""
    circles = np.concatenate([unit_circle(size) for size in range(3, MAX_VERTICES + 1)], 1)
    return torch.from_numpy(circles).to(device), torch.from_numpy(gradients()).to(device)
