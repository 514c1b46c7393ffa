"""Counts of a sigma-factor fractal on a CPU: walks sixteen at a time, one addition a point.

A canvas is side + 3 rows of `pitch` cells, zero between fractals. The last row and the column after
the cells that count take the points outside, so that no point needs a branch.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import float32, uint32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.compiling import compiled, plain
from fdsl_gpu.backends.numba.ifs import SIX, measure, step
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    lane_numbers,
    load,
    splat,
    spread,
    store,
    tables,
    truncated,
    where_at_most,
)
from fdsl_gpu.backends.numba.walking import begin, by_coefficient, words_of
from fdsl_gpu.formulas.graded_drawing import BOX_STEPS, GradedInstance

__all__ = ["Counting", "Fractals", "counted", "counting", "fractals_of", "padded"]

OUTSIDE: Final = 3
"""Rows and columns beside the square: one on each side that patches reach, and one for the rest."""


class Fractals(NamedTuple):
    """The fractals of some samples: arrays of an instance."""

    num_maps: NDArray[np.int32]  # [N, F]
    maps: NDArray[np.float32]  # [N, F, 6 * 8] one row of eight a coefficient
    thresholds: NDArray[np.uint32]  # [N, F, 7]
    start: NDArray[np.float32]  # [N, F, 2]
    window: NDArray[np.float32]  # [N, F, 4]
    patch: NDArray[np.int32]  # [N, F]
    size: NDArray[np.int32]  # [N, F]
    sample: NDArray[np.uint64]  # [N]


class Counting(NamedTuple):
    """Arrays that a thread keeps: fresh memory costs time."""

    state: NDArray[np.float32]  # [2, W] where the walks are
    found: NDArray[np.float32]  # [4, 16]
    cells: NDArray[np.uint32]  # [2 * W] of the points of two steps
    canvas: NDArray[np.uint32]
    shifts: NDArray[np.int64]  # [9] from a pixel to the cells that light it
    sums: NDArray[np.uint32]  # [side * padded(side)] patches over each pixel
    colors: NDArray[np.uint32]  # [256] of each level: three bytes, red lowest


def fractals_of(instance: GradedInstance) -> Fractals:
    """The fractals of an instance, as compiled code takes them."""
    return Fractals(
        plain(instance.num_maps, np.int32),
        by_coefficient(instance.maps),
        plain(instance.thresholds, np.uint32),
        plain(instance.start, np.float32),
        plain(instance.window, np.float32),
        plain(instance.patch, np.int32),
        plain(instance.size, np.int32),
        plain(instance.index, np.uint64),
    )


def counting(size: int, num_walks: int) -> Counting:
    """Arrays for fractals of at most this side."""
    return Counting(
        state=np.zeros((2, num_walks), np.float32),
        found=np.zeros((4, LANES), np.float32),
        cells=np.zeros(2 * num_walks, np.uint32),
        canvas=np.zeros((size + OUTSIDE) * int(padded.py_func(size + OUTSIDE)), np.uint32),
        shifts=np.zeros(9, np.int64),
        sums=np.zeros(size * int(padded.py_func(size)), np.uint32),
        colors=np.zeros(256, np.uint32),
    )


@compiled
def padded(length):
    """The next multiple of the lanes."""
    return (length + LANES - 1) // LANES * LANES


@compiled
def cell_of(x, y, frame, limit, pitch):
    """Cells of sixteen points: no negative zero arises, as `truncated` wants it."""
    left, top, scale_x, scale_y = frame
    one = splat(float32(1))
    column, row = (x - left) * scale_x + one, (y - top) * scale_y + one
    return truncated(row, limit) * pitch + truncated(column, limit)


@compiled
def count(places, system, arrays, span, frame, side):
    """Count the points of all walks, of the steps in a span; len(places) is that of thresholds."""
    _, maps, limits, seed, index = system
    coefficients, thresholds = tables(maps, SIX), spread(limits, places)
    xs, ys, cells, canvas = arrays.state[0], arrays.state[1], arrays.cells, arrays.canvas
    limit, pitch = splat(float32(side + 2)), splat(uint32(padded(side + OUTSIDE)))
    num_walks, (first, end) = len(xs), span
    for pair in range((end + 1) // 2):
        words0, words1, next0, next1 = words_of(seed, index, pair, num_walks)
        counts = 2 * pair >= first
        for w in range(0, num_walks, LANES):
            x, y = step(load(xs, w), load(ys, w), words0, thresholds, coefficients)
            if counts:
                store(cells, w, cell_of(x, y, frame, limit, pitch))
            x, y = step(x, y, words1, thresholds, coefficients)
            if counts:
                store(cells, num_walks + w, cell_of(x, y, frame, limit, pitch))
            store(xs, w, x)
            store(ys, w, y)
            words0, words1 = words0 + next0, words1 + next1
        if counts:
            # the last pair may have a step too many
            for k in range(2 * num_walks if 2 * pair + 1 < end else num_walks):
                canvas[cells[k]] += uint32(1)


@compiled
def walk(places, system, start, window, arrays, span, side):
    """Find the extent of a fractal, then count its points."""
    begin(arrays.state, start)
    end = min(BOX_STEPS, span[1])
    x_min, x_max, y_min, y_max = measure(places, system, arrays.state, 0, end, arrays.found)
    width, height = x_max - x_min, y_max - y_min
    left, top = x_min + window[0] * width, y_min + window[1] * height
    frame = splat(left), splat(top), splat(window[2] / width), splat(window[3] / height)
    begin(arrays.state, start)
    count(places, system, arrays, span, frame, side)


@compiled
def patched(arrays, side, patch):
    """Patches over each pixel, the largest of which is returned; the canvas is zero again."""
    canvas, shifts, sums = arrays.canvas, arrays.shifts, arrays.sums
    pitch, line, number = padded(side + OUTSIDE), padded(side), 0
    for cell in range(9):
        if patch >> (8 - cell) & 1:
            shifts[number] = (2 - cell // 3) * pitch + 2 - cell % 3
            number += 1
    zero, last = splat(uint32(0)), splat(uint32(side - 1))
    largest = zero
    for row in range(side):
        at, columns = row * pitch, lane_numbers()
        for p in range(0, line, LANES):
            total = zero
            for k in range(number):
                total = total + load(canvas, at + p + shifts[k])
            # pixels beyond the square, in the last lanes of a line, see nothing
            total = where_at_most(columns, last, total, zero)
            columns = columns + LANES
            store(sums, row * line + p, total)
            largest = where_at_most(total, largest, largest, total)
        canvas[at : at + pitch] = uint32(0)
    canvas[side * pitch : (side + OUTSIDE) * pitch] = uint32(0)
    store(arrays.cells, 0, largest)
    return arrays.cells[:LANES].max()


@compiled
def counted(fractals, arrays, i, k, seed, span):
    """Count one fractal of a sample: `arrays.sums`, and the largest of them."""
    num_maps, side = fractals.num_maps[i, k], fractals.size[i, k]
    system = num_maps, fractals.maps[i, k], fractals.thresholds[i, k], seed, fractals.sample[i]
    start, window = fractals.start[i, k], fractals.window[i, k]
    if num_maps <= 2:
        walk((0,), system, start, window, arrays, span, side)
    elif num_maps <= 4:
        walk((0, 0, 0), system, start, window, arrays, span, side)
    else:
        walk((0, 0, 0, 0, 0, 0, 0), system, start, window, arrays, span, side)
    return patched(arrays, side, fractals.patch[i, k])
