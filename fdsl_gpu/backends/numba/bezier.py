"""Bézier curves on a CPU: control points moved, vertices summed up in vector loops, lines stored.

Definition: `fdsl_gpu.formulas.bezier`; the same operations in the same order, so the same pixels.
Lines and canvas are those of `fdsl_gpu.backends.numba.contours`.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import float32, int32, int64, uint16, uint32, uint64
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.contours import mix, outline, shade
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.bezier import MAX_POINTS, BezierInstance, bernstein

__all__ = ["draw"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


def draw(instance: BezierInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3."""
    if not len(images):
        return
    sizes, which = np.unique(instance.num_points, return_inverse=True)
    shares = np.concatenate([bernstein(int(size), instance.num_vertices) for size in sizes])
    shares_at = (np.cumsum(sizes) - sizes)[which]

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        draw_part(
            instance.num_points[part],
            instance.num_curves[part],
            instance.points[part],
            instance.key[part],
            shares_at[part],
            shares,
            instance.stroke_jitter,
            instance.num_strokes,
            instance.max_gray,
            instance.background,
            images[part],
        )

    share_out(work, len(images))


@compiled
def trace(points, jitter, first_word, keys, shares, axis, places, pixels):
    """One coordinate of the vertices of a stroke, and of the last of them once more."""
    count = shares.shape[1]
    places[:] = float32(0)
    for point in range(len(shares)):
        word = mix(uint32(first_word + uint32(2 * point + axis)), keys[0], keys[1])
        moved = float32(int32(word >> uint32(8))) * float32(2.0**-23) - float32(1)
        place = points[point, axis] + jitter * moved
        share = shares[point]
        for v in range(count):
            places[v] = places[v] + place * share[v]
    for v in range(count):
        pixels[v] = int32(places[v])
    # the line's last pixel is a line of its own
    pixels[count] = pixels[count - 1]


@compiled
def draw_part(
    num_points,
    num_curves,
    points,
    key,
    shares_at,
    shares,
    jitter,
    num_strokes,
    max_gray,
    background,
    images,
):
    """Draw some images on one thread."""
    size, count = images.shape[2], shares.shape[1]
    canvas = np.zeros(size * size, np.uint16)
    places = np.empty(count, np.float32)
    column, row = np.empty(count + 1, np.int32), np.empty(count + 1, np.int32)
    room = np.empty((6, count), np.int32)
    for i in range(len(images)):
        own = shares[shares_at[i] : shares_at[i] + num_points[i]]
        keys = key[i]
        for stroke in range(num_curves[i] * num_strokes):
            curve = points[i, stroke // num_strokes]
            word = uint32(uint32(stroke) * uint32(2 * MAX_POINTS))
            trace(curve, jitter, word, keys, own, 0, places, column)
            trace(curve, jitter, word, keys, own, 1, places, row)
            word = mix(uint32(stroke), keys[2], keys[3])
            gray = uint64(uint64(word) * uint64(max_gray + 1)) >> uint64(32)
            outline(column, row, size, uint16(256 + int64(gray)), canvas, room)
        shade(canvas, size, background, images[i])
        canvas[:] = uint16(0)
