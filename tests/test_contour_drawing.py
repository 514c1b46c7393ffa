"""Contours are what PIL paints line after line; the fast drawing is the definition's."""

import dataclasses

import numpy as np
import pytest
import torch
from contour_cases import CASES, NAMES, assert_same, blank, defined, samples_of
from PIL import Image, ImageDraw

from fdsl_gpu import render
from fdsl_gpu.backends.numba.contours import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contour_drawing import grays, polygons
from fdsl_gpu.formulas.contours import SEG_RCDB

# images, as PIL paints them one line after another


def painted(samples, sample):
    """Image and masks by PIL, given the vertices: lines, then fills in the published order."""
    size = samples.image_size
    image = Image.new("L", (size, size), samples.background)
    masks = {name: Image.new("L", (size, size), 0) for name in ("M1", "M2", "M3")}
    for number in range(samples.category.shape[1]):
        value = int(samples.category[sample, number]) + 1
        corners = [
            list(zip(x.tolist(), y.tolist(), strict=True))
            for x, y in polygons(samples, sample, number)
        ]
        for polygon, gray in zip(corners, grays(samples, sample, number), strict=True):
            closed = [*polygon, polygon[0]]
            ImageDraw.Draw(image).line(closed, fill=int(gray))
            ImageDraw.Draw(masks["M1"]).line(closed, fill=value)
        inner, outer = corners[0], corners[-1]
        ring, disc = ImageDraw.Draw(masks["M2"]), ImageDraw.Draw(masks["M3"])
        ring.polygon(outer, fill=value)
        ring.polygon(inner, fill=0)
        ring.line([*inner, inner[0]], fill=value)
        ring.line([*outer, outer[0]], fill=value)
        disc.polygon(outer, fill=value)
        disc.line([*outer, outer[0]], fill=value)
    return np.asarray(image), {name: np.asarray(mask) for name, mask in masks.items()}


@pytest.mark.parametrize("case", ["rcdb", "tiny", "visualatom", "wild", "triangles"])
def test_definition_is_what_pil_paints(case):
    samples = samples_of(case)
    (images,) = defined(samples)
    for sample, image in enumerate(images):
        np.testing.assert_array_equal(image[0], painted(samples, sample)[0])


@pytest.mark.parametrize("mask", ["M1", "M2", "M3"])
def test_masks_are_what_pil_paints(mask):
    formula = dataclasses.replace(SEG_RCDB, mask=mask, max_orbits=20)
    samples = formula.instance(np.arange(3, dtype=np.uint64), 0, View(160))
    images, masks = defined(samples)
    for sample in range(3):
        image, expected = painted(samples, sample)
        np.testing.assert_array_equal(images[sample, 0], image)
        differing = (masks[sample] != expected[mask]).mean()
        # PIL's fill takes a pixel more where two edges of a polygon meet
        assert differing == 0 if mask == "M1" else differing < 5e-4
        assert len(np.unique(masks[sample])) > 8


def test_a_ring_erases_what_lies_below_its_hole():
    formula = dataclasses.replace(
        SEG_RCDB, num_instances=2, mask="M2", max_shift=0, min_radius=40, max_radius=40,
        min_vertices=100, max_noise=0.0, max_growth=0.0,
    )  # fmt: skip
    samples = formula.instance(np.arange(1, dtype=np.uint64), 0, View(512))
    # a small ring's outline, and around it the hole of a larger one
    radius = samples.radius.copy()
    radius[:, 0], radius[:, 1] = 20, 60
    _, masks = defined(dataclasses.replace(samples, radius=radius))
    assert set(np.unique(masks)) == {0, samples.category[0, 1] + 1}


# the fast drawing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_numba_draws_the_definition(case, channels):
    samples = samples_of(case)
    expected, actual = defined(samples, channels), blank(samples, channels)
    draw(samples, *actual)
    assert_same(actual, expected)
    assert len(np.unique(expected[0])) > 1 or case == "tiny"


@pytest.mark.parametrize("name", [*NAMES, "segrcdb"])
@pytest.mark.parametrize("image_size", [33, 224])
def test_backends_draw_alike(name, image_size):
    indices = torch.arange(2) + 2**33
    drawn = [
        render(name, indices, image_size=image_size, seed=3, backend=backend, split="val")
        for backend in ("numpy", "numba")
    ]
    assert_same(*drawn)
    assert drawn[0][0].float().std() > 1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_no_samples_give_no_images(backend):
    images, masks = render("segrcdb", [], image_size=8, backend=backend)
    assert images.shape == (0, 3, 8, 8) and masks.shape == (0, 8, 8)


def test_threads_change_no_pixel():
    samples = samples_of("segrcdb_M2", np.arange(9, dtype=np.uint64))
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(blank(samples))
            draw(samples, *drawn[-1])
    finally:
        torch.set_num_threads(before)
    assert_same(*drawn)
    assert_same(drawn[0], defined(samples))


def test_scratch_is_left_clean():
    first, second = samples_of("segrcdb_M2"), samples_of("segrcdb_M2", seed=5)
    alone, after = blank(second), blank(second)
    draw(second, *alone)
    draw(first, *blank(first))
    draw(second, *after)
    assert_same(alone, after)
    assert_same(alone, defined(second))
