"""Run by test_contours_triton in a process that has TRITON_INTERPRET=1 from its start."""

import dataclasses

import numpy as np
import pytest
import torch
from contour_cases import CASES, INDICES, assert_same, blank, defined, samples_of

from fdsl_gpu import get_dataset, render
from fdsl_gpu.backends.triton.contours import draw
from fdsl_gpu.formulas.base import View


def drawn(samples, channels=1, **settings):
    """Images and masks as the kernels draw them."""
    arrays = blank(samples, channels)
    draw(samples, *map(torch.from_numpy, arrays), **settings)
    return arrays


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("segrcdb")])
def test_interpreted_kernels_draw_the_definition(case):
    samples = samples_of(case, INDICES[:2])
    assert_same(drawn(samples), defined(samples))


@pytest.mark.parametrize("mask", ["M1", "M2", "M3"])
def test_interpreted_kernels_draw_masks(mask):
    formula = dataclasses.replace(CASES[f"segrcdb_{mask}"][0], num_instances=4)
    samples = formula.instance(INDICES[:1], 0, View(40))
    assert_same(drawn(samples), defined(samples))


def test_chunks_change_no_pixel():
    samples = samples_of("triangles", INDICES[:3])
    assert_same(drawn(samples, 3, scratch=1), defined(samples, 3))


def test_channels_last():
    samples = samples_of("tiny", INDICES[:2])
    images = torch.full((2, 3, 3, 3), 77, dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    draw(samples, images)
    assert_same((images.numpy(),), defined(samples, 3))


def test_three_backends_give_one_image():
    dataset = get_dataset("visualatom-1k").replace(max_vertices=200, max_orbits=3)
    images = [
        render(dataset, [5], image_size=64, backend=backend)[0]
        for backend in ("numpy", "numba", "triton")
    ]
    assert images[0].float().std() > 1
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


@pytest.mark.parametrize(
    "images, masks, message",
    [
        (torch.zeros(1, 2, 48, 48, dtype=torch.uint8), None, "images must be uint8 of shape"),
        (torch.zeros(1, 1, 48, 48), None, "images must be uint8 of shape"),
        (torch.zeros(1, 1, 48, 48, dtype=torch.uint8), None, "masks must be contiguous uint8"),
    ],
    ids=["channels", "dtype", "no masks"],
)
def test_tensors_that_do_not_fit_are_refused(images, masks, message):
    samples = CASES["segrcdb_M1"][0].instance(np.zeros(1, np.uint64), 0, View(48))
    with pytest.raises(ValueError, match=message):
        draw(samples, images, masks)
