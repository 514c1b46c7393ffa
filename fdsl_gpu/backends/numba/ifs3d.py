"""3D IFS on a CPU: the walks and points of `backends.numba.ifs` with maps of space.

Definition: `fdsl_gpu.formulas.ifs3d`; the same pixels. Canvas, keys and resolving are the 2D ones.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import float32, int32, uint32
from numba.extending import overload
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.ifs import (
    bits,
    chosen,
    column,
    compiled,
    philox,
    resolve,
    scratch,
    shading,
)
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.camera import FAR, NEAR
from fdsl_gpu.formulas.ifs3d import Ifs3dInstance

__all__ = ["draw"]

# positive floats order as their bits do
_NEAR_BITS: Final = np.float32(NEAR).view(np.uint32)
_DEPTH_BITS: Final = np.float32(FAR).view(np.uint32) - _NEAR_BITS


def draw(instance: Ifs3dInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3."""

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        draw_part(
            instance.num_maps[part],
            (
                instance.maps[part],
                instance.thresholds[part],
                instance.start[part],
                instance.offset[part],
                instance.walk_index[part],
            ),
            (instance.patch_key[part], instance.orientation[part], instance.corner[part]),
            np.uint64(instance.seed),
            (instance.canvas_size, instance.num_steps, instance.burn_in),
            instance.num_walks,
            shading(instance),
            scratch(instance.canvas_size),
            images[part],
        )

    share_out(work, len(images))


@compiled
def row_of(x, y, z, word, thresholds, a, b, c, d):
    """One coordinate of one step of one walk: a x + b y + c z + d."""
    plane = chosen(word, thresholds, a) * x + chosen(word, thresholds, b) * y
    return (plane + chosen(word, thresholds, c) * z) + chosen(word, thresholds, d)


@compiled
def walk(rows, system, length, buffers):
    """All walks of one sample onto a canvas; len(rows) is the number of maps."""
    maps, threshold_row, start, offset, seed, index = system
    size, num_steps, burn_in = length
    x, y, z, at, canvas = buffers
    a, b, c = column(maps, 0, rows), column(maps, 1, rows), column(maps, 2, rows)
    d, e, f = column(maps, 3, rows), column(maps, 4, rows), column(maps, 5, rows)
    g, h, i = column(maps, 6, rows), column(maps, 7, rows), column(maps, 8, rows)
    j, k, m = column(maps, 9, rows), column(maps, 10, rows), column(maps, 11, rows)
    thresholds = column(threshold_row, 0, rows[1:])
    limit, pitch = bits(float32(size)), uint32(size + 3)
    outside = uint32(uint32(size) * pitch)
    right, down = offset[0], offset[1]
    num_walks = len(x)
    x[:] = start[0]
    y[:] = start[1]
    z[:] = start[2]
    key = uint32(16)
    for pair in range((burn_in + num_steps + 1) // 2):
        words = philox(seed, index, pair, 2)
        for half in range(2):
            time = 2 * pair + half
            if time >= burn_in + num_steps:
                break
            factor, shift = uint32(words[2 * half] | uint32(1)), words[2 * half + 1]
            for w in range(num_walks):
                word = uint32(uint32(uint32(w) * factor) + shift)
                px, py, pz = x[w], y[w], z[w]
                x[w] = row_of(px, py, pz, word, thresholds, a, b, c, j)
                y[w] = row_of(px, py, pz, word, thresholds, d, e, f, k)
                z[w] = row_of(px, py, pz, word, thresholds, g, h, i, m)
            if time < burn_in:
                continue
            for w in range(num_walks):
                inverse = float32(1) / z[w]
                u, v = x[w] * inverse + right, y[w] * inverse + down
                # an offset above zero leaves no negative zero; false for NaN
                inside = (bits(u) < limit) & (bits(v) < limit)
                seen = uint32(bits(z[w]) - uint32(_NEAR_BITS)) <= uint32(_DEPTH_BITS)
                pixel = uint32(uint32(uint32(int32(v)) * pitch) + uint32(int32(u)))
                at[w] = pixel if inside & seen else outside
            for w in range(num_walks):
                canvas[at[w]] = uint32(key + uint32(uint32(w) * uint32(16)))
            key = uint32(key + uint32(num_walks * 16))
    canvas[outside] = uint32(0)


def walk_as(num_maps: Any, rows: Any, system: Any, length: Any, buffers: Any) -> None:
    """`walk`, compiled for each number of maps: len(rows) counts down to it."""


@overload(walk_as)
def _walk_as(num_maps, rows, system, length, buffers):
    if len(rows) == 2:
        return lambda num_maps, rows, system, length, buffers: walk(rows, system, length, buffers)

    def count_down(num_maps, rows, system, length, buffers):
        if len(rows) == num_maps:
            walk(rows, system, length, buffers)
        else:
            walk_as(num_maps, rows[:-1], system, length, buffers)

    return count_down


@compiled
def draw_part(num_maps, systems, places, seed, length, num_walks, shading, canvas, images):
    """Draw some images on one thread."""
    maps, thresholds, start, offset, walk_index = systems
    patch_key, orientation, corner = places
    size = length[0]
    x, y = np.empty(num_walks, np.float32), np.empty(num_walks, np.float32)
    z, at = np.empty(num_walks, np.float32), np.empty(num_walks, np.uint32)
    origin = 3 * (size + 3) + 3
    for i in range(len(images)):
        walk_as(
            num_maps[i],
            (1, 1, 1, 1, 1, 1, 1, 1),
            (maps[i], thresholds[i].reshape(-1, 1), start[i], offset[i], seed, walk_index[i]),
            length,
            (x, y, z, at, canvas[origin:]),
        )
        key0, key1 = patch_key[i]
        resolve(canvas, size, shading, key0, key1, orientation[i], corner[i], images[i])
