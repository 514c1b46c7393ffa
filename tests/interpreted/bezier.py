"""Run by test_bezier_triton in a process that has TRITON_INTERPRET=1 from its start."""

import numpy as np
import pytest
import torch
from bezier_cases import CASES, INDICES, blank, defined, samples_of

from fdsl_gpu import get_dataset, render
from fdsl_gpu.backends.triton.bezier import draw


@pytest.mark.parametrize("case", CASES)
def test_interpreted_kernels_draw_the_definition(case):
    samples = samples_of(case, INDICES[3:4])
    images = blank(samples)
    draw(samples, torch.from_numpy(images))
    np.testing.assert_array_equal(images, defined(samples))


def test_chunks_and_channels_last_change_no_pixel():
    samples = samples_of("tiny", INDICES[:3])
    images = torch.full((3, 3, 3, 3), 77, dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    draw(samples, images, scratch=1)
    np.testing.assert_array_equal(images.numpy(), defined(samples, 3))


def test_three_backends_give_one_image():
    dataset = get_dataset("bezier-1k").replace(num_strokes=1)
    images = [
        render(dataset, [5], image_size=64, backend=backend)[0]
        for backend in ("numpy", "numba", "triton")
    ]
    assert images[0].float().std() > 1
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])


def test_images_that_do_not_fit_are_refused():
    samples = samples_of("tiny")
    for images in (torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.zeros(5, 1, 3, 3)):
        with pytest.raises(ValueError, match="images must be uint8 of shape"):
            draw(samples, images)
