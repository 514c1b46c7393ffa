"""Samples of Perlin noise that every backend must draw alike, quick to draw slowly."""

import numpy as np
import torch

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.perlin import PerlinFormula

# past 32 bits, the last of the training split, and one of the validation split
INDICES = np.array([0, 77, 2**33 + 5, 2**62 - 1, 2**63 + 4], np.uint64)

# name -> image size, settings of the formula; sizes around a tile of pixels
CASES = {
    "published": (31, {}),
    "a_thousand": (65, {"num_frequencies": 32, "num_categories": 1000}),
    "octaves": (33, {"num_octaves": 8, "persistence": 0.7}),
    "one_cell": (64, {"num_frequencies": 1, "min_frequency": 1.0}),
    "many_cells": (40, {"min_frequency": 500.0, "max_frequency": 1024.0, "num_octaves": 3}),
    "smallest": (3, {"num_octaves": 2}),
}


def instance(name):
    """The samples of a case."""
    size, settings = CASES[name]
    return PerlinFormula(**settings).instance(INDICES, 2**63 + 2**33 + 5, View(size))


def defined(samples, channels=3):
    """The definition's images, uint8 [N, C, H, W]."""
    images = np.full((len(samples.label), channels, *[samples.image_size] * 2), 77, np.uint8)
    PerlinFormula().draw_numpy(samples, images)
    return torch.from_numpy(images)
