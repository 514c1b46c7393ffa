"""Run by test_perlin_triton in a process that has TRITON_INTERPRET=1 from its start."""

import numpy as np
import pytest
import torch
from ifs_cases import FORMATS, assert_same_bits, blank, normalised
from perlin_cases import CASES, defined, instance

from fdsl_gpu import View, get_dataset, mix, render
from fdsl_gpu.backends.triton.perlin import draw
from fdsl_gpu.render import Normalisation, Renderer


@pytest.mark.parametrize("case", CASES)
def test_interpreted_kernels_draw_the_definition(case):
    samples = instance(case)
    images = blank(samples)
    draw(samples, images)
    assert_same_bits(images, defined(samples))


@pytest.mark.parametrize("dtype, channels, channels_last", FORMATS[1::2], ids=str)
def test_formats(dtype, channels, channels_last):
    samples = instance("octaves")
    images = blank(samples, dtype, channels, channels_last)
    expected, mean, std = defined(samples, channels), None, None
    if dtype.is_floating_point:
        mean, std = (0.2, 0.485, 0.1)[:channels], (0.5, 0.229, 1.0)[:channels]
        expected = normalised(expected, mean, std, dtype)
    draw(samples, images, mean=mean, std=std)
    assert_same_bits(images, expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_renderer_writes_what_the_normalisation_makes(channels_last):
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    how = Normalisation((0.2, 0.485, 0.1), (0.5, 0.229, 1.0), torch.bfloat16, memory_format)
    drawn = []
    for backend in ("triton", "numba"):
        renderer = Renderer(get_dataset("perlin-100"), View(17), backend=backend)
        images, _ = renderer.draw_normalised(renderer.instance(np.arange(3, dtype=np.uint64)), how)
        assert images.is_contiguous(memory_format=memory_format)
        drawn.append(images)
    assert_same_bits(*drawn)


@pytest.mark.parametrize("image_size", [31, 64, 224, 362])
def test_three_backends_give_one_image(image_size):
    drawn = [
        render("perlin-1k", [1, 2**40], image_size=image_size, backend=backend)
        for backend in ("numpy", "numba", "triton")
    ]
    for images, labels in drawn[1:]:
        assert_same_bits(images, drawn[0][0])
        assert torch.equal(labels, drawn[0][1])


def test_parts_of_a_mixture_are_drawn_by_their_kernels():
    fractals = get_dataset("fractaldb-1k").replace(num_points=2048)
    contours = get_dataset("visualatom-1k").replace(max_vertices=200, max_orbits=3)
    mixture = mix({"perlin-100": 2, fractals: 1, contours: 1})
    drawn = [
        render(mixture, range(4), image_size=33, backend=backend) for backend in ("numba", "triton")
    ]
    assert sorted(np.digitize(drawn[0][1], [100, 1100]).tolist()) == [0, 0, 1, 2]
    assert_same_bits(drawn[1][0], drawn[0][0])
    assert torch.equal(drawn[1][1], drawn[0][1])


def test_no_samples_and_no_images():
    images, labels = render("perlin-100", [], image_size=16, backend="triton")
    assert images.shape == (0, 3, 16, 16) and labels.shape == (0,)


@pytest.mark.parametrize(
    "images, settings, message",
    [
        (torch.zeros(5, 2, 31, 31, dtype=torch.uint8), {}, "images must have the shape"),
        (torch.zeros(5, 3, 31, 31, dtype=torch.float64), {}, "images must be of one of"),
        (torch.zeros(5, 3, 31, 31, dtype=torch.uint8), {"mean": (0,) * 3}, "need float images"),
        (torch.zeros(5, 3, 31, 31), {"std": (1, 1)}, "need one value for each of the 3 channels"),
    ],
    ids=["channels", "dtype", "normalised integers", "two of three"],
)
def test_tensors_that_do_not_fit_are_refused(images, settings, message):
    samples = instance("published")
    with pytest.raises(ValueError, match=message):
        draw(samples, images, **settings)
