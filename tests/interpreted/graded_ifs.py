"""Run by test_graded_triton in a process that has TRITON_INTERPRET=1 from its start."""

import numpy as np
import pytest
import torch
from graded_cases import CASES, defined, instance

from fdsl_gpu import get_dataset, render
from fdsl_gpu.backends.triton.graded_ifs import draw


def drawn(samples, channels_last=False, **settings):
    images = torch.full((len(samples.label), 3, *[samples.image_size] * 2), 78, dtype=torch.uint8)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    draw(samples, images, **settings)
    return images.numpy()


@pytest.mark.parametrize("case", CASES)
def test_interpreted_kernels_draw_the_definition(case):
    samples = instance(case, 2)
    np.testing.assert_array_equal(drawn(samples), defined(samples))


def test_chunks_and_strides_change_no_pixel():
    samples = instance("several", 2)
    images = drawn(samples, channels_last=True, scratch=1)
    np.testing.assert_array_equal(images, defined(samples))


def test_three_backends_give_one_image():
    spec = get_dataset("wacv-1k-multi").replace(num_points=1000)
    drawn_by = [
        render(spec, [2**33], image_size=65, backend=backend)
        for backend in ("numpy", "numba", "triton")
    ]
    for images, target in drawn_by[1:]:
        assert torch.equal(images, drawn_by[0][0])
        assert torch.equal(target, drawn_by[0][1])
