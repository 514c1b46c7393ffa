"""Contours on a CPU: vertices moved in vector loops, lines stored in their order.

Definition: `fdsl_gpu.formulas.contours`; the same pixels. A plain store in the order of drawing
does what a maximum of the keys would, so a canvas holds 16 bits a pixel: the mask's value (1 where
there is no mask) * 256 + gray, and 0 where nothing was drawn. It is zero between images.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numba
import numpy as np
from numba import float32, int32, int64, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.compiling import plain
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.contour_drawing import MAX_VERTICES, ContourInstance, unit_circle
from fdsl_gpu.formulas.line_noise import gradients

__all__ = ["draw"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

_MASKS: Final = (None, "M1", "M2", "M3")
_NO_MASKS: Final = np.empty((0, 0, 0), np.uint8)
_NO_VIEW: Final = np.empty((0, 6), np.float32), np.empty((0, 6), np.int32)
SIDE_BY_SIDE: Final = 4
"""Pixels of each line that are drawn side by side: with 6 and more the waste outweighs the gain."""
_local: Final = threading.local()


def draw(
    instance: ContourInstance,
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8] | None = None,
) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3, and masks [N, H, W]."""
    if not len(images):
        return
    sizes, which = np.unique(instance.num_vertices, return_inverse=True)
    first = np.cumsum(sizes) - sizes
    circles = np.concatenate([unit_circle(int(size)) for size in sizes], 1)  # [2, sum of sizes]
    circle_at = first[which].reshape(instance.num_vertices.shape)
    affine, turn = _NO_VIEW
    if instance.affine is not None and instance.turn is not None:
        affine, turn = plain(instance.affine, np.float32), plain(instance.turn, np.int32)

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        canvas, outlined, fills = _scratch(instance.image_size, instance.mask in ("M2", "M3"))
        draw_part(
            instance.category[part],
            instance.num_vertices[part],
            instance.num_orbits[part],
            instance.frequency[part],
            instance.center[part],
            instance.radius[part],
            instance.step[part],
            instance.amplitude[part],
            instance.key[part],
            affine[part],
            turn[part],
            circle_at[part],
            circles,
            gradients(),
            instance.wave,
            instance.max_gray,
            instance.background,
            _MASKS.index(instance.mask),
            canvas,
            outlined,
            fills,
            images[part],
            _NO_MASKS if masks is None else masks[part],
        )

    share_out(work, len(images))


def _scratch(size: int, fills: bool) -> tuple[Any, Any, Any]:
    """Canvases of zeros that belong to this thread, and kept, since fresh pages cost time."""
    if getattr(_local, "key", None) != (size, fills):
        _local.canvas = np.zeros(size * size, np.uint16)
        _local.outlined = np.zeros(size * size if fills else 0, np.uint16)
        _local.fills = np.zeros((2, size * size if fills else 0), np.uint32)
        _local.key = (size, fills)
    return _local.canvas, _local.outlined, _local.fills


@compiled
def mix(value, key0, key1):
    """A word of a keyed hash; see fdsl_gpu.rng."""
    h = uint32(value ^ key0)
    h = uint32(h ^ uint32(h >> uint32(16)))
    h = uint32(h * uint32(0x7FEB352D))
    h = uint32(h ^ key1)
    h = uint32(h ^ uint32(h >> uint32(15)))
    h = uint32(h * uint32(0x846CA68B))
    return uint32(h ^ uint32(h >> uint32(16)))


@compiled
def move(place, pixel, toward, reach, amplitude, first_word, keys, gradient, buffer):
    """Move one coordinate of all vertices to their places in the next orbit.

    The noise is that of fdsl_gpu.formulas.line_noise, a loop for each of its steps: the look-up is
    the one that does not become vector instructions, and it would keep the others from it.
    """
    words, near, far = buffer
    for v in range(len(place)):
        word = uint32(first_word + uint32(uint32(v) << uint32(1)))
        words[v] = mix(word, keys[0], keys[1])
    for v in range(len(place)):
        interval = words[v] >> uint32(24)
        near[v] = gradient[interval]
        far[v] = gradient[interval + 1]
    for v in range(len(place)):
        t = float32(int32(words[v] & uint32(0xFFFFFF))) * float32(2.0**-24)
        low, high = near[v] * t, far[v] * (t - float32(1))
        fade = t * t * t * (t * (t * float32(6) - float32(15)) + float32(10))
        near[v] = low + fade * (high - low)
    for v in range(len(place)):
        moved = place[v] + toward[v] * (reach[v] - amplitude * near[v])
        place[v] = moved
        pixel[v] = int32(moved)


