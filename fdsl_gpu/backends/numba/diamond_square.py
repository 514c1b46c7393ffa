"""Diamond-square noise on a CPU: the points of a level lie side by side, so loops are vectors.

Definition: `fdsl_gpu.formulas.diamond_square`; the same values.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
from numba import int32, uint8, uint32

from fdsl_gpu.formulas.diamond_square import sectors

__all__ = ["PACKED_SECTORS", "background", "buffers", "hsv_to_rgb"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

_SECTORS: Final = sectors().astype(np.uint32)
PACKED_SECTORS: Final = _SECTORS[0] | _SECTORS[1] << 10 | _SECTORS[2] << 20
"""What red, green and blue lose at each hue, ten bits each: one look-up for all three."""


def buffers(levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scratch for `background`: two grids and the centres of squares."""
    size = 2**levels + 1
    grids = np.empty((2, size * size), np.int32)
    return grids[0], grids[1], np.empty((size // 2 + 1) ** 2, np.int32)


@compiled
def random_bits(index, key0, key1):
    """Sixteen random bits of a grid point."""
    h = uint32(index ^ key0)
    h = uint32(h ^ uint32(h >> uint32(16)))
    h = uint32(h * uint32(0x7FEB352D))
    h = uint32(h ^ key1)
    h = uint32(h ^ uint32(h >> uint32(15)))
    h = uint32(h * uint32(0x846CA68B))
    h = uint32(h ^ uint32(h >> uint32(16)))
    return uint32(h >> uint32(16))


@compiled
def noisy(total, index, most, key0, key1):
    """A quarter of a sum, plus the noise of a grid point."""
    noise = uint32(uint32(random_bits(index, key0, key1) * uint32(2 * most)) >> uint32(16))
    return int32(int32(int32(total >> int32(2)) + int32(noise)) - most)


@compiled
def field(key0, key1, amplitude, spare):
    """The noise of one image: a grid of 2**levels + 1 rows and columns, flat."""
    levels = len(amplitude)
    size = 2**levels + 1
    old, new, centres = spare
    for k in range(4):
        corner = uint32((k // 2) * (size - 1) * size + (k % 2) * (size - 1))
        old[k] = int32(random_bits(corner, key0, key1))
    for level in range(levels):
        h = 2**level
        gap = uint32(2 ** (levels - level - 1))
        line = uint32(gap * uint32(size))
        most = amplitude[level]
        for i in range(h):
            upper, lower = old[i * (h + 1) :], old[(i + 1) * (h + 1) :]
            own, first = centres[i * h :], uint32(uint32(2 * i + 1) * line + gap)
            for j in range(h):
                total = int32(int32(upper[j] + upper[j + 1]) + int32(lower[j] + lower[j + 1]))
                index = uint32(first + uint32(uint32(j) * uint32(2 * gap)))
                own[j] = noisy(total, index, most, key0, key1)
        for i in range(h + 1):
            row, target = old[i * (h + 1) :], new[2 * i * (2 * h + 1) :]
            above, below = (
                centres[(i - 1 if i else h - 1) * h :],
                centres[(i if i < h else 0) * h :],
            )
            first = uint32(uint32(2 * i) * line + gap)
            for j in range(h):
                total = int32(int32(row[j] + row[j + 1]) + int32(above[j] + below[j]))
                index = uint32(first + uint32(uint32(j) * uint32(2 * gap)))
                target[2 * j] = row[j]
                target[2 * j + 1] = noisy(total, index, most, key0, key1)
            target[2 * h] = row[h]
        for i in range(h):
            upper, lower = old[i * (h + 1) :], old[(i + 1) * (h + 1) :]
            own, target = centres[i * h :], new[(2 * i + 1) * (2 * h + 1) :]
            first = uint32(uint32(2 * i + 1) * line)
            for j in range(1, h):
                total = int32(int32(upper[j] + lower[j]) + int32(own[j - 1] + own[j]))
                index = uint32(first + uint32(uint32(j) * uint32(2 * gap)))
                target[2 * j] = noisy(total, index, most, key0, key1)
                target[2 * j + 1] = own[j]
            target[1] = own[0]
            for j in (0, h):  # the sides wrap around
                total = int32(int32(upper[j] + lower[j]) + int32(own[h - 1] + own[0]))
                index = uint32(first + uint32(uint32(j) * uint32(2 * gap)))
                target[2 * j] = noisy(total, index, most, key0, key1)
        old, new = new, old
    return old


@compiled
def hsv_to_rgb(lost, channel, saturation, value):
    """One channel of a hue, whose packed losses are looked up before."""
    share = uint32(uint32(lost >> uint32(10 * channel)) & uint32(1023))
    return uint8(uint32(value * uint32(uint32(65536) - uint32(saturation * share))) >> uint32(16))


@compiled
def line(value, scale, shift):
    """Scale * value + shift, of a value in units of 2**-16."""
    return int32(int32(int32(value * scale) >> int32(16)) + shift)


@compiled
def background(key0, key1, amplitude, color, packed_sectors, spare, image):
    """Draw the noise in its colours over an image [3, H, W]."""
    grid = field(key0, key1, amplitude, spare)
    size = 2 ** len(amplitude) + 1
    width = image.shape[2]
    lost = np.empty(width, np.uint32)
    saturation, value = np.empty(width, np.uint32), np.empty(width, np.uint32)
    hue_scale, hue_shift, saturation_scale, saturation_shift, value_scale, value_shift = color
    for row in range(image.shape[1]):
        values = grid[row * size : row * size + width]
        for p in range(width):
            hue = line(values[p], hue_scale, hue_shift)
            lost[p] = packed_sectors[hue & 255]
        for p in range(width):
            s = line(values[p], saturation_scale, saturation_shift)
            saturation[p] = uint32(min(max(s, int32(0)), int32(255)))
            v = line(values[p], value_scale, value_shift)
            value[p] = uint32(min(max(v, int32(0)), int32(255)))
        for channel in range(3):
            target = image[channel, row]
            for p in range(width):
                target[p] = hsv_to_rgb(lost[p], channel, saturation[p], value[p])
