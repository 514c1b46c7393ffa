"""Tables of 1p-frac: draw perturbations of one fractal and keep those that fill enough of an image.

`python -m fdsl_gpu.one_p_frac FOLDER` makes the tables that come with the package.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from fdsl_gpu.backends.numba.fractaldb import walk
from fdsl_gpu.formulas.fractaldb import canvas, coverage, drop_nan, frame, walk_uniforms
from fdsl_gpu.formulas.ifs_table import IfsTable
from fdsl_gpu.formulas.one_p_frac import LIT_SHARE, NUM_POINTS, SIZE, base_system, perturbed
from fdsl_gpu.tables import save_ifs_table

__all__ = ["DELTAS", "one_p_frac_table"]

DELTAS: Final = (0.01, 0.05, 0.1, 0.2)
"""Sizes of the perturbation that the published table compares."""
MAX_ATTEMPTS: Final = 100


def one_p_frac_table(
    *, num_classes: int = 1000, sigma: float = 3.5, delta: float = 0.1, seed: int = 0
) -> IfsTable:
    """The categories of 1p-frac: perturbations of one fractal, framed by the published walk.

    Args:
        num_classes: Categories.
        sigma: Sigma factor of the fractal, 3.5 in the paper.
        delta: Size of the perturbations, 0.1 in the paper.
        seed: Seed of the fractal and of its perturbations.

    Raises:
        ValueError: An argument is out of range, or some category fills too little of its image
            however often it is drawn again.

    Source:
        Nakamura et al., ECCV 2024, section 3.
    """
    base, probs = base_system(sigma, seed)
    uniforms = walk_uniforms(NUM_POINTS)
    maps, boxes = np.empty((num_classes, *base.shape)), np.empty((num_classes, 1, 4))
    for category in range(num_classes):
        for attempt in range(MAX_ATTEMPTS):
            maps[category] = perturbed(base, delta, seed, category, attempt)
            x, y = walk(maps[category], probs, uniforms)
            # a covered pixel is lit by 256 of the 511 masks
            lit = coverage(canvas(x, y, SIZE)).mean() * 256 / 511
            if lit > LIT_SHARE:
                break
        else:
            raise ValueError(
                f"category {category} lights at most {LIT_SHARE} of its image in {MAX_ATTEMPTS} "
                f"perturbations of delta {delta}; choose another seed or a larger sigma"
            )
        boxes[category, 0] = frame(*drop_nan(x, y))
    return IfsTable(maps, np.tile(probs, (num_classes, 1)), np.ones((1, 6)), boxes)


if __name__ == "__main__":
    for size in DELTAS:
        save_ifs_table(
            Path(sys.argv[1]) / f"1p-frac-{size}.safetensors",
            one_p_frac_table(delta=size),
            sigma=3.5,
            delta=size,
            seed=0,
        )
