"""Run by test_triton_interpreter in a process that has TRITON_INTERPRET=1 from its start."""

import dataclasses

import numpy as np
import pytest
import torch
from ifs_cases import (
    CASES,
    FORMATS,
    assert_same_bits,
    blank,
    defined,
    instance,
    normalised,
    one,
    part,
)

from fdsl_gpu import View, get_dataset, render
from fdsl_gpu.backends.triton.ifs import Blocks, IfsDrawing, draw
from fdsl_gpu.render import Normalisation, Renderer


@pytest.mark.parametrize("case", CASES)
def test_interpreted_kernels_draw_the_definition(case):
    samples = part(instance(case), slice(None, None, 3))  # all of them where it is compiled
    images = blank(samples)
    draw(samples, images)
    assert_same_bits(images, defined(samples))


@pytest.mark.parametrize("dtype, channels, channels_last", FORMATS[1::2], ids=str)
def test_formats(dtype, channels, channels_last):
    samples = one("mask_per_image")
    images = blank(samples, dtype, channels, channels_last)
    expected = defined(samples, channels)
    mean, std = None, None
    if dtype.is_floating_point:
        mean, std = (0.2, 0.485, 0.1)[:channels], (0.5, 0.229, 1.0)[:channels]
        expected = normalised(expected, mean, std, dtype)
    draw(samples, images, mean=mean, std=std)
    assert_same_bits(images, expected)


@pytest.mark.parametrize("blocks", [Blocks(), Blocks(walks=64, columns=16, groups=1)], ids=str)
def test_chunks_and_blocks_change_no_pixel(blocks):
    samples = instance("mask_full")
    scratch = 2 * 4 * 34 * 34
    images = blank(samples)
    IfsDrawing(samples, images, scratch=scratch, blocks=blocks).launch()
    assert_same_bits(images, defined(samples))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_renderer_writes_what_the_normalisation_makes(dtype, channels_last):
    spec = get_dataset("fractaldb-1k").replace(num_points=2048)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    how = Normalisation((0.2, 0.485, 0.1), (0.5, 0.229, 1.0), dtype, memory_format)
    drawn = {}
    for backend in ("triton", "numba"):
        renderer = Renderer(spec, View(17), backend=backend)
        indices = np.arange(3, dtype=np.uint64)
        images, labels = renderer.draw_normalised(renderer.instance(indices), how)
        assert images.is_contiguous(memory_format=memory_format)
        drawn[backend] = images, labels
    assert_same_bits(drawn["triton"][0], drawn["numba"][0])
    assert torch.equal(drawn["triton"][1], drawn["numba"][1])


def test_other_samples_in_the_same_buffers():
    first = instance("mask_full")
    second = dataclasses.replace(first, walk_index=first.walk_index + np.uint64(1000))
    images = blank(first)
    drawing = IfsDrawing(first, images)
    drawing.load(second)
    drawing.launch()
    assert_same_bits(images, defined(second))
    assert (defined(first) != defined(second)).any()


@pytest.mark.parametrize("image_size", [31, 64, 224, 362])
def test_three_backends_give_one_image(image_size):
    drawn = {
        backend: render("fractaldb-1k", [1], image_size=image_size, backend=backend)
        for backend in ("numpy", "numba", "triton")
    }
    images, label = drawn["numpy"]
    assert (images > 0).float().mean() > 0.01
    for backend in ("numba", "triton"):
        assert_same_bits(drawn[backend][0], images)
        assert torch.equal(drawn[backend][1], label)
