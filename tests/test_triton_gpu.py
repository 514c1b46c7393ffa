"""What only a GPU can show; everything else about the kernels is tested without one."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import needs_gpu
from ifs_cases import CASES, assert_same_bits, blank, defined, instance

from fdsl_gpu import render

pytestmark = needs_gpu


@pytest.mark.parametrize("case", CASES)
def test_gpu_draws_the_definition(case):
    from fdsl_gpu.backends.triton.ifs import draw

    samples = instance(case)
    images = blank(samples).cuda()
    draw(samples, images)
    assert_same_bits(images.cpu(), defined(samples))


def test_a_cuda_graph_draws_what_was_loaded_last():
    from fdsl_gpu.backends.triton.ifs import IfsDrawing

    first = instance("patch_gray")
    second = dataclasses.replace(first, walk_index=first.walk_index + np.uint64(1000))
    images = blank(first).cuda()
    drawing = IfsDrawing(first, images, scratch=3 * 4 * 34**2)
    drawing.launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawing.launch()
    drawing.load(second)
    graph.replay()
    assert_same_bits(images.cpu(), defined(second))


def test_drawing_does_not_wait_for_the_device():
    from fdsl_gpu.backends.triton.ifs import draw

    samples = instance("patch_gray")
    images = blank(samples).cuda()
    draw(samples, images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        draw(samples, images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_same_pixels_every_time():
    images = [
        render("fractaldb-1k", range(64), image_size=224, device="cuda", backend="triton")[0]
        for _ in range(5)
    ]
    for other in images[1:]:
        assert_same_bits(other, images[0])
