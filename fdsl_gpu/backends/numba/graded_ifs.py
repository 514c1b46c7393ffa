"""Sigma-factor fractals on a CPU: walks stepped together, one addition a point.

Definition: `fdsl_gpu.formulas.graded_drawing`; the same pixels. The canvas of counts is zero
between fractals.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
from numba import float32, int32, uint8, uint32
from numba.extending import overload
from numpy.typing import NDArray

from fdsl_gpu.backends.numba import blur as blurring
from fdsl_gpu.backends.numba import diamond_square, lanes, rng
from fdsl_gpu.backends.numba.blur import blur
from fdsl_gpu.backends.numba.compiling import cached, checksum, compiled
from fdsl_gpu.backends.numba.diamond_square import (
    PACKED_SECTORS,
    background,
    buffers,
    hsv_to_rgb,
)
from fdsl_gpu.backends.numba.lanes import as_words as bits
from fdsl_gpu.backends.numba.rng import philox
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.graded_drawing import BOX_STEPS, GradedInstance

__all__ = ["draw"]

_SOURCES: Final = checksum(blurring, diamond_square, lanes, rng)
_local: Final = threading.local()


def draw(instance: GradedInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, 3, H, W]."""

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        draw_part(
            (
                instance.num_maps[part],
                instance.maps[part],
                instance.thresholds[part],
                instance.start[part],
                instance.window[part],
            ),
            (
                instance.patch[part],
                instance.color[part],
                instance.size[part],
                instance.corner[part],
            ),
            (instance.noise_key[part], instance.amplitude[part], instance.noise_color[part]),
            instance.blur[part],
            instance.index[part],
            np.uint64(instance.seed),
            (instance.num_steps, instance.burn_in),
            instance.num_walks,
            instance.background == "black",
            PACKED_SECTORS,
            _scratch(instance),
            images[part],
        )

    share_out(work, len(images))


def _scratch(instance: GradedInstance) -> Any:
    """A canvas of zeros, patched counts and grids that belong to this thread, and are kept."""
    key = (instance.image_size, instance.num_walks)
    if getattr(_local, "key", None) != key:
        size, walks = key
        _local.key = key
        _local.buffers = (
            # one cell more, for the points outside
            np.zeros((size + 2) ** 2 + 1, np.uint32),
            np.empty(size**2, np.uint32),
            np.empty((6, walks), np.float32),
            np.empty(walks, np.uint32),
            buffers(instance.amplitude.shape[1]),
        )
    return _local.buffers


def column(array, number, rows):
    """The first len(rows) entries of a column of an array, as a tuple."""


@overload(column)
def _column(array, number, rows):
    if len(rows) == 1:
        return lambda array, number, rows: (array[0, number],)
    return lambda array, number, rows: (
        *column(array, number, rows[1:]),
        array[len(rows) - 1, number],
    )


def chosen(word, thresholds, values):
    """The value of the map that a word chooses: as a chain of blends for this number of maps."""


@overload(chosen)
def _chosen(word, thresholds, values):
    if len(values) == 1:
        return lambda word, thresholds, values: values[0]

    def choose(word, thresholds, values):
        last = len(values) - 1
        before = chosen(word, thresholds[:-1], values[:-1])
        return values[last] if word >= thresholds[last - 1] else before

    return choose


@compiled
def step(x, y, word, thresholds, a, b, c, d, e, f):
    """One step of one walk."""
    new_x = (chosen(word, thresholds, a) * x + chosen(word, thresholds, b) * y) + chosen(
        word, thresholds, e
    )
    new_y = (chosen(word, thresholds, c) * x + chosen(word, thresholds, d) * y) + chosen(
        word, thresholds, f
    )
    return new_x, new_y


@compiled
def step_all(x, y, words, half, thresholds, a, b, c, d, e, f):
    """One step of all walks."""
    factor, shift = uint32(words[2 * half] | uint32(1)), words[2 * half + 1]
    for w in range(len(x)):
        word = uint32(uint32(uint32(w) * factor) + shift)
        x[w], y[w] = step(x[w], y[w], word, thresholds, a, b, c, d, e, f)


