"""Small Bézier curves that every backend must draw alike, and how they are compared."""

import numpy as np

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.bezier import BezierFormula

INDICES = np.array([0, 3, 2**33 + 1, 2**62 + 7, 2**63 + 3], np.uint64)

# name -> (formula, image size); one block of 32 vertices and several, images smaller than the
# curves, curves of one pixel
CASES = {
    "several curves": (BezierFormula(num_strokes=3), 61),
    "tiny": (BezierFormula(num_strokes=2), 3),
    "lines": (BezierFormula(min_points=2, max_points=2, num_vertices=2, num_strokes=5), 33),
    "wild": (
        BezierFormula(max_points=5, num_vertices=33, num_strokes=3, spread=9.0, stroke_jitter=2.0),
        40,
    ),
    "many points": (
        BezierFormula(min_points=20, max_points=32, num_vertices=100, num_strokes=3),
        47,
    ),
    "white": (BezierFormula(background=200, max_gray=0, jitter=0.0, num_strokes=1), 32),
    "dots": (BezierFormula(spread=0.0, jitter=0.3, stroke_jitter=0.0, num_strokes=2), 5),
}


def samples_of(case, indices=INDICES, seed=2**40 + 3):
    """Samples of a case."""
    formula, image_size = CASES[case]
    return formula.instance(indices, seed, View(image_size))


def blank(samples, channels=1):
    """Images full of what must not shine through."""
    size = samples.image_size
    return np.full((len(samples.label), channels, size, size), 77, np.uint8)


def defined(samples, channels=1):
    """Images as the definition draws them."""
    images = blank(samples, channels)
    BezierFormula().draw_numpy(samples, images)
    return images
