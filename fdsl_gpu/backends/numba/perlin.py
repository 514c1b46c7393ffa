"""Perlin noise on a CPU: two numbers a column of corners and row of pixels, then one blend a pixel.

Definition: `fdsl_gpu.formulas.perlin`; the same operations in the same order, so the same pixels.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import float32, uint8, uint32
from numpy.typing import NDArray

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

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


def draw(instance: PerlinInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W]."""
    strengths = amplitudes(instance.num_octaves, instance.persistence)

    def work(start: int, stop: int) -> None:
        for sample in range(start, stop):
            _draw(
                instance.step[sample],
                instance.phase[sample],
                instance.key[sample],
                strengths,
                *gradients(),
                images[sample],
            )

    share_out(work, len(images))


@compiled
def _fade(t):
    return t * t * t * (t * (t * float32(6) - float32(15)) + float32(10))


@compiled
def _gradient(corner, key0, key1):
    h = uint32(corner ^ key0)
    h = uint32(h ^ uint32(h >> uint32(16)))
    h = uint32(h * uint32(0x7FEB352D))
    h = uint32(h ^ key1)
    h = uint32(h ^ uint32(h >> uint32(15)))
    h = uint32(h * uint32(0x846CA68B))
    h = uint32(h ^ uint32(h >> uint32(16)))
    return h >> uint32(28)


@compiled
def _draw(step, phase, key, strengths, gradient_x, gradient_y, image):
    size = image.shape[1]
    total = np.zeros((size, size), np.float32)
    tx, fade_x = np.empty(size, np.float32), np.empty(size, np.float32)
    cell = np.empty(size, np.int32)
    for octave in range(len(strengths)):
        times, strength = float32(2**octave), strengths[octave]
        key1 = uint32(key[1] + uint32(octave))
        first = 0
        for p in range(size):
            x = ((float32(p) + float32(0.5)) * step[0] + phase[0]) * times
            column = math.floor(x)
            tx[p] = x - float32(column)
            fade_x[p] = _fade(tx[p])
            if p == 0:
                first = int(column)
            cell[p] = int(column) - first
        num_columns = cell[size - 1] + 2
        slope, height = np.empty(num_columns, np.float32), np.empty(num_columns, np.float32)
        for q in range(size):
            y = ((float32(q) + float32(0.5)) * step[1] + phase[1]) * times
            row = math.floor(y)
            ty = y - float32(row)
            fade_y = _fade(ty)
            above = uint32(uint32(int(row)) * uint32(CORNER_MULTIPLIER))
            below = uint32(above + uint32(CORNER_MULTIPLIER))
            for c in range(num_columns):
                corner = uint32(first + c)
                upper = _gradient(uint32(corner + above), key[0], key1)
                lower = _gradient(uint32(corner + below), key[0], key1)
                ux, uy = gradient_x[upper], gradient_y[upper]
                lx, ly = gradient_x[lower], gradient_y[lower]
                slope[c] = ux + fade_y * (lx - ux)
                height[c] = uy * ty + fade_y * (ly * (ty - float32(1)) - uy * ty)
            line = total[q]
            for p in range(size):
                c = cell[p]
                left = slope[c] * (tx[p] - float32(0)) + height[c]
                right = slope[c + 1] * (tx[p] - float32(1)) + height[c + 1]
                line[p] = line[p] + strength * (left + fade_x[p] * (right - left))
    for q in range(size):
        for p in range(size):
            level = float32(GRAY_MIDDLE) + float32(GRAY_SCALE) * total[q, p]
            level = min(max(level, float32(0)), float32(255))
            for channel in range(image.shape[0]):
                image[channel, q, p] = uint8(level)
