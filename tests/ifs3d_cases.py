"""Samples of the 3D IFS that take every path through a drawing, small enough to be drawn slowly."""

import dataclasses

import numpy as np

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula, Ifs3dTable

# one whole block of seven labels, so each number of maps from 2 to 8; then more than 32 bits
EVERY_NUM_MAPS = np.arange(7, dtype=np.uint64)
LARGE = np.array([2**33 + 5, 2**62 - 1, 2**63 + 4], np.uint64)


def contracting_table_3d(seed=7):
    """One contracting category for each number of maps from 2 to 8, with three weight rows."""
    random = np.random.default_rng(seed)
    maps, probs = np.full((7, 8, 12), np.nan), np.zeros((7, 8))
    for category, count in enumerate(range(2, 9)):
        maps[category, :count, :9] = random.uniform(-0.45, 0.45, (count, 9))
        maps[category, :count, 9:] = random.uniform(-1, 1, (count, 3))
        probs[category, :count] = random.dirichlet(np.ones(count))
    weights = np.ones((3, 12))
    weights[1:, 0] = 0.6, 1.4
    frames = np.tile([0.4, 0.02, -0.03, 0.01], (7, 3, 1))
    return Ifs3dTable(maps, probs, weights, frames)


# name -> view, settings of the formula
CASES = {
    "published": (View(31), {}),
    "equator": (View(64), {"views": "equator12", "num_walks": 256, "num_points": 1000}),
    "stored": (View(33), {"views": "equator12", "walks": "fixed", "burn_in": 0}),
    "patches": (View(65), {"drawing": "patch_color", "num_walks": 512}),
    "turned": (View(40, 57, crop="random", rot90=True, hflip=0.5), {"drawing": "patch_white"}),
    "window": (View(24, crop="resized", rotation=(-30, 30), rot90=True), {"num_points": 700}),
    "smallest": (View(3), {"num_points": 1}),
}


def instance(name):
    """The samples of a case."""
    if name == "diverging":
        return diverging()
    view, settings = CASES[name]
    formula = Ifs3dFormula(contracting_table_3d(), **{"num_points": 1500, **settings})
    indices = np.concatenate([EVERY_NUM_MAPS, LARGE])
    return formula.instance(indices, 2**63 + 2**33 + 5, view)


def diverging():
    """Points too near and too far for the camera, overflows and NaN; and one as it should be."""
    formula = Ifs3dFormula(contracting_table_3d(), num_points=2000, burn_in=0)
    samples = formula.instance(EVERY_NUM_MAPS, 1, View(24))
    maps = samples.maps.copy()
    maps[0] *= 3
    maps[1] *= np.float32(1e8)
    maps[2] = np.nan
    maps[3, :, 11] -= 2  # nearer
    maps[4, :, 11] += 90  # farther
    maps[5, :, :3] = 0
    maps[5, :, 9] = 0  # on the plane through the camera
    return dataclasses.replace(samples, maps=maps)


ALL = (*CASES, "diverging")
