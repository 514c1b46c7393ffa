"""Compiled random words: the definitions of `fdsl_gpu.rng`, bit for bit.

Every uint32 operation is cast: Numba widens to 64 bits, which halves a vector loop.
"""

from __future__ import annotations

from numba import uint32, uint64

from fdsl_gpu.backends.numba.compiling import compiled

__all__ = ["mix_lanes", "philox"]


@compiled
def philox(seed, index, draw, purpose):
    """`fdsl_gpu.rng.philox` of scalars: four words."""
    key0, key1 = uint32(seed), uint32(seed >> uint64(32))
    c0, c1, c2, c3 = uint32(index), uint32(index >> uint64(32)), uint32(draw), uint32(purpose)
    for _ in range(10):
        product0, product1 = uint64(c0) * uint64(0xD2511F53), uint64(c2) * uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            uint32(uint32(product1 >> uint64(32)) ^ c1 ^ key0),
            uint32(product1),
            uint32(uint32(product0 >> uint64(32)) ^ c3 ^ key1),
            uint32(product0),
        )
        key0, key1 = uint32(key0 + uint32(0x9E3779B9)), uint32(key1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


@compiled
def mix_lanes(values, key0, key1):
    """`fdsl_gpu.rng.mix` of sixteen words."""
    h = values ^ key0
    h = (h ^ (h >> 16)) * 0x7FEB352D ^ key1
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)
