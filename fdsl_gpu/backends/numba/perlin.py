"""Perlin noise on a CPU: sixteen pixels of a row at a time.

The gradients around each column of pixels stay the same while the rows cross one row of cells:
they are looked up once for all of those. Then a pixel costs the definition's products and sums.

Definition: `fdsl_gpu.formulas.perlin`; the same operations in the same order, so the same pixels.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import float32, uint32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba import bits, lanes, sixteen
from fdsl_gpu.backends.numba.bits import copy_bytes
from fdsl_gpu.backends.numba.compiling import cached, checksum, compiled, plain
from fdsl_gpu.backends.numba.lanes import LANES, larger, load, smaller, splat, store, truncated
from fdsl_gpu.backends.numba.sixteen import entries, store_bytes
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.perlin import (
    CORNER_MULTIPLIER,
    GRAY_MIDDLE,
    GRAY_SCALE,
    PerlinInstance,
    amplitudes,
    gradients,
)

__all__ = ["draw"]

MIDDLE: Final = float(GRAY_MIDDLE)
SCALE: Final = float(GRAY_SCALE)
SIDES: Final = 8
"""Numbers of a column of pixels: of its left and right column of corners, the upper gradient's x,
the way to the lower one's x, the upper gradient's y, the lower one's."""
_SOURCES: Final = checksum(bits, lanes, sixteen)


def draw(instance: PerlinInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W]."""
    who = tuple(plain(each, np.float32) for each in (instance.step, instance.phase))
    key = plain(instance.key, np.uint32)
    strengths = amplitudes(instance.num_octaves, instance.persistence)
    count, channels, size, _ = images.shape
    pixels = images.reshape(-1)

    def work(start: int, stop: int) -> None:
        _draw(*who, key, strengths, *gradients(), channels, size, start, stop, pixels)

    share_out(work, count)


@compiled
def _fade(t):
    return t * t * t * (t * (t * float32(6) - float32(15)) + float32(10))


@compiled
def _numbers(corner, key0, key1):
    """Number of each corner's gradient; `fdsl_gpu.rng.mix`."""
    h = corner ^ key0
    h = (h ^ (h >> 16)) * uint32(0x7FEB352D)
    h = h ^ key1
    h = (h ^ (h >> 15)) * uint32(0x846CA68B)
    h = h ^ (h >> 16)
    return h >> 28


@compiled
def _look_up(cells, first, above, key0, key1, gradient_x, gradient_y, sides, padded):
    """The numbers of each column of pixels in a row of cells, of the octave that begins there."""
    for p in range(0, padded, LANES):
        for right in range(2):
            upper = load(cells, first + p) + uint32(above + uint32(right))
            lower = _numbers(upper + uint32(CORNER_MULTIPLIER), key0, key1)
            upper = _numbers(upper, key0, key1)
            x = entries(gradient_x, upper)
            at = SIDES * first + 4 * right * padded + p
            store(sides, at, x)
            store(sides, at + padded, entries(gradient_x, lower) - x)
            store(sides, at + 2 * padded, entries(gradient_y, upper))
            store(sides, at + 3 * padded, entries(gradient_y, lower))


@compiled
def _ramp(sides, at, padded, tx, ty, below, fade_y):
    """Ramps of a column of corners, blended between its upper and its lower one."""
    slope = load(sides, at) + fade_y * load(sides, at + padded)
    upper = load(sides, at + 2 * padded) * ty
    height = upper + fade_y * (load(sides, at + 3 * padded) * below - upper)
    return slope * tx + height


@compiled
def _add_row(sides, across, fades, first, y, strength, line, padded):
    """Add a row of the octave that begins there to a line."""
    one, amplitude = splat(float32(1)), splat(strength)
    ty, below, fade_y = splat(y), splat(y - float32(1)), splat(_fade(y))
    for p in range(0, padded, LANES):
        tx = load(across, first + p)
        near = _ramp(sides, SIDES * first + p, padded, tx, ty, below, fade_y)
        far = _ramp(sides, (SIDES * first + 4 * padded) + p, padded, tx - one, ty, below, fade_y)
        noise = near + load(fades, first + p) * (far - near)
        store(line, p, load(line, p) + amplitude * noise)


@compiled
def _show(line, levels, padded):
    """Gray levels of a line."""
    zero, white, beyond = splat(float32(0)), splat(float32(255)), splat(float32(256))
    scale, middle = splat(float32(SCALE)), splat(float32(MIDDLE))
    for p in range(0, padded, LANES):
        level = larger(middle + scale * load(line, p), zero)
        store_bytes(levels, p, truncated(smaller(level, white), beyond))


@compiled
def _cross(step, phase, times, size, first, across, fades, cells):
    """Cell of each column of pixels, its place there, and how far it is blended to the right."""
    for p in range(size):
        x = ((float32(p) + float32(0.5)) * step + phase) * times
        column = math.floor(x)
        cells[first + p] = uint32(int(column))
        across[first + p] = x - float32(column)
        fades[first + p] = _fade(across[first + p])


@cached
def _draw(
    step, phase, key, strengths, gradient_x, gradient_y, channels, size, start, stop, pixels,
    _sources=_SOURCES,
):  # fmt: skip
    """Draw samples from `start` up to `stop` into pixels [N * C * H * W]."""
    octaves = len(strengths)
    padded = (size + LANES - 1) // LANES * LANES
    across, fades = np.zeros(octaves * padded, np.float32), np.zeros(octaves * padded, np.float32)
    cells = np.zeros(octaves * padded, np.uint32)
    sides = np.zeros(octaves * SIDES * padded, np.float32)
    rows = np.empty(octaves, np.int64)
    line, levels = np.empty(padded, np.float32), np.empty(padded, np.uint8)
    for n in range(start, stop):
        for octave in range(octaves):
            times = float32(2**octave)
            _cross(step[n, 0], phase[n, 0], times, size, octave * padded, across, fades, cells)
        rows[:] = -1
        for q in range(size):
            line[:] = 0
            for octave in range(octaves):
                first = octave * padded
                y = ((float32(q) + float32(0.5)) * step[n, 1] + phase[n, 1]) * float32(2**octave)
                row = int(math.floor(y))
                if row != rows[octave]:
                    rows[octave] = row
                    above = uint32(uint32(row) * uint32(CORNER_MULTIPLIER))
                    key0, key1 = splat(key[n, 0]), splat(uint32(key[n, 1] + uint32(octave)))
                    _look_up(cells, first, above, key0, key1, gradient_x, gradient_y, sides, padded)
                y -= float32(row)
                _add_row(sides, across, fades, first, y, strengths[octave], line, padded)
            _show(line, levels, padded)
            for channel in range(channels):
                at = ((n * channels + channel) * size + q) * size
                copy_bytes(pixels, at, levels, 0, size)
