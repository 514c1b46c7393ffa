"""Compiled FractalDB, as published: the walk, the frames of a category's weight rows, the verdict on a candidate.

Definition: fdsl_gpu.formulas.fractaldb, float64, the same operations in the same order, so the same bits. Every
function releases the GIL: threads share out categories and candidates.

A walk's chain of two multiplications and two additions cannot be shortened, so the work around it is taken out: the
maps of all steps are chosen first, in a loop without a branch, and the frames of a category are walked side by side,
one vector lane a weight row. A NaN never goes away again, so a walk's kept points are its first ones.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.formulas.fractaldb import NAN_MARGIN, PAD, Float64

__all__ = ["advance", "boxes", "fills", "uniforms", "walk"]

JIT: Final[dict[str, Any]] = {"nogil": True, "cache": True, "error_model": "numpy"}
LANES: Final = 32
"""Weight rows walked side by side: four vectors of eight float64, enough to hide the latency of the chain."""
WORDS: Final = 624
"""Words of MT19937's state."""


def walk(maps: Float64, probs: Float64, uniforms: Float64) -> tuple[Float64, Float64]:
    """`fractaldb.walk`: x and y, [T]."""
    x, y = np.empty_like(uniforms), np.empty_like(uniforms)
    _walk(np.ascontiguousarray(maps), _choose(np.cumsum(probs), uniforms), x, y)
    return x, y


def boxes(maps: Float64, probs: Float64, weights: Float64, uniforms: Float64) -> Float64:
    """The frames of one category's walks with each weight row.

    Args:
        maps: [M, 6].
        probs: [M].
        weights: [R, 6].
        uniforms: Of the walk, [T].

    Returns:
        x min, x max, y min, y max of `fractaldb.frame` after `fractaldb.drop_nan`, [R, 4].
    """
    chosen = _choose(np.cumsum(probs), uniforms)
    weighted = maps * weights[:, None]  # [R, M, 6]
    result = np.empty((len(weights), 4))
    x, y = np.empty((2, len(uniforms)))
    for first in range(0, len(weights), LANES):
        rows = np.minimum(np.arange(first, first + LANES), len(weights) - 1)
        lanes = np.ascontiguousarray(weighted[rows].transpose(1, 2, 0))
        found = _lane_boxes(lanes, chosen)
        result[first : first + LANES] = found[: len(weights) - first]
    for row in np.flatnonzero(np.isnan(result[:, 0])):
        _walk(weighted[row], chosen, x, y)
        result[row] = fractaldb.frame(*_drop_nan(x, y))
    return result


def fills(
    maps: Float64,  # [M, 6]
    probs: Float64,  # [M]
    uniforms: Float64,  # [T]
    size: int,
    needed: int,
) -> bool:
    """Whether the walk hits at least `needed` pixels of `fractaldb.canvas`."""
    x, y = np.empty((2, len(uniforms)))
    _walk(maps, _choose(np.cumsum(probs), uniforms), x, y)
    x, y = _drop_nan(x, y)
    if len(x) < needed:
        return False
    return bool(
        _hits(x, y, fractaldb.frame(x, y), np.zeros(size * size, np.uint8), needed) >= needed
    )


