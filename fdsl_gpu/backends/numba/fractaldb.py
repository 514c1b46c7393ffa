"""FractalDB as published, compiled: walks, frames of a category, verdicts of the search.

Definition: `fdsl_gpu.formulas.fractaldb`; float64 and the same operations in the same order, so the
same bits. All of it releases the GIL: threads share out categories and candidates.

* A walk is a chain of a multiplication and two additions a step, which nothing shortens, so the
  work around the chain is taken out of it: many steps choose their maps first, without a branch.
* The walks of a category's weight rows choose the same maps: they run side by side, one vector lane
  a row.
* A NaN never goes away again, so what the NaN rule keeps are the first points of a walk.
"""

from __future__ import annotations

import threading
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.mt19937 import doubles
from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.formulas.fractaldb import NAN_MARGIN, PAD, Float64
from fdsl_gpu.formulas.ifs_table import MAX_MAPS

__all__ = ["boxes", "fills", "walk"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

LANES: Final = 32
"""Weight rows walked side by side: enough vectors of float64 to hide the latency of the chain."""
BLOCK: Final = 4096
"""Steps made at once: their uniforms and choices stay in the cache."""

_local: Final = threading.local()


def walk(maps: Float64, probs: Float64, uniforms: Float64) -> tuple[Float64, Float64]:
    """`fractaldb.walk`: x and y, [T]."""
    x, y = np.empty((2, len(uniforms)))
    _walk(np.ascontiguousarray(maps), _choices(probs, uniforms), x, y)
    return x, y


def boxes(maps: Float64, probs: Float64, weights: Float64, uniforms: Float64) -> Float64:
    """`fractaldb.frame` of a category's walk with each weight row, after `fractaldb.drop_nan`.

    Args:
        maps: [M, 6].
        probs: [M].
        weights: [R, 6].
        uniforms: Of the walk, [T].

    Returns:
        x min, x max, y min, y max: [R, 4].
    """
    chosen = _choices(probs, uniforms)
    weighted = maps * weights[:, None]  # [R, M, 6]
    result = np.empty((len(weights), 4))
    for first in range(0, len(weights), LANES):
        rows = np.minimum(np.arange(first, first + LANES), len(weights) - 1)
        lanes = weighted[rows].transpose(1, 2, 0).reshape(-1)  # [M * 6 * LANES]
        result[first : first + LANES] = _lane_boxes(lanes, chosen).T[: len(weights) - first]
    for row in np.flatnonzero(np.isnan(result).any(1)):
        x, y = np.empty((2, len(uniforms)))
        _walk(weighted[row], chosen, x, y)
        result[row] = fractaldb.frame(*_drop_nan(x, y))
    return result


def fills(
    maps: Float64,  # [M, 6]
    probs: Float64,  # [M]
    key: NDArray[np.uint32],  # [624]
    position: int,
    *,
    num_points: int,
    size: int,
    needed: int,
) -> bool:
    """Whether a candidate's walk hits at least `needed` pixels of `fractaldb.canvas`.

    Args:
        maps: Of the candidate.
        probs: Of its maps.
        key: State of the generator that the walk's uniforms come from; it is moved on.
        position: The generator's position in it.
        num_points: Points of the walk.
        size: Side of the canvas.
        needed: Least number of pixels.
    """
    x, y, hit = _scratch(num_points, size)
    box = _walk_stream(maps, _bounds(probs), key, position, x, y)
    if np.isnan(x[-1]) or np.isnan(y[-1]):
        x, y = _drop_nan(x, y)
        if len(x) < needed:
            return False
        box = fractaldb.frame(x, y)
    return bool(_num_hits(x, y, box, size, needed, hit) >= needed)


def _scratch(num_points: int, size: int) -> tuple[Float64, Float64, NDArray[np.uint8]]:
    """Room of this thread for a walk and its canvas: fresh pages would cost as much as the walk."""
    if getattr(_local, "sizes", None) != (num_points, size):
        _local.sizes = num_points, size
        _local.arrays = (*np.empty((2, num_points)), np.empty(size * size + 1, np.uint8))
    x, y, hit = _local.arrays
    return x, y, hit


def _bounds(probs: Float64) -> Float64:  # [8]
    """Cumulative probabilities, the last repeated."""
    return np.cumsum(np.concatenate([probs, np.zeros(MAX_MAPS - len(probs))]))


def _choices(probs: Float64, uniforms: Float64) -> NDArray[np.uint8]:  # [T]
    chosen = np.empty(len(uniforms), np.uint8)
    _choose(_bounds(probs), uniforms, chosen)
    return chosen


def _drop_nan(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """`fractaldb.drop_nan` of a walk, by slicing."""
    kept = _num_kept(x, y)
    return (x[:kept], y[:kept]) if kept >= 0 else fractaldb.drop_nan(x, y)


@compiled
def _choose(bounds, uniforms, chosen):
    """The map of each uniform: how many bounds it is above, 8 where it is above all."""
    b0, b1, b2, b3, b4, b5, b6, b7 = bounds
    for k in range(uniforms.size):
        u = uniforms[k]
        # "not above" is counted, as published: nothing is below the NaN of a system without area
        below = int(u <= b0) + int(u <= b1) + int(u <= b2) + int(u <= b3)
        below += int(u <= b4) + int(u <= b5) + int(u <= b6) + int(u <= b7)
        chosen[k] = MAX_MAPS - below


@compiled
def _steps(maps, chosen, state, x, y):
    """Walk on from a state, which is (x, y, x min, x max, y min, y max).

    The extremes cost nothing: they are found while the chain of the walk waits.
    """
    px, py, x_min, x_max, y_min, y_max = state
    for step in range(chosen.size):
        k = chosen[step]
        if k < len(maps):  # else the point is repeated
            a, b, c = maps[k, 0], maps[k, 1], maps[k, 2]
            d, e, f = maps[k, 3], maps[k, 4], maps[k, 5]
            px, py = px * a + py * b + e, px * c + py * d + f
        x[step] = px
        y[step] = py
        x_min = px if px < x_min else x_min
        x_max = px if px > x_max else x_max
        y_min = py if py < y_min else y_min
        y_max = py if py > y_max else y_max
    return px, py, x_min, x_max, y_min, y_max


@compiled
def _walk(maps, chosen, x, y):
    x[0] = y[0] = 0.0
    _steps(maps, chosen[:-1], (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), x[1:], y[1:])


@compiled
def _walk_stream(maps, bounds, key, position, x, y):
    """Walk with the next uniforms of a generator; returns the frame, wrong where it ends in NaN."""
    words, chosen = np.empty(2 * BLOCK, np.uint32), np.empty(BLOCK, np.uint8)
    uniforms = np.empty(BLOCK)
    x[0] = y[0] = 0.0
    state = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for first in range(1, x.size, BLOCK):
        num = min(BLOCK, x.size - first)
        position = doubles(key, position, words, uniforms[:num])
        _choose(bounds, uniforms[:num], chosen[:num])
        state = _steps(maps, chosen[:num], state, x[first:], y[first:])
    return state[2:]


@compiled
def _lane_boxes(maps, chosen):
    """Frames of LANES walks, [4, LANES], NaN where a walk ends in NaN; maps are [M * 6 * LANES]."""
    num_maps = maps.size // (6 * LANES)
    # x, y, x min, x max, y min, y max: in one array, or LLVM fears that they overlap
    state = np.zeros(6 * LANES)
    for step in range(chosen.size - 1):
        if chosen[step] >= num_maps:
            continue
        own = maps[chosen[step] * 6 * LANES :]
        for lane in range(LANES):
            x, y = state[lane], state[lane + LANES]
            x_min, x_max = state[lane + 2 * LANES], state[lane + 3 * LANES]
            y_min, y_max = state[lane + 4 * LANES], state[lane + 5 * LANES]
            nx = x * own[lane] + y * own[lane + LANES] + own[lane + 4 * LANES]
            ny = x * own[lane + 2 * LANES] + y * own[lane + 3 * LANES] + own[lane + 5 * LANES]
            state[lane] = nx
            state[lane + LANES] = ny
            state[lane + 2 * LANES] = nx if nx < x_min else x_min
            state[lane + 3 * LANES] = nx if nx > x_max else x_max
            state[lane + 4 * LANES] = ny if ny < y_min else y_min
            state[lane + 5 * LANES] = ny if ny > y_max else y_max
    result = state[2 * LANES :].copy().reshape(4, LANES)
    for lane in range(LANES):
        if np.isnan(state[lane]) or np.isnan(state[lane + LANES]):
            result[:, lane] = np.nan
    return result


@compiled
def _num_kept(x, y):
    """Points that the NaN rule keeps; -1 where its margin would begin before the walk."""
    last = x.size - 1
    if not (np.isnan(x[last]) or np.isnan(y[last])):
        return x.size
    first = last
    if np.isnan(x[last]):
        while first > 0 and np.isnan(x[first - 1]):
            first -= 1
    return first - NAN_MARGIN if first >= NAN_MARGIN else -1


@compiled
def _num_hits(x, y, box, size, needed, hit):
    """Distinct pixels under the points, counted until `needed` are reached or out of reach.

    `hit` is scratch, uint8 [S * S + 1]; its last place takes the points outside.
    """
    hit[:] = 0
    hit[size * size] = 1
    pixels = np.empty(BLOCK, np.int64)
    x_min, y_min, width, height = box[0], box[2], box[1] - box[0], box[3] - box[2]
    inner, num_hits = np.float64(size - 2 * PAD), 0
    for first in range(0, x.size, BLOCK):
        if num_hits >= needed or num_hits + x.size - first < needed:
            break
        num = min(BLOCK, x.size - first)
        for k in range(num):
            column = (x[first + k] - x_min) / width * inner + PAD
            row = (y[first + k] - y_min) / height * inner + PAD
            column = column if abs(column) < np.inf else 0.0  # a NaN is drawn at 0, as published
            row = row if abs(row) < np.inf else 0.0
            if not ((column < size) & (row < size)):
                column, row = 0.0, np.float64(size)
            pixels[k] = np.int64(np.int32(row)) * size + np.int64(np.int32(column))
        for k in range(num):
            num_hits += 1 - hit[pixels[k]]
            hit[pixels[k]] = 1
    return num_hits