@compiled
def walk(rows, system, length, buffers):
    """Count the points of one fractal; len(rows) is the number of maps."""
    maps, threshold_row, start, window, seed, index = system
    side, num_steps, burn_in = length
    lines, at, canvas = buffers
    x, y, x_min, x_max, y_min, y_max = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5]
    a, b, c = column(maps, 0, rows), column(maps, 1, rows), column(maps, 2, rows)
    d, e, f = column(maps, 3, rows), column(maps, 4, rows), column(maps, 5, rows)
    thresholds = column(threshold_row, 0, rows[1:])
    num_walks, total = len(x), burn_in + num_steps
    x[:], y[:] = start[0], start[1]
    x_min[:], x_max[:], y_min[:], y_max[:] = np.inf, -np.inf, np.inf, -np.inf
    for time in range(min(BOX_STEPS, total)):
        words = philox(seed, index, time // 2, 2)
        step_all(x, y, words, time % 2, thresholds, a, b, c, d, e, f)
        for w in range(num_walks):
            x_min[w] = x[w] if x[w] < x_min[w] else x_min[w]
            x_max[w] = x[w] if x[w] > x_max[w] else x_max[w]
            y_min[w] = y[w] if y[w] < y_min[w] else y_min[w]
            y_max[w] = y[w] if y[w] > y_max[w] else y_max[w]
    width, height = float32(x_max.max() - x_min.min()), float32(y_max.max() - y_min.min())
    left = float32(x_min.min() + float32(window[0] * width))
    top = float32(y_min.min() + float32(window[1] * height))
    scale_x, scale_y = float32(window[2] / width), float32(window[3] / height)
    pitch = uint32(side + 2)
    limit, outside = bits(float32(side + 2)), uint32(pitch * pitch)
    x[:], y[:] = start[0], start[1]
    for pair in range((total + 1) // 2):
        words = philox(seed, index, pair, 2)
        for half in range(2):
            time = 2 * pair + half
            if time >= total:
                break
            step_all(x, y, words, half, thresholds, a, b, c, d, e, f)
            if time < burn_in:
                continue
            for w in range(num_walks):
                u = float32(float32(x[w] - left) * scale_x) + float32(1)
                v = float32(float32(y[w] - top) * scale_y) + float32(1)
                # no negative zero arises, so this is 0 <= u < side + 2, and false for NaN
                inside = (bits(u) < limit) & (bits(v) < limit)
                cell = uint32(uint32(uint32(int32(v)) * pitch) + uint32(int32(u)))
                at[w] = cell if inside else outside
            for w in range(num_walks):
                canvas[at[w]] = uint32(canvas[at[w]] + uint32(1))


def walk_as(num_maps, rows, system, length, buffers):
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
def add(total, counts):
    """Add one row to another."""
    for p in range(len(total)):
        total[p] = uint32(total[p] + counts[p])


@compiled
def largest_of(values):
    """The largest of some whole numbers."""
    largest = uint32(0)
    for p in range(len(values)):
        largest = max(largest, values[p])
    return largest


@compiled
def patched(canvas, side, patch, counts):
    """Patches over each pixel into counts; returns the largest, and clears the canvas."""
    pitch = side + 2
    for row in range(side):
        total = counts[row * side : (row + 1) * side]
        total[:] = uint32(0)
        for cell in range(9):
            if patch >> (8 - cell) & 1:
                first = (row + 2 - cell // 3) * pitch + 2 - cell % 3
                add(total, canvas[first : first + side])
    canvas[: pitch * pitch + 1] = uint32(0)
    return largest_of(counts[: side * side])


@compiled
def paint(image, counts, side, largest, color, corner, packed_sectors):
    """Paint the pixels with a count into an image [3, H, W]."""
    size = image.shape[1]
    hues = np.empty((3, 256), np.uint32)
    for level in range(256):
        lost = packed_sectors[(level + color[0]) & 255]
        for channel in range(3):
            hues[channel, level] = hsv_to_rgb(lost, channel, uint32(color[1]), uint32(color[2]))
    levels = np.empty(side, np.uint32)
    first, last = max(corner[1], 0), min(corner[1] + side, size)
    for row in range(max(corner[0], 0), min(corner[0] + side, size)):
        begin = (row - corner[0]) * side + first - corner[1]
        seen = counts[begin : begin + last - first]
        for p in range(len(seen)):
            density = float32(float32(int32(seen[p])) / largest)
            levels[p] = uint32(int32(float32(density * float32(255))))
        for channel in range(3):
            target, own = image[channel, row, first:last], hues[channel]
            for p in range(len(seen)):
                target[p] = uint8(own[levels[p]]) if seen[p] > uint32(0) else target[p]


@cached
def draw_part(
    systems,
    looks,
    noises,
    blur_weights,
    indices,
    seed,
    length,
    num_walks,
    is_black,
    packed_sectors,
    scratch,
    images,
    sources=_SOURCES,
):
    """Draw some images on one thread."""
    num_maps, maps, thresholds, start, window = systems
    patch, color, sizes, corner = looks
    noise_key, amplitude, noise_color = noises
    canvas, counts, lines, at, spare = scratch
    num_steps, burn_in = length
    for i in range(len(images)):
        if is_black:
            images[i] = uint8(0)
        else:
            key0, key1 = noise_key[i]
            background(key0, key1, amplitude[i], noise_color[i], packed_sectors, spare, images[i])
        for k in range(sizes.shape[1]):
            side = sizes[i, k]
            if side == 0:
                continue
            walk_as(
                num_maps[i, k],
                (1, 1, 1, 1, 1, 1, 1, 1),
                (
                    maps[i, k],
                    thresholds[i, k].reshape(-1, 1),
                    start[i, k],
                    window[i, k],
                    seed,
                    indices[i],
                ),
                (side, num_steps, burn_in),
                (lines, at, canvas),
            )
            largest = patched(canvas, side, patch[i, k], counts)
            paint(
                images[i],
                counts,
                side,
                float32(max(largest, uint32(1))),
                color[i, k],
                corner[i, k],
                packed_sectors,
            )
        if blur_weights[i] > 0:
            blur(images[i], blur_weights[i])
