"""Contractive systems by singular values: the sampler of sigma-factor fractals and of 1p-frac.

Every map is A = R(theta) D diag(s1, s2) R(phi) D' with rotations R, random signs D and singular
values 1 >= s1 >= s2 >= 0, so it contracts. The sigma factor of a system, the sum of s1 + 2 s2 over
its maps, is given: it decides how much of the frame the attractor fills.

Source: Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, section 3.2 and appendix;
its published sampler (fractal-pretraining, ifs.py) for the order of the draws.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.rng import Purpose, philox, uniform

__all__ = ["sample_system", "sigma_factor"]

Float64 = NDArray[np.float64]


def sample_system(num_maps: int, factor: float, seed: int, category: int) -> Float64:  # [M, 6]
    """A random contractive system with this sigma factor.

    Singular values are drawn one after another, each within what the rest can still make up for.
    This is the published sampler: it is quick and always succeeds, and is not uniform.

    Args:
        num_maps: M, at least 2.
        factor: Sum of s1 + 2 s2 over the maps, in (0, 3 M).
        seed: Seed of the system.
        category: Number of the system under this seed.

    Returns:
        Coefficients (a, b, c, d, e, f) of each map, float64 [M, 6]; translations in [-1, 1).

    Raises:
        ValueError: num_maps or factor is out of range.

    Source:
        Anderson and Farrell, WACV 2022, section 3.2.

    Example:
        >>> system = sample_system(3, 4.2, seed=0, category=7)
        >>> system.shape, round(sigma_factor(system), 6)
        ((3, 6), 4.2)
    """
    if num_maps < 2:
        raise ValueError(f"num_maps must be at least 2, got {num_maps}")
    if not 0 < factor < 3 * num_maps:
        raise ValueError(f"factor must be in (0, {3 * num_maps}), got {factor}")
    # three draws of four words a map: two singular values, two angles, four signs, a translation
    words = philox(seed, category, np.arange(3 * num_maps), Purpose.CATEGORY)
    words = words.T.reshape(num_maps, 12)
    values = _singular_values(uniform(words[:, :2]), num_maps, factor)
    angles = uniform(words[:, 2:4], -math.pi, math.pi)
    signs = np.where(words[:, 4:8] >> np.uint32(31), 1.0, -1.0)
    maps = np.empty((num_maps, 6))
    for k in range(num_maps):
        left = _rotation(angles[k, 0]) * signs[k, :2]
        right = _rotation(angles[k, 1]) * signs[k, 2:]
        # sums of two products, written out: a matrix product may round otherwise elsewhere
        scaled = left * values[k]
        maps[k, :4] = [
            scaled[i, 0] * right[0, j] + scaled[i, 1] * right[1, j]
            for i in range(2)
            for j in range(2)
        ]
    maps[:, 4:] = uniform(words[:, 8:10], -1, 1)
    return maps


def sigma_factor(maps: Float64) -> float:
    """The sum of s1 + 2 s2 over the maps of a system, s1 >= s2 its singular values."""
    singular = np.linalg.svd(maps[:, :4].reshape(-1, 2, 2), compute_uv=False)
    return float((singular * (1, 2)).sum())


def _singular_values(positions: Float64, num_maps: int, factor: float) -> Float64:  # [M, 2]
    """Singular values (s1, s2) of each map; positions in [0, 1) place them in their ranges."""
    values = np.empty((num_maps, 2))
    rest = factor  # what the maps from here on have to sum to
    least = factor - 3 * num_maps + 3  # what this map needs if all later ones are at their most
    for k, (first, second) in enumerate(positions[:-1]):
        large = _between(max(0.0, least / 3), min(1.0, rest), first)
        low, high = max(0.0, (least - large) / 2), min(large, (rest - large) / 2)
        small = _between(low, high, second)
        values[k] = large, small
        rest -= large + 2 * small
        least += 3 - large - 2 * small
    small = _between(max(0.0, (rest - 1) / 2), rest / 3, positions[-1, 1])
    values[-1] = rest - 2 * small, small
    return values


def _between(low: float, high: float, position: float) -> float:
    return low + (high - low) * position


def _rotation(angle: float) -> Float64:
    """A rotation matrix in steps of 2**-40, below which C libraries' sines may differ."""
    cosine, sine = (round(f(angle) * 2**40) / 2**40 for f in (math.cos, math.sin))
    return np.array([[cosine, -sine], [sine, cosine]])
