"""Run by test_contours_triton in a process of its own: the compiled PTX draws the definition."""

import numpy as np
import pytest
import torch
from contour_cases import CASES, assert_same, blank, defined, samples_of
from triton_builds import NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import contours
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contour_drawing import polygons
from fdsl_gpu.formulas.contours import SEG_RCDB, VISUAL_ATOM

TARGETS = [80, 90, 100]


@pytest.fixture(params=TARGETS, ids="sm_{}".format)
def executed(request):
    """Launches are compiled for this architecture and run on the CPU."""
    with replaced_kernels(contours, run_on_cpu(NVIDIA[request.param])):
        yield


def drawn(samples, channels=1, **settings):
    """Images and masks as the kernels draw them."""
    arrays = blank(samples, channels)
    contours.draw(samples, *map(torch.from_numpy, arrays), **settings)
    return arrays


@pytest.mark.parametrize("case", CASES)
def test_ptx_draws_the_definition(executed, case):
    samples = samples_of(case)
    assert_same(drawn(samples, 3), defined(samples, 3))


def test_published_sizes(executed):
    for formula, size in ((VISUAL_ATOM, 224), (SEG_RCDB, 96)):
        samples = formula.instance(np.arange(3, dtype=np.uint64), 0, View(size))
        assert_same(drawn(samples), defined(samples))


@pytest.mark.parametrize("backwards", [False, True])
def test_neither_chunks_nor_the_order_of_threads_change_a_pixel(backwards):
    samples = samples_of("segrcdb_M2")
    with replaced_kernels(contours, run_on_cpu(NVIDIA[90], backwards)):
        for scratch in (1, 200_000):
            assert_same(drawn(samples, scratch=scratch), defined(samples))


def test_every_vertex_has_the_definitions_place():
    """The places themselves, not only the pixels that they lead to."""
    samples = samples_of("visualatom")
    points = []

    def launch(build, grid, arguments):
        run_on_cpu(NVIDIA[90])(build, grid, arguments)
        if build.function.__name__ == "contour_move_kernel":
            points.append(arguments[3].clone())

    with replaced_kernels(contours, launch):
        drawn(samples)
    rows, start = points[0].view(-1, 32), 0
    for sample in range(len(samples.label)):
        for x, y in polygons(samples, sample, 0):
            blocks = -(-len(x) // 32)
            place = rows[start : start + blocks].ravel()[: len(x)].numpy()
            np.testing.assert_array_equal(place.astype(np.int32), x)
            np.testing.assert_array_equal(place >> 32, y)
            start += blocks
    assert start == len(rows)
