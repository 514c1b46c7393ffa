"""Balanced labels: every consecutive block of K indices holds each category once, in a keyed order.

The order of a block is a bijection of [0, K) that any position can be looked up in, so nothing is
shuffled or stored.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.rng import VALIDATION_INDEX, Purpose, philox

__all__ = ["balanced_labels", "image_numbers", "keyed_order"]

# which two of a block's four key words each round hashes with: an even number of rounds, so that
# halves of unequal width end up in place
_ROUND_KEYS = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3))


def balanced_labels(
    indices: NDArray[np.uint64],  # [N]
    seed: int,
    num_classes: int,
) -> NDArray[np.int64]:  # [N]
    """The label of each sample.

    Args:
        indices: Sample indices; those of the validation split start at 2**63 and have blocks of
            their own.
        seed: Seed of everything random.
        num_classes: K, at least 1.

    Returns:
        Labels in [0, K).

    Example:
        >>> sorted(balanced_labels(np.arange(5, 10, dtype=np.uint64), 0, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    split = indices & np.uint64(VALIDATION_INDEX)
    block, position = np.divmod(indices - split, np.uint64(num_classes))
    return keyed_order(position, block | split, seed, Purpose.LABEL_ORDER, num_classes)


def image_numbers(
    indices: NDArray[np.uint64],  # [N]
    labels: NDArray[np.int64],  # [N]
    seed: int,
    num_classes: int,
    num_images: int,
) -> NDArray[np.int64]:  # [N]
    """Which of a category's images each sample is, where a category has finitely many.

    Every num_classes * num_images consecutive indices hold each image of each category once.

    Args:
        indices: Sample indices.
        labels: Their labels, from `balanced_labels`.
        seed: Seed of everything random.
        num_classes: K.
        num_images: Images of a category.

    Returns:
        Numbers in [0, num_images).
    """
    split = indices & np.uint64(VALIDATION_INDEX)
    block = (indices - split) // np.uint64(num_classes)
    epoch, position = np.divmod(block, np.uint64(num_images))
    order = (epoch * np.uint64(num_classes) + labels.astype(np.uint64)) | split
    return keyed_order(position, order, seed, Purpose.IMAGE_ORDER, num_images)


def keyed_order(
    positions: NDArray[np.uint64], orders: NDArray[np.uint64], seed: int, purpose: int, size: int
) -> NDArray[np.int64]:
    """What stands at each position, in [0, size), of the keyed order with this number.

    A Feistel network permutes the smallest power of two that holds [0, size); a value outside is
    sent through again until it is inside (cycle walking), which leaves a bijection of [0, size).

    Args:
        positions: Positions in [0, size), [N].
        orders: Number of the order that each is a position in, [N].
        seed: Seed of everything random.
        purpose: What the orders are for.
        size: Length of each order.

    Source:
        Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002, sections 2 and 3.
    """
    keys = _order_keys(orders, seed, purpose)
    bits = max(int(size - 1).bit_length(), 2)
    values = _feistel(positions.astype(np.uint32), keys, bits)
    outside = np.flatnonzero(values >= size)
    while outside.size:
        values[outside] = _feistel(values[outside], keys[:, outside], bits)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _order_keys(orders: NDArray[np.uint64], seed: int, purpose: int) -> NDArray[np.uint32]:
    """Four key words of each order, [4, N]. A batch touches one or two, whose words are kept."""
    first, last = (int(orders.min()), int(orders.max())) if orders.size else (0, 0)
    if last - first >= 4:
        return philox(seed, orders, 0, purpose)
    kept = np.stack([_keys_of(number, seed, purpose) for number in range(first, last + 1)], 1)
    return kept[:, (orders - np.uint64(first)).astype(np.intp)]


@lru_cache(maxsize=64)
def _keys_of(order: int, seed: int, purpose: int) -> NDArray[np.uint32]:  # [4]
    return philox(seed, order, 0, purpose)


def _feistel(values: NDArray[np.uint32], keys: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """A keyed bijection of [0, 2**bits)."""
    width_left, width_right = bits // 2, bits - bits // 2
    left, right = values >> np.uint32(width_right), values & np.uint32(2**width_right - 1)
    odd = keys | np.uint32(1)
    for first, second in _ROUND_KEYS:
        product = (right ^ keys[first]) * odd[second]
        product ^= product >> np.uint32(15)
        product *= np.uint32(0x846CA68B)
        left, right = right, left ^ (product >> np.uint32(32 - width_left))
        width_left, width_right = width_right, width_left
    return (left << np.uint32(width_right)) | right
