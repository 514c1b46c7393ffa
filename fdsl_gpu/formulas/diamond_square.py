"""Diamond-square noise in whole numbers, and its colours: the backgrounds of sigma-factor fractals.

A grid of 2**n + 1 points starts with random corners. Each level halves the spacing: the centre of
every square becomes the mean of its corners, then the middle of every edge the mean of its four
neighbours, which wrap around at the borders; both get a noise that shrinks from level to level.

Values are integers in units of 2**-16, so that they are the same on every machine.

Source: Fournier, Fussell and Carpenter, Computer Rendering of Stochastic Models, CACM 1982; the
ranges are those of Anderson and Farrell's program (fractal-pretraining, diamondsquare.py).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.view import RATIO_STEPS, ratios
from fdsl_gpu.rng import below, mix, uniform

__all__ = ["amplitudes", "colors", "field", "hsv_to_rgb", "num_levels", "sectors"]

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]

ONE: Final = 2**16
"""The unit of the field's values."""
# exp(-0.8) and exp(-0.4): the noise is multiplied by exp(-decay) from level to level
_LEAST_FACTOR: Final = 0.44932896411722156
_MOST_FACTOR: Final = 0.6703200460356393


def num_levels(image_size: int) -> int:
    """Levels of the smallest grid that holds an image.

    Example:
        >>> num_levels(224), num_levels(256), num_levels(257)
        (8, 8, 9)
    """
    return (image_size - 1).bit_length()


def amplitudes(words: UInt32, image_size: int) -> Int32:  # [N] -> [N, levels]
    """The noise of each level is uniform within +- these; the decay is uniform in [0.4, 0.8]."""
    factors = ratios(_LEAST_FACTOR, _MOST_FACTOR)[below(words, RATIO_STEPS)]
    result = np.empty((len(words), num_levels(image_size)), np.int32)
    amplitude = np.full(len(words), 0.5 * ONE)
    for level in range(result.shape[1]):
        result[:, level] = amplitude
        amplitude = amplitude * factors
    return result


def field(key: UInt32, amplitude: Int32) -> Int32:  # [2], [levels] -> [2**levels + 1] squared
    """The noise of one image.

    Args:
        key: Two random words.
        amplitude: Of each level.
    """
    levels = len(amplitude)
    size = 2**levels + 1
    grid = np.zeros((size, size), np.int32)
    rows, columns = np.mgrid[:size, :size].astype(np.uint32)
    random = mix(rows * np.uint32(size) + columns, key[0], key[1]) >> np.uint32(16)
    grid[:: size - 1, :: size - 1] = random[:: size - 1, :: size - 1]
    for level in range(levels):
        gap = 2 ** (levels - level - 1)
        most = amplitude[level]
        noise = ((random * np.uint32(2 * most)) >> np.uint32(16)).astype(np.int32) - most
        old = grid[:: 2 * gap, :: 2 * gap]
        centres = (old[:-1, :-1] + old[:-1, 1:] + old[1:, :-1] + old[1:, 1:]) >> 2
        centres += noise[gap :: 2 * gap, gap :: 2 * gap]
        grid[gap :: 2 * gap, gap :: 2 * gap] = centres
        # middles of horizontal edges have centres above and below; of vertical ones, at the sides
        above = np.concatenate([centres[-1:], centres])
        below_ = np.concatenate([centres, centres[:1]])
        middles = (old[:, :-1] + old[:, 1:] + above + below_) >> 2
        grid[:: 2 * gap, gap :: 2 * gap] = middles + noise[:: 2 * gap, gap :: 2 * gap]
        left = np.concatenate([centres[:, -1:], centres], 1)
        right = np.concatenate([centres, centres[:, :1]], 1)
        middles = (old[:-1] + old[1:] + left + right) >> 2
        grid[gap :: 2 * gap, :: 2 * gap] = middles + noise[gap :: 2 * gap, :: 2 * gap]
    return grid


def colors(words: UInt32) -> Int32:  # [6, N] -> [N, 6]
    """Scale and shift of hue, saturation and value, as bytes of a field that is 1."""
    ranges = ((0.25, 1), (0, 1), (0.1, 0.3), (0.4, 0.6), (0.3, 0.6), (0.4, 0.6))
    columns = [
        uniform(word, 255 * low, 255 * high)
        for word, (low, high) in zip(words, ranges, strict=True)
    ]
    return np.stack(columns, 1).astype(np.int32)


def colored(values: Int32, color: Int32) -> Int64:  # [...], [6] -> [3, ...]
    """RGB of a field: each of hue, saturation and value is a line in it; the hue wraps around."""
    hue, saturation, value = (((values * color[2 * k]) >> 16) + color[2 * k + 1] for k in range(3))
    return hsv_to_rgb(hue & 255, np.clip(saturation, 0, 255), np.clip(value, 0, 255))


def hsv_to_rgb(hue: Int32, saturation: Int32, value: Int32) -> Int64:  # [3, ...]
    """RGB of bytes; the hue is in steps of 2 degrees, so that 0..255 is 1.4 turns, as published.

    Example:
        >>> hsv_to_rgb(np.array([0, 60, 120]), np.array([255]), np.array([255])).T.tolist()
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    """
    return np.stack([value * (65536 - saturation * k) >> 16 for k in sectors()[:, hue]])


def sectors() -> Int64:  # [3, 256]
    """How much of the saturation each of red, green and blue loses at each hue: 0..256."""
    hue = np.arange(256) % 180
    # a channel is full within 60 degrees of its own hue, and empty beyond 120
    away = np.stack([np.abs((hue - centre + 90) % 180 - 90) for centre in (0, 60, 120)])
    return (256 * np.clip(away - 30, 0, 30) + 15) // 30
