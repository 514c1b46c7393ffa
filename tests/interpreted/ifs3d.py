"""Run by test_ifs3d_triton in a process that has TRITON_INTERPRET=1 from its start."""

import numpy as np
import pytest
import torch
from ifs3d_cases import ALL, contracting_table_3d, instance
from ifs_cases import assert_same_bits, blank, normalised

from fdsl_gpu import render
from fdsl_gpu.backends.triton.ifs3d import Ifs3dDrawing, draw
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula


def defined(samples, channels=3):
    shape = (len(samples.label), channels, samples.image_size, samples.image_size)
    images = np.full(shape, 77, np.uint8)
    Ifs3dFormula(contracting_table_3d()).draw_numpy(samples, images)
    return torch.from_numpy(images)


@pytest.mark.parametrize("case", ALL)
def test_interpreted_kernels_draw_the_definition(case):
    samples = instance(case)
    images = blank(samples)
    draw(samples, images)
    assert_same_bits(images, defined(samples))


def test_normalised_images():
    samples = instance("window")
    images = blank(samples, torch.bfloat16, channels_last=True)
    mean, std = (0.2, 0.485, 0.1), (0.5, 0.229, 1.0)
    draw(samples, images, mean=mean, std=std)
    assert_same_bits(images, normalised(defined(samples), mean, std, torch.bfloat16))


def test_chunks_change_no_pixel():
    samples = instance("published")
    images = blank(samples)
    Ifs3dDrawing(samples, images, scratch=3 * 4 * 34 * 34).launch()
    assert_same_bits(images, defined(samples))


def test_three_backends_give_one_image():
    drawn = [
        render("exfractaldb-1k", [1, 2**33], image_size=97, backend=backend)[0]
        for backend in ("numpy", "numba", "triton")
    ]
    assert (drawn[0] > 0).float().mean() > 0.005
    for images in drawn[1:]:
        assert_same_bits(images, drawn[0])
