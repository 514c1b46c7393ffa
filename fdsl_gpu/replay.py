"""What the published renderer draws: the geometry of any image of FractalDB-1k, computed again."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.tables import load_shipped_table

__all__ = ["replay_fractaldb"]

MIN_IMAGE_SIZE: Final = 2 * fractaldb.PAD + 1
MAX_IMAGE_SIZE: Final = 8192
MAX_POINTS: Final = 10**7


def replay_fractaldb(
    category: int,
    weight_row: int,
    *,
    image_size: int = 362,
    num_points: int = fractaldb.NUM_POINTS,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:  # [H, W], [H, W]
    """What the published renderer hits and covers for one category and weight row.

    Its walk (float64, seed 100), its NaN rule, its rescale, its patches at +1..+3 and its
    top-bottom flip; the padding is the published 6 pixels at every size. The patches' random masks
    are left out: of the covered pixels the renderer lights about half.

    Args:
        category: Number of the category in FractalDB-1k, 0..999.
        weight_row: Number of the weight row, 0..24; row 2 is the unweighted category.
        image_size: Side of the image in pixels, in [13, 8192].
        num_points: Points of the walk, in [1, 10**7].

    Returns:
        The pixels that points hit and the pixels that some 3x3 patch covers, both bool.

    Raises:
        ValueError: A number is out of range.

    Source:
        Kataoka et al., IJCV 2022, section 3.3; FractalDB-Pretrained-ResNet-PyTorch,
        fractal_renderer.

    Example:
        >>> points, coverage = replay_fractaldb(0, 2, image_size=64, num_points=2000)
        >>> points.shape, bool(points.sum() < coverage.sum())
        ((64, 64), True)
    """
    from fdsl_gpu.backends.numba.fractaldb import walk

    table = load_shipped_table("fractaldb-1k")
    bounds = {
        "category": (category, 0, len(table.maps) - 1),
        "weight_row": (weight_row, 0, len(table.weights) - 1),
        "image_size": (image_size, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE),
        "num_points": (num_points, 1, MAX_POINTS),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise ValueError(f"{name} must be in [{least}, {most}], got {value}")
    own = slice(table.num_maps[category])
    maps = table.maps[category, own] * table.weights[weight_row]
    x, y = walk(maps, table.probs[category, own], fractaldb.walk_uniforms(num_points))
    hit = fractaldb.canvas(x, y, image_size)
    return hit[::-1].copy(), fractaldb.coverage(hit)[::-1].copy()
