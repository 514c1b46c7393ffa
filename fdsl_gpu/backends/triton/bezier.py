"""Bézier curves on a GPU: control points copied at once, vertices traced, lines as of contours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
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
from fdsl_gpu.formulas.bezier import MAX_POINTS, BezierInstance, bernstein
from fdsl_gpu.kernels import bezier as kernels
from fdsl_gpu.kernels import contours as lines

__all__ = ["draw"]


def draw(
    instance: BezierInstance,
    images: Tensor,  # [N, C, H, W]
    *,
    scratch: int | None = None,
) -> None:
    """Draw the samples into images on their device, without waiting for it.

    Args:
        instance: The samples.
        images: uint8, C 1 or 3, any strides; wholly overwritten.
        scratch: Bytes of scratch in flight: how many images are drawn at a time. By default what
            fits the device's L2 cache. It changes no pixel.

    Raises:
        ValueError: The images do not fit the samples.
        RuntimeError: Triton cannot draw on the images' device.
    """
    size, count, device = instance.image_size, len(instance.label), images.device
    check_images(images, count, size)
    check_device(device)
    if not count:
        return
    num_strokes = instance.num_curves * instance.num_strokes
    blocks = -(-instance.num_vertices // LINES) * num_strokes.astype(np.int64)
    budget = scratch_size(device) if scratch is None else scratch
    chunks = in_chunks(blocks * (LINES * 8 + 4) + 4 * size**2, budget)
    rows = _rows(instance)
    put_blocks(rows, blocks[:, None], chunks)
    # one copy brings both; freed pinned memory is given out again only after it: no need to wait
    controls = instance.points.view(np.int32).reshape(count, -1)
    host = torch.empty(rows.size + controls.size, dtype=torch.int32, pin_memory=images.is_cuda)
    host.numpy()[: rows.size] = rows.ravel()
    host.numpy()[rows.size :] = controls.ravel()
    packed = host.to(device, non_blocking=True)
    params = packed[: rows.size].view(rows.shape)
    places = packed[rows.size :].view(torch.float32).view(instance.points.shape)
    shares = _shares(instance.num_vertices, device)
    with launching(device):
        for start, stop in chunks:
            part, total = params[start:stop], int(blocks[start:stop].sum())
            points = torch.empty(total * LINES, dtype=torch.int64, device=device)
            zeros = torch.zeros(total + (stop - start) * size**2, dtype=torch.int32, device=device)
            longest, canvas = zeros[:total], zeros[total:]
            kernels.bezier_trace_kernel[(stop - start, Blocks.chosen().shared_by)](
                part,
                places[start:stop],
                shares,
                points,
                *instance.points.shape[1:3],
                instance.num_strokes,
                **launch_options(num_warps=1),
            )
            draw_lines(
                part,
                points,
                longest,
                canvas,
                image_size=size,
                num_grays=instance.max_gray + 1,
            )
            shade(part, canvas, images[start:stop], instance.background)


def _rows(instance: BezierInstance) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """What the kernels read of each image, [N, 1, ROW], but where its blocks begin."""
    shape = len(instance.label), 1
    rows = np.zeros((*shape, lines.ROW.value), np.int32)
    num_points = instance.num_points
    put(rows, lines.NUM_VERTICES, np.full(shape, instance.num_vertices, np.int32))
    put(rows, lines.NUM_ORBITS, instance.num_curves * np.int32(instance.num_strokes))
    put(rows, lines.KEY, instance.key)
    # a stroke is open: the last of its lines is one pixel
    put(rows, lines.AFTER_LAST, np.full(shape, instance.num_vertices - 1, np.int32))
    put(rows, kernels.NUM_POINTS, num_points)
    # after the shares of 2, 3, ... points
    put(rows, kernels.SHARES_AT, num_points * (num_points - 1) // 2 - 1)
    put(rows, kernels.JITTER, np.full(shape, instance.stroke_jitter, np.float32))
    return rows


@lru_cache(maxsize=8)
def _shares(num_vertices: int, device: torch.device) -> Tensor:
    """Shares of every number of control points, [527, V]: 2 MB at most."""
    sizes = range(2, MAX_POINTS + 1)
    return torch.from_numpy(np.concatenate([bernstein(size, num_vertices) for size in sizes])).to(
        device
    )
