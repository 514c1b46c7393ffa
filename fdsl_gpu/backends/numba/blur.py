"""The blur over 3x3 pixels on a CPU: a line sideways, then three of them downwards.

Definition: `fdsl_gpu.formulas.blur`; the same pixels.
"""

from __future__ import annotations

import numpy as np
from numba import int32, uint8

from fdsl_gpu.backends.numba.compiling import compiled

__all__ = ["blur"]


@compiled
def blur(image, weight):
    """Blur an image [C, H, W] in place."""
    size = image.shape[1]
    middle = int32(256 - 2 * weight)
    # sideways: three rows at a time are kept, row q in place q % 3
    lines = np.empty((3, size), np.int32)
    for plane in image:
        _sideways(plane[0], weight, middle, lines[0])
        _sideways(plane[1], weight, middle, lines[1])
        for q in range(size):
            above = lines[(q - 1 if q > 0 else 1) % 3]
            below = lines[(q + 1 if q + 1 < size else q - 1) % 3]
            own, target = lines[q % 3], plane[q]
            for p in range(size):
                total = int32(weight * int32(above[p] + below[p])) + int32(middle * own[p])
                target[p] = uint8(int32(total + int32(32768)) >> int32(16))
            if q + 2 < size:
                _sideways(plane[q + 2], weight, middle, lines[(q + 2) % 3])


@compiled
def _sideways(row, weight, middle, line):
    size = len(row)
    for p in range(1, size - 1):
        line[p] = int32(weight * (int32(row[p - 1]) + int32(row[p + 1]))) + middle * int32(row[p])
    line[0] = int32(2 * weight) * int32(row[1]) + middle * int32(row[0])
    line[size - 1] = int32(2 * weight) * int32(row[size - 2]) + middle * int32(row[size - 1])