@compiled
def place(x, y, affine, turn, column, row):
    """Pixels of the image of all vertices; see fdsl_gpu.formulas.contour_drawing.pixels."""
    a, b, c, d, e, f = affine
    p, q, r, s, left, top = turn
    for v in range(len(x)):
        u, w = int32((a * x[v] + b * y[v]) + e), int32((c * x[v] + d * y[v]) + f)
        column[v] = int32(int32(int32(p * u) + int32(q * w)) + left)
        row[v] = int32(int32(int32(r * u) + int32(s * w)) + top)


@compiled
def outline(x, y, size, value, canvas, room):
    """A closed polygon of lines one pixel wide; see fdsl_gpu.formulas.polygons.outline.

    x and y begin with the last vertex again, [V + 1].
    """
    limit = uint32(size)
    first = 0  # of the lines on the canvas that are not drawn yet
    for v in range(len(x) - 1):
        x0, y0, x1, y1 = x[v], y[v], x[v + 1], y[v + 1]
        inside = (
            (uint32(x0) < limit)
            & (uint32(y0) < limit)
            & (uint32(x1) < limit)
            & (uint32(y1) < limit)
        )
        if not inside:
            if first < v:
                lines_inside(x[first : v + 1], y[first : v + 1], size, value, canvas, room)
            first = v + 1
            beyond = (max(x0, x1) < 0) | (max(y0, y1) < 0) | (min(x0, x1) >= size)
            if not (beyond | (min(y0, y1) >= size)):
                line_across(x0, y0, x1, y1, size, value, canvas)
    if first < len(x) - 1:
        lines_inside(x[first:], y[first:], size, value, canvas, room)


@compiled
def lines_inside(x, y, size, value, canvas, room):
    """Lines from vertex to vertex, all on the canvas, each without its last pixel.

    The order of the pixels of one polygon does not matter, so its lines advance side by side for
    the first pixels, in vector loops and without a branch to guess.
    """
    count = len(x) - 1
    at, error, along, aside = room[0, :count], room[1, :count], room[2, :count], room[3, :count]
    twice_short, twice_long = room[4, :count], room[5, :count]
    for v in range(count):
        dx, dy = int32(x[v + 1] - x[v]), int32(y[v + 1] - y[v])
        right = int32(1) if dx >= 0 else int32(-1)
        down = int32(size) if dy >= 0 else int32(-size)
        width, height = max(dx, int32(-dx)), max(dy, int32(-dy))
        steep = height > width
        long = height if steep else width
        short = width if steep else height
        at[v] = int32(y[v] * int32(size) + x[v])
        error[v] = int32(int32(2 * short) - long)
        along[v] = down if steep else right
        aside[v] = right if steep else down
        twice_short[v] = int32(2 * short)
        twice_long[v] = int32(2 * long)
    for v in range(count):
        canvas[uint64(at[v])] = value
    for step in range(1, SIDE_BY_SIDE):
        for v in range(count):
            turn = int32(~(error[v] >> int32(31)))  # all bits where the line steps aside
            ahead = int32(along[v] + int32(aside[v] & turn))
            # a line that has ended stays where it is
            at[v] = int32(at[v] + (ahead if twice_long[v] > int32(2 * step) else int32(0)))
            error[v] = int32(error[v] + int32(twice_short[v] - int32(twice_long[v] & turn)))
        for v in range(count):
            canvas[uint64(at[v])] = value
    for v in range(count):
        p, e = int64(at[v]), int64(error[v])
        for _ in range(SIDE_BY_SIDE, twice_long[v] >> 1):
            turn = ~(e >> 63)
            p += along[v] + (aside[v] & turn)
            e += twice_short[v] - (twice_long[v] & turn)
            canvas[uint64(p)] = value


@compiled
def line_across(x0, y0, x1, y1, size, value, canvas):
    """A line of which some may lie beyond the canvas."""
    dx, dy = int64(x1) - int64(x0), int64(y1) - int64(y0)
    right, down = (1 if dx >= 0 else -1), (1 if dy >= 0 else -1)
    steep = abs(dy) > abs(dx)
    long, short = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    x, y = int64(x0), int64(y0)
    error = 2 * short - long
    for _ in range(max(long, 1)):
        if 0 <= x < size and 0 <= y < size:
            canvas[y * size + x] = value
        aside = error >= 0
        if aside:
            error -= 2 * long
        error += 2 * short
        if steep:
            y += down
            x += right if aside else 0
        else:
            x += right
            y += down if aside else 0


@compiled
def cross(x, y, size, bit, plane):
    """Where rows pass into or out of a polygon; see fdsl_gpu.formulas.polygons.crossings."""
    for v in range(len(x) - 1):
        x0, y0, x1, y1 = int64(x[v]), int64(y[v]), int64(x[v + 1]), int64(y[v + 1])
        left, top, right, bottom = (x0, y0, x1, y1) if y1 >= y0 else (x1, y1, x0, y0)
        for row in range(max(top, 0), min(bottom, size)):
            # -(-a // b) rounds up
            column = left - (-(row - top) * (right - left)) // (bottom - top)
            if column < size:
                plane[row * size + max(column, 0)] ^= bit


