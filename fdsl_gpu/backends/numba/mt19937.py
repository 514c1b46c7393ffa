"""NumPy's legacy generator (MT19937), compiled: the stream that the published search draws from.

A candidate's walk consumes 200,000 words, whether or not anyone looks at them. Moving a state on
costs a quarter of giving its numbers out, so one thread runs ahead along the stream and leaves each
candidate a copy of the state to draw its own numbers from.

Definition: np.random.RandomState (randint, uniform, random_sample). A state is its 624 words and a
position in them.

Source: Matsumoto and Nishimura, Mersenne Twister, ACM TOMACS 8(1), 1998.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.fractaldb import Float64, probabilities

__all__ = ["WORDS", "advance", "candidate", "doubles", "seeded"]

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
u32 = np.uint32

WORDS: Final = 624
"""Words of a state."""


def seeded(seed: int) -> tuple[NDArray[np.uint32], int]:
    """State and position of `np.random.RandomState(seed)`."""
    state: Any = np.random.RandomState(seed).get_state(legacy=False)
    return state["state"]["key"], state["state"]["pos"]


@compiled
def advance(key, position, num_words):
    """Move a state on without giving its words out; returns the new position."""
    position += num_words
    while position > WORDS:
        _twist(key)
        position -= WORDS
    return position


@compiled
def doubles(key, position, words, out):
    """Fill `out` as random_sample does, moving the state on; returns the new position.

    `words` is scratch, uint32 of at least 2 * out.size.
    """
    needed, filled = 2 * out.size, 0
    while filled < needed:
        if position == WORDS:
            _twist(key)
            position = 0
        num = min(needed - filled, WORDS - position)
        source, target = key[position : position + num], words[filled : filled + num]
        for k in range(num):
            target[k] = _tempered(source[k])
        position += num
        filled += num
    for k in range(out.size):
        high, low = words[2 * k] >> u32(5), words[2 * k + 1] >> u32(6)
        out[k] = (np.float64(high) * 67108864.0 + np.float64(low)) / 9007199254740992.0
    return position


def candidate(
    key: NDArray[np.uint32],
    position: int,
    num_maps: tuple[int, int],
    coefficients: tuple[float, float],
) -> tuple[Float64, Float64, int]:
    """`fractaldb.candidate`: maps [M, 6], probabilities [M], and the new position in the state."""
    low, high = coefficients
    maps, position = _candidate_maps(key, position, *num_maps, float(low), float(high))
    return maps, probabilities(maps), position


@compiled
def _candidate_maps(key, position, least, most, low, high):
    num_maps = least
    if most > least:  # with a single choice, randint draws nothing
        mask = u32(1)
        while mask < u32(most - least):
            mask = u32(u32(mask << u32(1)) | u32(1))
        word = u32(0xFFFFFFFF)
        while word > u32(most - least):
            if position == WORDS:
                _twist(key)
                position = 0
            word = u32(_tempered(key[position]) & mask)
            position += 1
        num_maps += word
    maps = np.empty(num_maps * 6)
    position = doubles(key, position, np.empty(maps.size * 2, np.uint32), maps)
    return (low + (high - low) * maps).reshape(-1, 6), position


@compiled
def _twist(key):
    # split where word k + 397 wraps around: loops without it vectorise
    for k in range(227):
        key[k] = key[k + 397] ^ _mixed(key[k], key[k + 1])
    for k in range(396):
        key[k + 227] = key[k] ^ _mixed(key[k + 227], key[k + 228])
    key[623] = key[396] ^ _mixed(key[623], key[0])


@compiled
def _mixed(word, following):
    joined = u32(u32(word & u32(0x80000000)) | u32(following & u32(0x7FFFFFFF)))
    odd = u32(u32(0) - u32(following & u32(1)))
    return u32(u32(joined >> u32(1)) ^ u32(odd & u32(0x9908B0DF)))


@compiled
def _tempered(word):
    word = u32(word ^ u32(word >> u32(11)))
    word = u32(word ^ u32(u32(word << u32(7)) & u32(0x9D2C5680)))
    word = u32(word ^ u32(u32(word << u32(15)) & u32(0xEFC60000)))
    return u32(word ^ u32(word >> u32(18)))
