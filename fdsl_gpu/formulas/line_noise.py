"""Perlin noise on a line at a random place: its distribution, without its lattice.

The published programs of RCDB, VisualAtom and SegRCDB ask for one-dimensional Perlin noise at an
independent uniform place for each vertex, so neighbouring vertices share nothing and only the
distribution of one value matters: an interval of the lattice and a place in it, from one word.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["gradients", "line_noise"]

# the low four bits of the 256 entries of Perlin's permutation, all that one dimension reads
_PERMUTATION = (
    "709baf3d9f052971c47e5e83505a7e6478ab0a5eecbb53b09118d587e4d8b84f"
    "a576b0b6d2e73f5ac356c9c97e5846f619f118091c4b092984724cf644d6da30"
    "492acb5a636ef254feb3f0a16dcaf7a57882ca36d95b7bc9167d32cef1082908"
    "a614b221e20cf321131b9efb106f57ad84c0392df46eacdde23d883d03e27dc4"
)


@lru_cache(maxsize=1)
def gradients() -> NDArray[np.float32]:  # [257]
    """The gradient at each point of the lattice, 1 .. 8 or -1; the last repeats the first.

    The published noise function has -1 where the reference implementation has -1 .. -8.
    """
    entries = [int(entry, 16) for entry in _PERMUTATION + _PERMUTATION[0]]
    return np.array([-1 if entry & 8 else 1 + entry for entry in entries], np.float32)


def line_noise(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Noise at a uniform place of the lattice, without the factor 0.4 that the noise ends with.

    The high eight bits of a word choose the interval, the other 24 the place t in it; between the
    gradients g and h of its ends the noise is g t + (6t^5 - 15t^4 + 10t^3) (h (t - 1) - g t).

    Args:
        words: Random words, uint32, any shape.

    Returns:
        float32 in [-2.381, 2.381]; times 0.4 it has mean 0 and standard deviation 0.329.

    Source:
        Perlin, Improving Noise, SIGGRAPH 2002; `pnoise1` of the Python package noise.

    Example:
        >>> line_noise(np.array([0, 2**23, 2**31], np.uint32))
        array([ 0. , 1.75, 0. ], dtype=float32)
    """
    table = gradients()
    interval = (words >> np.uint32(24)).astype(np.int64)
    t = (words & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)
    near = table[interval] * t
    far = table[interval + 1] * (t - np.float32(1))
    fade = t * t * t * (t * (t * np.float32(6) - np.float32(15)) + np.float32(10))
    return near + fade * (far - near)
