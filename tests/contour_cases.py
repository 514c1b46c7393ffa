"""Small contours that every backend must draw alike, and how they are compared."""

import dataclasses

import numpy as np

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contours import RCDB, SEG_RCDB, VISUAL_ATOM

NAMES = ["rcdb-1k", "rcdb-21k", "visualatom-1k", "visualatom-1k-argparse", "visualatom-21k"]
SMALL = {"min_vertices": 3, "max_vertices": 70, "mean_vertices": None, "max_orbits": 9}
INDICES = 2**33 + np.arange(5, dtype=np.uint64)

# name -> (formula, image size or view); polygons of one block of 32 lines and of several, images
# smaller than the contours, noise that sends lines across the whole canvas
CASES = {
    "rcdb": (dataclasses.replace(RCDB, **SMALL), 40),
    "tiny": (dataclasses.replace(RCDB, **SMALL), 3),
    "visualatom": (dataclasses.replace(VISUAL_ATOM, **SMALL), 61),
    "wild": (dataclasses.replace(VISUAL_ATOM, **SMALL, max_noise=40.0, noise_factor=8.0), 33),
    "triangles": (dataclasses.replace(RCDB, **(SMALL | {"max_vertices": 3})), 64),
    "points": (
        dataclasses.replace(
            RCDB, **SMALL, max_noise=0.0, max_growth=0.0, min_radius=0, max_radius=0
        ),
        32,
    ),
    **{
        f"segrcdb_{mask}": (dataclasses.replace(SEG_RCDB, **SMALL, mask=mask), 48)
        for mask in ("M1", "M2", "M3")
    },
    "turned_and_cut": (
        dataclasses.replace(SEG_RCDB, **SMALL, mask="M2", num_instances=3),
        View(37, canvas_size=50, crop="random", hflip=0.5, vflip=0.5, rot90=True),
    ),
    "window": (
        dataclasses.replace(VISUAL_ATOM, **SMALL),
        View(45, 64, "resized", (0.2, 1.3), rotation=(-40, 40), hflip=0.5, rot90=True),
    ),
    "M2_of_one_orbit": (
        dataclasses.replace(
            SEG_RCDB, **(SMALL | {"max_orbits": 1}), mask="M2", num_instances=3, max_growth=20.0
        ),
        33,
    ),
}


def samples_of(case, indices=INDICES, seed=2**40 + 3):
    """Samples of a case."""
    formula, view = CASES[case]
    return formula.instance(indices, seed, View.of(view))


def blank(samples, channels=1, value=77):
    """Images and, with a mask, masks: full of what must not shine through."""
    size, count = samples.image_size, len(samples.label)
    images = np.full((count, channels, size, size), value, np.uint8)
    return (images,) if samples.mask is None else (images, images[:, 0].copy())


def defined(samples, channels=1):
    """Images and masks as the definition draws them."""
    arrays = blank(samples, channels)
    RCDB.draw_numpy(samples, *arrays)
    return arrays


def assert_same(actual, expected):
    """Every array is the same, pixel for pixel."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)
