"""3D FractalDB as published: candidates, their walk, its frame and spread, the weight rows.

A category is a set of affine maps of space. Its walk is scaled by its own smallest and largest
coordinate to [-1, 1], and moved so that its centroid is the origin. The published programs are not
seeded; here every candidate is a function of (seed, number), and all walks share their uniforms.

Source: Yamada et al., MV-FractalDB, IROS 2021, section III; Kataoka et al., CVPR 2022, section 3
(ExFractalDB); the published programs (CVPR2022-Pretrained-ViT-PyTorch, exfractaldb_render) where
the papers are silent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.fractaldb import walk_uniforms
from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = [
    "NUM_COEFFICIENTS",
    "NUM_POINTS",
    "candidate",
    "frame",
    "probabilities",
    "spread",
    "uniforms",
    "walk",
    "weight_row_numbers",
    "weight_rows",
]

Float64 = NDArray[np.float64]

NUM_COEFFICIENTS: Final = 12
"""Of a map: a 3x3 matrix (a .. i) row by row, then a translation (j, k, l)."""
NUM_POINTS: Final = 10_000
"""Iterations of a published walk; it stores one point less."""
MAX_MAPS: Final = 7
MAX_EXTENT: Final = 1e6
"""Beyond it a walk counts as divergent. Left to grow it would overflow, or draw a dot at best."""
_TENTHS: Final = tuple(tenth for tenth in range(4, 17) if tenth != 10)
"""Factors of the weight rows, times ten."""
_UNIT_ROW: Final = 6
"""The row of ones among them."""
NUM_WEIGHTS: Final = (145, 121, 97, 73, 49, 25, 1)
"""Rows of the published tables of weights; a smaller one has the mildest rows of a larger one."""


def weight_rows() -> Float64:  # [145, 12]
    """Factors that make the 145 instances of a category: each changes one coefficient of all maps.

    Example:
        >>> rows = weight_rows()
        >>> rows.shape, rows[:3, 0].tolist(), bool((rows[6] == 1).all())
        ((145, 12), [0.4, 0.5, 0.6], True)
    """
    rows = np.ones((NUM_WEIGHTS[0], NUM_COEFFICIENTS))
    for row, (column, tenth) in zip(rows, _changes(), strict=True):
        row[column] = tenth / 10
    return rows


def _changes() -> list[tuple[int, int]]:
    """Which coefficient each weight row changes, and ten times its factor."""
    changes = [(column, tenth) for column in range(NUM_COEFFICIENTS) for tenth in _TENTHS]
    changes.insert(_UNIT_ROW, (0, 10))
    return changes


def weight_row_numbers(count: int) -> list[int]:
    """The rows of a published table of so many weights, as numbers of rows of the one of 145.

    Args:
        count: 145 (factors 0.4 to 1.6), 121 (0.5 to 1.5), 97, 73, 49, 25 (0.9 and 1.1) or 1.

    Raises:
        ValueError: There is no table of so many.

    Example:
        >>> weight_rows()[weight_row_numbers(25)][:3, 0].tolist()
        [0.9, 1.0, 1.1]
    """
    if count not in NUM_WEIGHTS:
        raise ValueError(f"num_weights must be one of {NUM_WEIGHTS}, got {count}")
    furthest = count // (2 * NUM_COEFFICIENTS)
    return [row for row, (_, tenth) in enumerate(_changes()) if abs(tenth - 10) <= furthest]


def candidate(seed: int, number: int) -> Float64:
    """A candidate of the search: 2 to 7 maps with coefficients uniform in [-1, 1).

    Args:
        seed: Seed of the search.
        number: Number of the candidate, in [0, 2**64).

    Returns:
        Maps (a .. i, j, k, l), [M, 12].
    """
    draws = np.arange(1 + MAX_MAPS * NUM_COEFFICIENTS // 4)
    words = philox(seed, number, draws, Purpose.CATEGORY).T
    num_maps = 2 + int(below(words[0, :1], MAX_MAPS - 1)[0])
    return uniform(words[1:].reshape(MAX_MAPS, NUM_COEFFICIENTS)[:num_maps], -1, 1)


def probabilities(maps: Float64) -> Float64:
    """How often each of the maps [M, 12] is chosen, [M]: in proportion to |determinant|."""
    a, b, c, d, e, f, g, h, i = maps.T[:9]
    volumes = np.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    shares: Float64 = volumes / np.cumsum(volumes)[-1]
    return shares


@lru_cache(maxsize=1)
def uniforms() -> Float64:  # [9999]
    """One for each point of a walk: the same for every category and weight row."""
    return walk_uniforms(NUM_POINTS)[:-1]


def walk(maps: Float64, probs: Float64) -> Float64:
    """The published walk from the origin, which is not stored.

    Args:
        maps: Coefficients, weights included, [M, 12].
        probs: Probabilities of the maps, [M].

    Returns:
        Points, [9999, 3]. They may overflow to infinities and NaN.
    """
    bounds = np.cumsum(probs)[:-1]
    points = np.empty((NUM_POINTS - 1, 3))
    x = y = z = 0.0
    systems, chosen = maps.tolist(), (uniforms()[:, None] > bounds).sum(1)
    for step, number in enumerate(chosen.tolist()):
        a, b, c, d, e, f, g, h, i, j, k, m = systems[number]
        x, y, z = (
            a * x + b * y + c * z + j,
            d * x + e * y + f * z + k,
            g * x + h * y + i * z + m,
        )
        points[step] = x, y, z
    return points


def frame(points: Float64) -> Float64:  # [4]
    """How a walk is normalised: a point p goes to scale * p + shift; NaN where it diverges.

    The published centroid divides the sum of 9,999 points by 10,000.

    Args:
        points: Of the walk, [9999, 3].

    Returns:
        scale, and shift in x, y and z.
    """
    with np.errstate(all="ignore"):
        scale, corner = _box(points)
        # one after another, as the compiled walk adds them
        sums = np.cumsum(points, 0)[-1]
        shift = corner - (scale * sums + len(points) * corner) / NUM_POINTS
    values = np.array([scale, *shift])
    bounded = np.isfinite(values).all() and scale > 2 / MAX_EXTENT
    return values if bounded else np.full(4, np.nan)


def spread(points: Float64) -> Float64:  # [3]
    """The variance of a walk on each axis, scaled to [-1, 1]; NaN where it overflows."""
    with np.errstate(all="ignore"):
        scale, corner = _box(points)
        # scaled before they are squared: a diverging walk may reach 1e300
        scaled = scale * points + corner
        means = np.cumsum(scaled, 0)[-1] / len(points)
        variances: Float64 = np.cumsum((scaled - means) ** 2, 0)[-1] / len(points)
    return variances


def _box(points: Float64) -> tuple[float, float]:
    """What the coordinates are multiplied by, and then added to them, to fill [-1, 1]."""
    scale = 2 / (points.max() - points.min())
    return scale, -1 - scale * points.min()
