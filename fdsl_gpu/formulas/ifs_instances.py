"""Which instances a 2D IFS draws beside fresh ones: exactly the published, or weights at will."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.labels import image_numbers
from fdsl_gpu.rng import WALK_INDEX, Purpose, philox, uniform

__all__ = ["continuous_weights", "published_instances"]

Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]


def published_instances(
    indices: UInt64,  # [N]
    label: Int64,  # [N]
    seed: int,
    counts: tuple[int, int, int, int],
) -> tuple[Int64, Int64, UInt64, NDArray[np.uint32]]:
    """The published images, each once in an epoch; one walk for each (category, weight row).

    Args:
        indices: Sample indices.
        label: Category of each.
        seed: Seed of the order, the walks and the patches.
        counts: Categories, weight rows of each, patch draws of each of these, turns of each draw.

    Returns:
        Weight row, turn and walk index [N], and patch words [4, N].
    """
    num_classes, num_rows, num_patches, num_turns = counts
    number = image_numbers(indices, label, seed, num_classes, num_rows * num_patches * num_turns)
    drawing, turn = np.divmod(number, num_turns)
    weight_row, patch = np.divmod(drawing, num_patches)
    geometry = label * num_rows + weight_row
    walk_index = np.uint64(WALK_INDEX) + geometry.astype(np.uint64)
    # the turns of a drawing share its patches, as the published renderer saves them
    redrawn = np.uint64(WALK_INDEX) + (geometry * num_patches + patch).astype(np.uint64)
    return weight_row, turn, walk_index, philox(seed, redrawn, 0, Purpose.PATCH)


def continuous_weights(indices: UInt64, seed: int, step: float) -> NDArray[np.float64]:  # [N, 6]
    """A factor in [1 - 2 step, 1 + 2 step) for each of the six coefficients of a sample's maps.

    The published rows are the corners of this: one coefficient at a time, by 1 ± step or 2 step.

    Args:
        indices: Sample indices, [N].
        seed: Seed of the factors.
        step: The published 0.4, or another in (0, 0.5].
    """
    words = philox(seed, indices, np.array([[1], [2]]), Purpose.INSTANCE)  # [4, 2, N]
    words = words.swapaxes(0, 1).reshape(8, -1)[:6].T
    return uniform(words, 1 - 2 * step, 1 + 2 * step)
