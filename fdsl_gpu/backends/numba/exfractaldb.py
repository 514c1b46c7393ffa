"""3D FractalDB as published, compiled: verdicts of the search, frames of a category.

Definition: `fdsl_gpu.formulas.exfractaldb`; float64 and the same operations in the same order, so
the same bits. The walks of a category's weight rows choose the same maps: they run side by side,
one vector lane a row.
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np

from fdsl_gpu.formulas.exfractaldb import MAX_EXTENT, NUM_POINTS, Float64, uniforms

__all__ = ["frames", "spread", "walk"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

LANES: Final = 32
"""Weight rows walked side by side: four vectors of float64 hide the latency of the chain."""


def walk(maps: Float64, probs: Float64) -> Float64:
    """`exfractaldb.walk`: points, [9999, 3]."""
    points = np.empty((NUM_POINTS - 1, 3))
    _walk(maps, _choices(probs), points)
    return points


def frames(maps: Float64, probs: Float64, weights: Float64) -> Float64:
    """`exfractaldb.frame` of a category's walk with each weight row.

    Args:
        maps: [M, 12].
        probs: [M].
        weights: [R, 12].

    Returns:
        Scale and shift, [R, 4].
    """
    chosen = _choices(probs)
    weighted = maps * weights[:, None]  # [R, M, 12]
    result = np.empty((len(weights), 4))
    for first in range(0, len(weights), LANES):
        rows = np.minimum(np.arange(first, first + LANES), len(weights) - 1)
        lanes = np.ascontiguousarray(np.moveaxis(weighted[rows], 0, 2))  # [M, 12, LANES]
        last = min(first + LANES, len(weights))
        result[first:last] = _lane_frames(lanes.reshape(-1), chosen).T[: last - first]
    with np.errstate(invalid="ignore"):
        bounded = np.isfinite(result).all(1) & (result[:, 0] > 2 / MAX_EXTENT)
    result[~bounded] = np.nan
    return result


def spread(maps: Float64, probs: Float64) -> Float64:
    """`exfractaldb.spread` of a candidate's walk, normalised by its own frame: [3]."""
    points = np.empty((NUM_POINTS - 1, 3))
    _walk(maps, _choices(probs), points)
    return _spread(points)


def _choices(probs: Float64) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return (uniforms()[:, None] > np.cumsum(probs)[:-1]).sum(1).astype(np.uint8)


@compiled
def _walk(maps, chosen, points):
    x = y = z = 0.0
    for step in range(chosen.size):
        m = maps[chosen[step]]
        x, y, z = (
            m[0] * x + m[1] * y + m[2] * z + m[9],
            m[3] * x + m[4] * y + m[5] * z + m[10],
            m[6] * x + m[7] * y + m[8] * z + m[11],
        )
        points[step, 0] = x
        points[step, 1] = y
        points[step, 2] = z


@compiled
def _spread(points):
    least, most = np.inf, -np.inf
    for step in range(len(points)):
        for axis in range(3):
            least, most = min(least, points[step, axis]), max(most, points[step, axis])
    scale = 2 / (most - least)
    corner = -1 - scale * least
    variances = np.empty(3)
    for axis in range(3):
        total = 0.0
        for step in range(len(points)):
            total += scale * points[step, axis] + corner
        mean, squares = total / len(points), 0.0
        for step in range(len(points)):
            distance = scale * points[step, axis] + corner - mean
            squares += distance * distance
        variances[axis] = squares / len(points)
    return variances


@compiled
def _lane_frames(maps, chosen):
    """Scale and shift of LANES walks, [4, LANES]; maps are [M * 12 * LANES]."""
    # x, y, z, least, most, sums: in one array, or LLVM fears that they overlap
    state = np.zeros(8 * LANES)
    state[3 * LANES : 4 * LANES] = np.inf
    state[4 * LANES : 5 * LANES] = -np.inf
    for step in range(chosen.size):
        own = maps[chosen[step] * 12 * LANES :]
        for lane in range(LANES):
            x, y, z = state[lane], state[lane + LANES], state[lane + 2 * LANES]
            least, most = state[lane + 3 * LANES], state[lane + 4 * LANES]
            nx = own[lane] * x + own[lane + LANES] * y
            nx = nx + own[lane + 2 * LANES] * z + own[lane + 9 * LANES]
            ny = own[lane + 3 * LANES] * x + own[lane + 4 * LANES] * y
            ny = ny + own[lane + 5 * LANES] * z + own[lane + 10 * LANES]
            nz = own[lane + 6 * LANES] * x + own[lane + 7 * LANES] * y
            nz = nz + own[lane + 8 * LANES] * z + own[lane + 11 * LANES]
            least = nx if nx < least else least
            least = ny if ny < least else least
            state[lane + 3 * LANES] = nz if nz < least else least
            most = nx if nx > most else most
            most = ny if ny > most else most
            state[lane + 4 * LANES] = nz if nz > most else most
            state[lane], state[lane + LANES], state[lane + 2 * LANES] = nx, ny, nz
            state[lane + 5 * LANES] += nx
            state[lane + 6 * LANES] += ny
            state[lane + 7 * LANES] += nz
    result = np.empty((4, LANES))
    for lane in range(LANES):
        scale = 2 / (state[lane + 4 * LANES] - state[lane + 3 * LANES])
        corner = -1 - scale * state[lane + 3 * LANES]
        result[0, lane] = scale
        for axis in range(3):
            total = scale * state[lane + (5 + axis) * LANES] + chosen.size * corner
            result[1 + axis, lane] = corner - total / NUM_POINTS
    return result
