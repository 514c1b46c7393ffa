"""Diamond-square noise on a CPU: the points of a level lie side by side, sixteen to a vector.

Definition: `fdsl_gpu.formulas.diamond_square`; the same values.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import uint32

from fdsl_gpu.backends.numba.bits import copy_bytes
from fdsl_gpu.backends.numba.compiling import compiled
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    gather,
    lane_numbers,
    load,
    splat,
    store,
    where_at_most,
)
from fdsl_gpu.backends.numba.rng import mix_lanes
from fdsl_gpu.backends.numba.sixteen import store_bytes, store_interleaved
from fdsl_gpu.formulas.diamond_square import sectors

__all__ = ["PACKED_SECTORS", "background", "buffers", "hsv_to_rgb"]

_SECTORS: Final = sectors().astype(np.uint32)
PACKED_SECTORS: Final = _SECTORS[0] | _SECTORS[1] << 10 | _SECTORS[2] << 20
"""What red, green and blue lose at each hue, ten bits each: one look-up for all three."""


def buffers(levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scratch for `background`: two grids and the centres of squares, with room for vectors."""
    size = 2**levels + 1
    grids = np.zeros((2, size * size + 4 * LANES), np.uint32)
    return grids[0], grids[1], np.zeros(size * size // 4 + size + 2 * LANES, np.uint32)


@compiled
def noisy(total, index, most, key0, key1):
    """A quarter of each sum, plus the noise of its grid point."""
    random = mix_lanes(index, key0, key1) >> 16
    # the sums are signed: 2**30 is added before they are shifted, and a quarter of it taken off
    quarter = ((total + 2**30) >> 2) - 2**28
    return quarter + ((random * uint32(2 * most)) >> 16) - most


@compiled
def field(key0, key1, amplitude, spare):
    """The noise of one image: a grid of 2**levels + 1 rows and columns, flat, signed.

    Rows are made in their order, so what the last vector of a row writes beyond it is overwritten.
    """
    levels = len(amplitude)
    size = 2**levels + 1
    old, new, centres = spare
    key0, key1, numbers = splat(key0), splat(key1), lane_numbers()
    corners = (numbers >> 1) * uint32((size - 1) * size) + (numbers & 1) * uint32(size - 1)
    store(old, 0, mix_lanes(corners, key0, key1) >> 16)
    for level in range(levels):
        h, gap, most = 2**level, 2 ** (levels - level - 1), uint32(amplitude[level])
        line, first, ahead = gap * size, numbers * uint32(2 * gap), uint32(2 * gap * LANES)
        # a row of centres has its last one before it and its first one after it: sides wrap around
        pitch = h + 2
        for i in range(h):
            upper, lower, own = i * (h + 1), (i + 1) * (h + 1), i * pitch + 1
            index = first + uint32((2 * i + 1) * line + gap)
            for j in range(0, h, LANES):
                total = load(old, upper + j) + load(old, upper + j + 1)
                total = total + load(old, lower + j) + load(old, lower + j + 1)
                store(centres, own + j, noisy(total, index, most, key0, key1))
                index = index + ahead
            centres[own - 1], centres[own + h] = centres[own + h - 1], centres[own]
        for i in range(h + 1):
            row, target = i * (h + 1), 2 * i * (2 * h + 1)
            above = (i - 1 if i > 0 else h - 1) * pitch + 1
            below = (i if i < h else 0) * pitch + 1
            index = first + uint32(2 * i * line + gap)
            for j in range(0, h + 1, LANES):
                total = load(old, row + j) + load(old, row + j + 1)
                total = total + load(centres, above + j) + load(centres, below + j)
                middle = noisy(total, index, most, key0, key1)
                store_interleaved(new, target + 2 * j, load(old, row + j), middle)
                index = index + ahead
            if i == h:
                break
            lower, target, own = row + h + 1, target + 2 * h + 1, i * pitch
            index = first + uint32((2 * i + 1) * line)
            for j in range(0, h + 1, LANES):
                total = load(old, row + j) + load(old, lower + j)
                centre = load(centres, own + j + 1)
                total = total + load(centres, own + j) + centre
                middle = noisy(total, index, most, key0, key1)
                store_interleaved(new, target + 2 * j, middle, centre)
                index = index + ahead
        old, new = new, old
    return old


@compiled
def hsv_to_rgb(lost, channel, saturation, value):
    """One channel of sixteen hues, whose packed losses are looked up before."""
    share = (lost >> (10 * channel)) & 1023
    return (value * (splat(uint32(65536)) - saturation * share)) >> 16


@compiled
def line(values, scale, shift):
    """Scale * value + shift, of signed values in units of 2**-16."""
    # 2**31 makes them unsigned for the shift
    return ((values * uint32(scale) + 2**31) >> 16) - 2**15 + uint32(shift)


@compiled
def as_byte(values):
    """Signed values, those outside at the nearer end of 0 .. 255."""
    zero, most = splat(uint32(0)), splat(uint32(255))
    beyond = where_at_most(values, splat(uint32(2**31 - 1)), most, zero)
    return where_at_most(values, most, values, beyond)


@compiled
def background(key0, key1, amplitude, color, packed_sectors, spare, image):
    """Draw the noise in its colours over an image [3, H, W]."""
    grid = field(key0, key1, amplitude, spare)
    size, width = 2 ** len(amplitude) + 1, image.shape[2]
    rows = np.empty((3, width + LANES), np.uint8)
    for row in range(image.shape[1]):
        for p in range(0, width, LANES):
            values = load(grid, row * size + p)
            lost = gather(packed_sectors, line(values, color[0], color[1]) & 255)
            saturation = as_byte(line(values, color[2], color[3]))
            value = as_byte(line(values, color[4], color[5]))
            for channel in range(3):
                store_bytes(rows[channel], p, hsv_to_rgb(lost, channel, saturation, value))
        for channel in range(3):
            copy_bytes(image[channel, row], 0, rows[channel], 0, width)