@compiled
def shade(canvas, size, background, image):
    """Grays of an image [C, H, W]."""
    for row in range(size):
        keys = canvas[row * size : (row + 1) * size]
        for channel in range(len(image)):
            line = image[channel, row]
            for p in range(size):
                line[p] = uint8(keys[p]) if keys[p] != uint16(0) else uint8(background)


@compiled
def mask_lines(canvas, size, mask):
    """M1: each line in the value of its category."""
    for row in range(size):
        keys = canvas[row * size : (row + 1) * size]
        for p in range(size):
            mask[row, p] = uint8(keys[p] >> uint16(8))


@compiled
def mask_fills(outlined, fills, size, category, mask):
    """M2, M3: fills, holes and outlines, the last contour over the others; clears its canvases."""
    for row in range(size):
        filled, cut, upper = uint32(0), uint32(0), 0
        for column in range(size):
            p = row * size + column
            if fills[0, p] | fills[1, p]:
                filled ^= fills[0, p]
                cut ^= fills[1, p]
                upper = 0  # the last contour that fills or cuts here, from 1
                while uint32(filled | cut) >> uint32(upper):
                    upper += 1
            line = int64(outlined[p])
            value = 0
            if line >= upper:
                value = category[line - 1] + 1 if line else 0
            elif not uint32(cut >> uint32(upper - 1)) & uint32(1):
                value = category[upper - 1] + 1
            mask[row, column] = uint8(value)
    outlined[:] = uint16(0)
    fills[:] = uint32(0)


@compiled
def draw_part(
    category,
    num_vertices,
    num_orbits,
    frequency,
    center,
    radius,
    step,
    amplitude,
    key,
    affine,
    turn,
    circle_at,
    circles,
    gradient,
    wave,
    max_gray,
    background,
    mask_kind,
    canvas,
    outlined,
    fills,
    images,
    masks,
):
    """Draw some images on one thread."""
    size = images.shape[2]
    floats = np.empty((5, MAX_VERTICES), np.float32)
    pixels = np.empty((2, MAX_VERTICES + 1), np.int32)
    words = np.empty(MAX_VERTICES, np.uint32)
    room = np.empty((6, MAX_VERTICES), np.int32)
    for i in range(len(images)):
        for number in range(category.shape[1]):
            count = num_vertices[i, number]
            x, y, reach = floats[0, :count], floats[1, :count], floats[2, :count]
            buffer = words[:count], floats[3, :count], floats[4, :count]
            column, row = pixels[0, : count + 1], pixels[1, : count + 1]
            at = circle_at[i, number]
            cos, sin = circles[0, at : at + count], circles[1, at : at + count]
            for v in range(count):
                waves = (
                    sin[frequency[i, number, 0] * v % count]
                    + sin[frequency[i, number, 1] * v % count]
                )
                reach[v] = step[i, number] + wave * waves
                x[v] = center[i, number, 0] + radius[i, number, 0] * cos[v]
                y[v] = center[i, number, 1] + radius[i, number, 1] * sin[v]
            keys = key[i, number]
            length = amplitude[i, number]
            value = 1 if mask_kind == 0 else category[i, number] + 1
            for orbit in range(num_orbits[i, number]):
                word = uint32(uint32(orbit) * uint32(2 * MAX_VERTICES))
                move(x, column[1:], cos, reach, length, word, keys, gradient, buffer)
                word = uint32(word + uint32(1))
                move(y, row[1:], sin, reach, length, word, keys, gradient, buffer)
                if len(affine):
                    place(x, y, affine[i], turn[i], column[1:], row[1:])
                column[0], row[0] = column[count], row[count]
                word = mix(uint32(orbit), keys[2], keys[3])
                gray = min(uint64(uint64(word) * uint64(max_gray + 1)) >> uint64(32), uint64(255))
                outline(column, row, size, uint16(value * 256 + int64(gray)), canvas, room)
                if mask_kind >= 2:
                    bit = uint32(uint32(1) << uint32(number))
                    if orbit == num_orbits[i, number] - 1:
                        outline(column, row, size, uint16(number + 1), outlined, room)
                        cross(column, row, size, bit, fills[0])
                    if orbit == 0 and mask_kind == 2:
                        outline(column, row, size, uint16(number + 1), outlined, room)
                        cross(column, row, size, bit, fills[1])
        shade(canvas, size, background, images[i])
        if mask_kind == 1:
            mask_lines(canvas, size, masks[i])
        elif mask_kind >= 2:
            mask_fills(outlined, fills, size, category[i], masks[i])
        canvas[:] = uint16(0)