def _drop_nan(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """`fractaldb.drop_nan` of a walk, without copying where it can be helped."""
    kept = _num_kept(x, y)
    return (x[:kept], y[:kept]) if kept >= 0 else fractaldb.drop_nan(x, y)


def uniforms(state: np.ndarray, position: int, num: int) -> Float64:
    """The next doubles of an MT19937 state, as `np.random.RandomState.random_sample` gives them."""
    return _uniforms(state, position, num)


@njit(**JIT)
def _choose(cumulative, uniforms):
    """The map of each step; their number where the point is repeated."""
    chosen = np.zeros(uniforms.size, np.uint8)
    for bound in cumulative:
        for step in range(uniforms.size):
            chosen[step] += np.uint8(not (uniforms[step] <= bound))
    return chosen


@njit(**JIT)
def _walk(maps, chosen, x, y):
    x[0] = y[0] = 0.0
    px = py = 0.0
    for step in range(x.size - 1):
        k = chosen[step]
        if k < len(maps):
            a, b, c = maps[k, 0], maps[k, 1], maps[k, 2]
            d, e, f = maps[k, 3], maps[k, 4], maps[k, 5]
            px, py = px * a + py * b + e, px * c + py * d + f
        x[step + 1] = px
        y[step + 1] = py


@njit(**JIT)
def _lane_boxes(maps, chosen):
    """Frames of LANES walks, maps [M, 6, LANES]; NaN where a walk ends in NaN."""
    x, y = np.zeros(LANES), np.zeros(LANES)
    x_min, x_max = np.zeros(LANES), np.zeros(LANES)
    y_min, y_max = np.zeros(LANES), np.zeros(LANES)
    for step in range(chosen.size - 1):
        if chosen[step] < len(maps):
            a, b, c, d, e, f = maps[chosen[step]]
            for lane in range(LANES):
                px, py = x[lane], y[lane]
                nx = px * a[lane] + py * b[lane] + e[lane]
                ny = px * c[lane] + py * d[lane] + f[lane]
                x[lane] = nx
                y[lane] = ny
                x_min[lane] = nx if nx < x_min[lane] else x_min[lane]
                x_max[lane] = nx if nx > x_max[lane] else x_max[lane]
                y_min[lane] = ny if ny < y_min[lane] else y_min[lane]
                y_max[lane] = ny if ny > y_max[lane] else y_max[lane]
    result = np.empty((LANES, 4))
    for lane in range(LANES):
        bad = np.isnan(x[lane]) or np.isnan(y[lane])
        result[lane, 0] = np.nan if bad else x_min[lane]
        result[lane, 1] = x_max[lane]
        result[lane, 2] = y_min[lane]
        result[lane, 3] = y_max[lane]
    return result


@njit(**JIT)
def _num_kept(x, y):
    """Points that the NaN rule keeps; -1 where the first NaN is so early that it deletes from the end, too."""
    last = x.size - 1
    if not (np.isnan(x[last]) or np.isnan(y[last])):
        return x.size
    first = 0
    if np.isnan(x[last]):
        while not np.isnan(x[first]):
            first += 1
    else:
        first = last
    return first - NAN_MARGIN if first >= NAN_MARGIN else -1


@njit(**JIT)
def _hits(x, y, box, canvas, needed):
    """Distinct pixels that the points hit; stops where `needed` are reached or cannot be reached any more."""
    size = int(np.sqrt(canvas.size))
    inner = float(size - 2 * PAD)
    width, height = box[1] - box[0], box[3] - box[2]
    hits = 0
    for start in range(0, x.size, 4096):
        stop = min(start + 4096, x.size)
        if hits >= needed or hits + x.size - start < needed:
            break
        for point in range(start, stop):
            column = (x[point] - box[0]) / width * inner + PAD
            row = (y[point] - box[2]) / height * inner + PAD
            # a NaN is drawn at 0, as published
            column = column if np.isfinite(column) else 0.0
            row = row if np.isfinite(row) else 0.0
            if column < size and row < size:
                pixel = int(row) * size + int(column)
                hits += 1 - canvas[pixel]
                canvas[pixel] = 1
    return hits


@njit(**JIT)
def advance(key, position, num):
    """Move an MT19937 state on by a number of words without giving them out."""
    position += num
    while position > WORDS:
        _twist(key)
        position -= WORDS
    return position


@njit(**JIT)
def _twist(key):
    # three loops without a wrap-around, which vectorise: word k needs k + 1 and k + 397 of the old or new state
    for k in range(227):
        key[k] = key[k + 397] ^ _mixed(key[k], key[k + 1])
    for k in range(396):
        key[k + 227] = key[k] ^ _mixed(key[k + 227], key[k + 228])
    key[623] = key[396] ^ _mixed(key[623], key[0])


@njit(**JIT)
def _mixed(word, following):
    high = np.uint32(word & np.uint32(0x80000000))
    joined = np.uint32(high | np.uint32(following & np.uint32(0x7FFFFFFF)))
    odd = np.uint32(np.uint32(0) - np.uint32(following & np.uint32(1)))
    return np.uint32(np.uint32(joined >> np.uint32(1)) ^ np.uint32(odd & np.uint32(0x9908B0DF)))


@njit(**JIT)
def _uniforms(state, position, num):
    key = state.copy()
    words = np.empty(2 * num + WORDS, np.uint32)
    filled = 0
    while True:
        for k in range(position, WORDS):
            y = key[k]
            y = np.uint32(y ^ np.uint32(y >> np.uint32(11)))
            y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(7)) & np.uint32(0x9D2C5680)))
            y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(15)) & np.uint32(0xEFC60000)))
            words[filled + k - position] = np.uint32(y ^ np.uint32(y >> np.uint32(18)))
        filled += WORDS - position
        if filled >= 2 * num:
            break
        position = 0
        _twist(key)
    result = np.empty(num)
    for k in range(num):
        high, low = words[2 * k] >> np.uint32(5), words[2 * k + 1] >> np.uint32(6)
        result[k] = (high * 67108864.0 + low) / 9007199254740992.0
    return result
