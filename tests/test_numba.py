"""The Numba drawing is the definition's, pixel for pixel."""

import dataclasses

import numpy as np
import pytest
import torch

from fdsl_gpu.backends.numba.ifs import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.ifs import IfsFormula, IfsInstance
from fdsl_gpu.formulas.ifs_table import IfsTable


def table() -> IfsTable:
    """A category for each number of maps, contracting but for one map of the largest."""
    rng = np.random.default_rng(5)
    maps, probs = np.full((7, 8, 6), np.nan), np.zeros((7, 8))
    for category in range(7):
        count = category + 2
        maps[category, :count] = rng.uniform(-0.6, 0.6, (count, 6))
        probs[category, :count] = rng.dirichlet(np.ones(count))
    maps[6, 0, :4] *= 2.5
    weights = np.ones((3, 6))
    weights[1:, 0] = 0.6, 1.4
    boxes = np.broadcast_to(np.array([-1.2, 1.1, -1.0, 1.3]), (7, 3, 4)).copy()
    return IfsTable(maps, probs, weights, boxes)


def instance(size: int, crop: int, **settings: object) -> IfsInstance:
    """Fourteen samples: two of each number of maps, all orientations, corners inside."""
    formula = IfsFormula(table(), **settings)  # type: ignore[arg-type]
    samples = formula.instance(np.arange(2**40, 2**40 + 14, dtype=np.uint64), 2**33 + 7, View(size))
    corner = np.random.default_rng(1).integers(0, size - crop + 1, (14, 2))
    return dataclasses.replace(
        samples,
        orientation=np.arange(14, dtype=np.int32) % 8,
        corner=corner.astype(np.int32),
        image_size=crop,
    )


def assert_draws_the_definition(samples: IfsInstance, channels: int = 3) -> None:
    shape = (len(samples.label), channels, samples.image_size, samples.image_size)
    # whatever was there before must not shine through
    expected, actual = np.full(shape, 77, np.uint8), np.full(shape, 78, np.uint8)
    IfsFormula(table()).draw_numpy(samples, expected)
    draw(samples, actual)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("mask", ["per_point", "per_image", "full"])
@pytest.mark.parametrize("drawing", ["patch_gray", "patch_color", "point_gray", "point_color"])
def test_every_drawing_and_mask_is_the_definitions(drawing: str, mask: str) -> None:
    assert_draws_the_definition(instance(67, 50, drawing=drawing, mask=mask, num_points=3000))


@pytest.mark.parametrize("size, crop", [(3, 3), (31, 31), (64, 64), (224, 113), (362, 362)])
def test_every_size_is_the_definitions(size: int, crop: int) -> None:
    assert_draws_the_definition(instance(size, crop, num_points=9000), channels=1)


@pytest.mark.parametrize(
    "num_walks, burn_in, num_points", [(128, 0, 1), (256, 2, 999), (4096, 16, 12_000)]
)
def test_every_number_of_walks_and_steps_is_the_definitions(
    num_walks: int, burn_in: int, num_points: int
) -> None:
    samples = instance(64, 64, num_walks=num_walks, burn_in=burn_in, num_points=num_points)
    assert_draws_the_definition(samples)


def test_threads_change_no_pixel() -> None:
    samples = instance(64, 64, num_points=3000)
    images = np.zeros((2, 14, 3, 64, 64), np.uint8)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            draw(samples, images[threads // 2])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(images[0], images[1])
