"""Balanced labels: every consecutive block of K indices holds each category once, in a keyed order.

The order of a block is a bijection of [0, K) that any position can be looked up in, so nothing is
shuffled or stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.rng import VALIDATION_INDEX, Purpose, philox

__all__ = ["balanced_labels"]

# which two of a block's four key words each round hashes with: an even number of rounds, so that
# halves of unequal width end up in place
_ROUND_KEYS = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3))


def balanced_labels(
    indices: NDArray[np.uint64],  # [N]
    seed: int,
    num_classes: int,
) -> NDArray[np.int64]:  # [N]
    """The label of each sample.

    A Feistel network permutes the smallest power of two that holds [0, K); a value outside is sent
    through again until it is inside (cycle walking), which leaves a bijection of [0, K).

    Args:
        indices: Sample indices; those of the validation split start at 2**63 and have blocks of
            their own.
        seed: Seed of everything random.
        num_classes: K, at least 1.

    Returns:
        Labels in [0, K).

    Source:
        Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002, sections 2 and 3.

    Example:
        >>> sorted(balanced_labels(np.arange(5, 10, dtype=np.uint64), 0, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    size = np.uint64(num_classes)
    split = indices & np.uint64(VALIDATION_INDEX)
    block, position = np.divmod(indices - split, size)
    # a batch touches few blocks, and a block has one order
    blocks, which = np.unique(block | split, return_inverse=True)
    keys = philox(seed, blocks, 0, Purpose.LABEL_ORDER)[:, which]  # [4, N]
    bits = max(int(num_classes - 1).bit_length(), 2)
    values = _feistel(position.astype(np.uint32), keys, bits)
    outside = np.flatnonzero(values >= num_classes)
    while outside.size:
        values[outside] = _feistel(values[outside], keys[:, outside], bits)
        outside = outside[values[outside] >= num_classes]
    return values.astype(np.int64)


def _feistel(values: NDArray[np.uint32], keys: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """A keyed bijection of [0, 2**bits)."""
    width_left, width_right = bits // 2, bits - bits // 2
    left, right = values >> np.uint32(width_right), values & np.uint32(2**width_right - 1)
    for first, second in _ROUND_KEYS:
        product = (right ^ keys[first]) * (keys[second] | np.uint32(1))
        product = (product ^ (product >> np.uint32(15))) * np.uint32(0x846CA68B)
        left, right = right, left ^ (product >> np.uint32(32 - width_left))
        width_left, width_right = width_right, width_left
    return (left << np.uint32(width_right)) | right
