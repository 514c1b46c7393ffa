"""What the walks of an iterated function system have in common, sixteen of them at a time.

Walks are numbered from the last, as their points are kept for painting.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import uint32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.compiling import compiled, plain
from fdsl_gpu.backends.numba.lanes import LANES, lane_numbers, splat, truncated
from fdsl_gpu.backends.numba.rng import philox
from fdsl_gpu.rng import Purpose

__all__ = ["Systems", "begin", "by_coefficient", "move", "pixel", "systems_of", "words_of"]

_WALK: Final = int(Purpose.WALK)


class Systems(NamedTuple):
    """Who walks: arrays of an instance."""

    num_maps: NDArray[np.int32]  # [N]
    maps: NDArray[np.float32]  # [N, D * 8] one row of eight a coefficient
    thresholds: NDArray[np.uint32]  # [N, 7]
    start: NDArray[np.float32]  # [N, 2 or 3]
    walk_index: NDArray[np.uint64]  # [N]


def systems_of(instance: Any) -> Systems:
    """The systems of an instance, as compiled code takes them."""
    return Systems(
        plain(instance.num_maps, np.int32),
        by_coefficient(instance.maps),
        plain(instance.thresholds, np.uint32),
        plain(instance.start, np.float32),
        plain(instance.walk_index, np.uint64),
    )


def by_coefficient(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps [..., M, C] as compiled code looks them up, [..., C * M]: a row of M a coefficient."""
    *samples, rows, columns = maps.shape
    return plain(maps.swapaxes(-1, -2).reshape(*samples, rows * columns), np.float32)


@compiled
def begin(state, start):
    """All walks where they start."""
    for axis in range(len(state)):
        for w in range(state.shape[1]):
            state[axis, w] = start[axis]


@compiled
def move(source, target):
    """Copy where the walks are."""
    for axis in range(len(source)):
        for w in range(source.shape[1]):
            target[axis, w] = source[axis, w]


@compiled
def words_of(seed, index, pair, num_walks):
    """Words of the last sixteen walks for two steps, and how much more the sixteen before have."""
    factor0, offset0, factor1, offset1 = philox(seed, index, pair, _WALK)
    factor0, factor1 = uint32(factor0 | uint32(1)), uint32(factor1 | uint32(1))
    last = uint32(num_walks - 1)
    words0 = lane_numbers() * uint32(-factor0) + splat(uint32(last * factor0 + offset0))
    words1 = lane_numbers() * uint32(-factor1) + splat(uint32(last * factor1 + offset1))
    return words0, words1, splat(uint32(factor0 * -LANES)), splat(uint32(factor1 * -LANES))


@compiled
def pixel(x, y, limit):
    """Row and column of sixteen points, as painting wants them."""
    return (truncated(y, limit) << 16) | truncated(x, limit)
