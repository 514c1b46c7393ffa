"""Samples of sigma-factor fractals that take every path through a drawing, quick to draw slowly."""

import numpy as np

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula

# past 32 bits, the last of the training split, and one of the validation split
INDICES = np.array([0, 1, 2**33 + 5, 2**62 - 1, 2**63 + 4], np.uint64)

# name -> image size, settings of the formula
CASES = {
    "published": (31, {"num_points": 2000}),
    "several": (64, {"fractals": (1, 5), "jitter": "none", "num_points": 700}),
    "crowded": (33, {"fractals": (6, 8), "max_size": 1.0, "num_points": 300, "num_walks": 128}),
    "many_maps": (40, {"min_maps": 5, "max_maps": 8, "background": "black", "jitter": "svd"}),
    "one_point": (17, {"num_points": 1, "num_walks": 512, "burn_in": 0, "window": "whole"}),
    "blurred": (35, {"blur": 0.7, "num_points": 700}),
    "smallest": (3, {"num_points": 300, "jitter": "fractaldb", "blur": 1.0}),
}


def formula(name):
    """The formula of a case."""
    return GradedIfsFormula(**{"num_categories": 50, "num_points": 1500, **CASES[name][1]})


def instance(name, count=5):
    """The last so many samples of a case."""
    return formula(name).instance(INDICES[-count:], 2**63 + 2**33 + 5, View(CASES[name][0]))


def defined(samples):
    """The definition's images, uint8 [N, 3, H, W]."""
    shape = (len(samples.label), 3, samples.image_size, samples.image_size)
    images = np.full(shape, 77, np.uint8)
    GradedIfsFormula().draw_numpy(samples, images)
    return images
