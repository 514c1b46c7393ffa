"""Parameter jitter: the published ways to vary a contractive system, kept contractive.

A jittered system is tried up to four times until no singular value exceeds 1; after that it stays
as it was.

Source: Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, section 3.3; the variants
are those of its program (fractal-pretraining, generator.py).
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.view import TURN_STEPS, circle
from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["DRAWS", "Jitter", "jittered"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
Jitter = Literal["none", "one_map", "fractaldb", "svd", "singular_values"]

NUM_TRIES: Final = 4
DRAWS: Final = 3
"""Philox draws of a try: 12 words."""
HALF_RADIAN: Final = round(0.5 / (2 * np.pi) * TURN_STEPS)
"""Steps of the table of turns."""
STRENGTH: Final = 0.1
"""k of the fractaldb variant: a coefficient is multiplied by 1 - 2k, 1 - k, 1, 1 + k or 1 + 2k."""


def jittered(
    maps: Float64,  # [n, M, 6]
    num_maps: Int64,  # [n]
    kind: Jitter,
    seed: int,
    indices: NDArray[np.uint64],  # [n]
    first_draw: NDArray[np.int64],  # [n]
) -> Float64:
    """Jittered copies of systems.

    Args:
        maps: Coefficients; rows beyond a system's own maps are not read for the jitter.
        num_maps: Maps of each system.
        kind: "one_map": one map, translation and all, times U(0.8, 1.1), the published default.
            "fractaldb": one coefficient of every map times one of five factors. "svd": one map
            turned before or after its scaling by up to half a radian, or moved by up to 0.5.
            "singular_values": those of one map are scaled, within the range of sigma factors.
        seed: Seed of everything random.
        indices: Sample of each system.
        first_draw: Draws of a sample's jitter begin here, `DRAWS` a try.

    Returns:
        Coefficients, [n, M, 6].
    """
    result = maps.copy()
    if kind == "none":
        return result
    missing = np.arange(len(maps))
    for number in range(NUM_TRIES):
        draws = first_draw[missing] + DRAWS * number + np.arange(DRAWS)[:, None]
        words = philox(seed, indices[missing], draws, Purpose.INSTANCE)
        words = words.swapaxes(0, 1).reshape(4 * DRAWS, len(missing))
        tried = _KINDS[kind](maps[missing].copy(), num_maps[missing], words)
        contracts = (_largest_square(tried) <= 1).all(1)
        result[missing[contracts]] = tried[contracts]
        missing = missing[~contracts]
        if not missing.size:
            break
    return result


def _one_map(maps: Float64, num_maps: Int64, words: UInt32) -> Float64:
    samples, chosen = np.arange(len(maps)), below(words[0], num_maps)
    maps[samples, chosen] *= uniform(words[1], 0.8, 1.1)[:, None]
    return maps


def _fractaldb(maps: Float64, num_maps: Int64, words: UInt32) -> Float64:
    factor = 1 + STRENGTH * (below(words[0], 5) - 2)
    # words 4 .. 11 choose a coefficient of up to eight maps
    column = below(words[4 : 4 + maps.shape[1]].T, 6)  # [n, M]
    chosen = np.arange(6) == column[:, :, None]
    return np.where(chosen, maps * factor[:, None, None], maps)


def _svd(maps: Float64, num_maps: Int64, words: UInt32) -> Float64:
    samples, (chosen, kind) = np.arange(len(maps)), np.divmod(below(words[0], 3 * num_maps), 3)
    cos_table, sin_table = circle()
    steps = below(words[1], 2 * HALF_RADIAN + 1) - HALF_RADIAN
    cos, sin = cos_table[steps % TURN_STEPS], sin_table[steps % TURN_STEPS]
    a, b, c, d, e, f = maps[samples, chosen].T
    # a turn of U or of V in U S V is, in the plane, a turn after or before the whole matrix
    after = (cos * a - sin * c, cos * b - sin * d, sin * a + cos * c, sin * b + cos * d)
    before = (a * cos + b * sin, b * cos - a * sin, c * cos + d * sin, d * cos - c * sin)
    turned = [
        np.select([kind == 0, kind == 1], [u, v], w)
        for u, v, w in zip(after, before, (a, b, c, d), strict=True)
    ]
    e = np.where(kind == 2, e + uniform(words[2], -0.5, 0.5), e)
    f = np.where(kind == 2, f + uniform(words[3], -0.5, 0.5), f)
    maps[samples, chosen] = np.stack([*turned, e, f], 1)
    return maps


def _singular_values(maps: Float64, num_maps: Int64, words: UInt32) -> Float64:
    samples, chosen = np.arange(len(maps)), below(words[0], num_maps)
    large = np.sqrt(_largest_square(maps))
    a, b, c, d = np.moveaxis(maps[..., :4], 2, 0)
    with np.errstate(all="ignore"):
        weighted = large + 2 * np.where(large > 0, abs(a * d - b * c) / large, 0)
    own = np.where(np.arange(maps.shape[1]) < num_maps[:, None], weighted, 0)
    factor = np.cumsum(own, 1)[:, -1]
    share = own[samples, chosen]
    low = (5 + num_maps) / 2
    position = uniform(words[1])
    wanted = low + 0.5 * position - factor + share
    # one map alone may not be able to reach the range: NaN does not contract, and is tried again
    possible = (wanted >= 0) & (share > 0)
    scale = np.where(possible, wanted / np.where(possible, share, 1), np.nan)
    maps[samples, chosen, :4] *= scale[:, None]
    return maps


_KINDS: Final = {
    "one_map": _one_map,
    "fractaldb": _fractaldb,
    "svd": _svd,
    "singular_values": _singular_values,
}


def _largest_square(maps: Float64) -> Float64:  # [n, M]
    """The square of the largest singular value of each map."""
    a, b, c, d = np.moveaxis(maps[..., :4], 2, 0)
    total, area = a * a + b * b + c * c + d * d, a * d - b * c
    return (total + np.sqrt(np.maximum(total * total - 4 * area * area, 0))) / 2
