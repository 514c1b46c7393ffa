"""1p-frac: one fractal, a thousand perturbations of it, each a category of its own.

Source: Nakamura, Yamada, Inoue, Kataoka et al., Scaling Backwards: Minimal Synthetic Pre-training?,
ECCV 2024, section 3; its published generator (1p-frac) for what the paper leaves open.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.sigma_factor import sample_system
from fdsl_gpu.rng import Purpose, philox, uniform

__all__ = ["LIT_SHARE", "NUM_POINTS", "SIZE", "base_system", "perturbed"]

Float64 = NDArray[np.float64]

NUM_MAPS: Final = 2
NUM_POINTS: Final = 100_000
"""Points of a published image."""
SIZE: Final = 512
"""Side of a published image."""
LIT_SHARE: Final = 0.05
"""A perturbation is kept if more than this share of its published image is lit."""


def base_system(sigma: float, seed: int) -> tuple[Float64, Float64]:
    """The one fractal: maps [2, 6] and probabilities [2] in proportion to the determinants.

    Args:
        sigma: Centre of the sigma factor, which is drawn from [sigma - 0.1, sigma + 0.1).
        seed: Seed of the fractal; the published generator has none and makes another at every run.

    Raises:
        ValueError: sigma leaves no room for two contracting maps.

    Example:
        >>> maps, probs = base_system(3.5, seed=0)
        >>> maps.shape, float(probs.sum())
        ((2, 6), 1.0)
    """
    if not 0.1 < sigma < 3 * NUM_MAPS - 0.1:
        raise ValueError(f"sigma must be in (0.1, {3 * NUM_MAPS - 0.1}), got {sigma}")
    word = philox(seed, 1, 0, Purpose.INSTANCE)[:1]
    factor = float(uniform(word, sigma - 0.1, sigma + 0.1)[0])
    maps = sample_system(NUM_MAPS, factor, seed, 0)
    a, b, c, d = maps.T[:4]
    areas = np.abs(a * d - b * c)
    return maps, areas / areas.sum()


def perturbed(maps: Float64, delta: float, seed: int, category: int, attempt: int) -> Float64:
    """The maps of a category: each of the twelve coefficients times its own factor.

    Args:
        maps: The one fractal, [2, 6].
        delta: Factors are drawn from [1 - delta, 1 + delta), delta in (0, 1).
        seed: Seed of the perturbations.
        category: Number of the category.
        attempt: 0, or how many perturbations of this category were refused.

    Raises:
        ValueError: delta is out of range.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    words = philox(seed, category + 1, 3 * attempt + np.arange(3), Purpose.CATEGORY)
    return maps * uniform(words.T.reshape(NUM_MAPS, 6), 1 - delta, 1 + delta)
