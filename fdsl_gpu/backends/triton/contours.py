"""Contours on a GPU: what kernels read is packed into one buffer, copied once, drawn in chunks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.triton import check_device, launch_options, launching, scratch_size
from fdsl_gpu.backends.triton.lines import (
    LINES,
    Blocks,
    check_images,
    draw_lines,
    in_chunks,
    put,
    put_blocks,
    shade,
)
from fdsl_gpu.formulas.contour_drawing import MAX_VERTICES, ContourInstance, unit_circle
from fdsl_gpu.formulas.line_noise import gradients
from fdsl_gpu.kernels import contour_masks as masks_kernels
from fdsl_gpu.kernels import contours as kernels

__all__ = ["draw"]


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
    chunks = in_chunks(image_bytes, budget)
    rows = np.zeros((num_images, num_contours, kernels.ROW.value), np.int32)
    put_blocks(rows, blocks, chunks)
    _pack(instance, rows)
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
    polygon_blocks = -(-max_vertices // LINES)
    one_warp = launch_options(num_warps=1)
    kernels.contour_move_kernel[(count * num_contours, polygon_blocks)](
        params,
        circles,
        noise,
        points,
        circles.shape[1],
        VIEWED=instance.affine is not None,
        **one_warp,
    )
    draw_lines(
        params,
        points,
        longest,
        planes[0],
        image_size=size,
        num_grays=instance.max_gray + 1,
        fills=fills,
    )
    shade(params, planes[0], images, instance.background, masks if labels else None)
    if fills:
        masks_kernels.contour_fill_kernel[(count * num_contours, polygon_blocks)](
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
        rows = Blocks.chosen().rows
        masks_kernels.contour_mask_kernel[(-(-size // rows), count)](
            params,
            planes[1],
            planes[2:],
            masks,
            count,
            num_contours,
            size,
            BLOCK=rows,
            **one_warp,
        )


def _check(instance: ContourInstance, images: Tensor, masks: Tensor | None) -> None:
    size, count = instance.image_size, len(instance.label)
    check_images(images, count, size)
    if instance.mask is None:
        return
    fits = masks is not None and masks.shape == (count, size, size) and masks.is_contiguous()
    if not fits or masks is None or masks.dtype != torch.uint8:
        given = None if masks is None else (masks.dtype, tuple(masks.shape))
        raise ValueError(f"masks must be contiguous uint8 {(count, size, size)}, got {given}")


def _pack(instance: ContourInstance, rows: NDArray[np.int32]) -> None:
    """Write what the kernels read of each contour into its row, at the offsets that they name."""
    put(rows, kernels.NUM_VERTICES, instance.num_vertices)
    put(rows, kernels.NUM_ORBITS, instance.num_orbits)
    put(rows, kernels.FREQUENCY, instance.frequency)
    put(rows, kernels.CIRCLE_AT, _circle_at(instance.num_vertices))
    put(rows, kernels.VALUE, (instance.category + 1).astype(np.int32))
    put(rows, kernels.CENTER, instance.center)
    put(rows, kernels.RADIUS, instance.radius)
    put(rows, kernels.STEP, instance.step)
    put(rows, kernels.AMPLITUDE, instance.amplitude)
    put(rows, kernels.WAVE, np.full(rows.shape[:2], instance.wave, np.float32))
    put(rows, kernels.KEY, instance.key)
    # all contours of an image are seen alike
    for offset, values in ((kernels.AFFINE, instance.affine), (kernels.TURN, instance.turn)):
        if values is not None:
            put(rows, offset, np.broadcast_to(values[:, None], (*rows.shape[:2], 6)))


def _circle_at(num_vertices: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the circle of V vertices begins: after those of 3, 4, ... V - 1."""
    return num_vertices * (num_vertices - 1) // 2 - 3


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Circles of every number of vertices, [2, 524,797], and the gradients: 4 MB a device."""
    circles = np.concatenate([unit_circle(size) for size in range(3, MAX_VERTICES + 1)], 1)
    return torch.from_numpy(circles).to(device), torch.from_numpy(gradients()).to(device)
