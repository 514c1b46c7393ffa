"""What drawing is compared with: other ways to get the same kind of image, written well.

Each takes as long as it needs and nothing more: no baseline is slowed down by this package's rules
(shared words, fixed order, exact bits). `sequential` and `batched` draw an instance's system in its
own frame, found by a first pass as the published renderers do. `walks_alone` is a part of our own.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.numba import ifs as numba_ifs
from fdsl_gpu.backends.numba.canvas import layout, scratch, shading
from fdsl_gpu.backends.numba.walking import begin, systems_of
from fdsl_gpu.formulas.ifs import GRAY, IfsInstance
from fdsl_gpu.formulas.ifs_table import pad_size

__all__ = ["batched", "decode", "encode", "replay_stores", "sequential", "walks_alone"]

Float64 = NDArray[np.float64]
compiled: Final = numba.njit(nogil=True, cache=True, error_model="numpy")


def sequential(maps: Float64, probs: Float64, size: int, num_points: int) -> NDArray[np.uint8]:
    """One walk: a pass for the box that keeps the points, then a 3x3 patch for each, in order.

    Args:
        maps: [M, 6].
        probs: [M].
        size: Side of the image.
        num_points: Points.

    Returns:
        Gray image [H, W].
    """
    image = np.zeros((size, size), np.uint8)
    points = np.empty((num_points, 2))
    _walk_and_paste(maps, np.cumsum(probs), pad_size(size), points, image)
    return image


@compiled
def _walk_and_paste(maps, cumulative, pad, points, image):  # type: ignore[no-untyped-def]
    size = image.shape[0]
    x, y = 0.0, 0.0
    low_x, high_x, low_y, high_y = 0.0, 0.0, 0.0, 0.0
    for i in range(len(points)):
        uniform = np.random.random()
        k = 0
        while k < len(maps) - 1 and uniform > cumulative[k]:
            k += 1
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 4],
            maps[k, 2] * x + maps[k, 3] * y + maps[k, 5],
        )
        points[i, 0], points[i, 1] = x, y
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
    scale_x = (size - 2 * pad) / (high_x - low_x)
    scale_y = (size - 2 * pad) / (high_y - low_y)
    for i in range(len(points)):
        column = int((points[i, 0] - low_x) * scale_x) + pad + 1
        row = int((points[i, 1] - low_y) * scale_y) + pad + 1
        mask = np.random.randint(1, 512)
        if 0 <= column < size - 2 and 0 <= row < size - 2:
            for down in range(3):
                for right in range(3):
                    lit = (mask >> (8 - 3 * down - right)) & 1
                    image[row + down, column + right] = GRAY * lit


def batched(maps: Tensor, probs: Tensor, size: int, num_points: int, num_walks: int) -> Tensor:
    """The same in batched torch operations: thousands of walks of several images step together.

    Args:
        maps: [N, M, 6] float32, padded maps with probability 0.
        probs: [N, M].
        size: Side of the images.
        num_points: Points an image.
        num_walks: Walks an image.

    Returns:
        Gray images uint8 [N, H, W].
    """
    count, steps = len(maps), -(-num_points // num_walks)
    choices = torch.multinomial(probs, steps * num_walks, replacement=True)
    choices = choices.view(count, steps, num_walks)
    x = torch.zeros(count, num_walks)
    y = torch.zeros(count, num_walks)
    points = torch.empty(2, count, steps, num_walks)
    for step in range(steps):
        rows = choices[:, step, :, None].expand(-1, -1, 6)
        a, b, c, d, e, f = torch.gather(maps, 1, rows).unbind(2)
        x, y = a * x + b * y + e, c * x + d * y + f
        points[0, :, step], points[1, :, step] = x, y
    flat = points.flatten(2)  # [2, N, T]
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    pad = pad_size(size)
    pixels = ((flat - low) / (high - low) * (size - 2 * pad) + pad).nan_to_num(0).long()
    pixels = pixels.clamp_(0, size - 4)
    masks = torch.randint(1, 512, pixels.shape[1:])
    images = torch.zeros(count, size * size, dtype=torch.uint8)
    for cell in range(9):
        places = (pixels[1] + 1 + cell // 3) * size + pixels[0] + 1 + cell % 3
        images.scatter_(1, places, (GRAY * (masks >> (8 - cell) & 1)).to(torch.uint8))
    return images.view(count, size, size)


def encode(image: NDArray[np.uint8]) -> bytes:
    """An image [C, H, W] stored as an RGB PNG, as published."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "PNG")
    return file.getvalue()


def decode(stored: bytes) -> NDArray[np.uint8]:
    """A stored PNG as an array [H, W, 3]: what a data loader does for each stored image."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))


@compiled  # type: ignore[untyped-decorator]
def replay_stores(places: Any, canvas: Any) -> None:
    """The floor of any drawing of points: one int32 store for each, nothing else."""
    for i in range(len(places)):
        canvas[places[i]] = i


def walks_alone(instance: IfsInstance) -> None:
    """Our own walks, their points kept in memory, and nothing painted."""
    sizes, shades = layout(instance), shading(instance)
    arrays = scratch(sizes, shades, 2)
    _walk(systems_of(instance), sizes, arrays, np.uint64(instance.seed), len(instance.label))


@compiled
def _walk(who, sizes, arrays, seed, count):  # type: ignore[no-untyped-def]
    xs, ys = arrays.state[0], arrays.state[1]
    for i in range(count):
        system = who.num_maps[i], who.maps[i], who.thresholds[i], seed, who.walk_index[i]
        begin(arrays.state, who.start[i])
        for run in sizes.runs:
            first, last, keep = run[0], run[1], run[4] != 0
            numba_ifs.walk_any(system, first, last, xs, ys, sizes.size, keep, arrays.points)
