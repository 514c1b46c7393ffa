"""Run by test_bezier_triton in a process of its own: what compilers make of the kernels."""

import numpy as np
import pytest
import torch
from bezier_cases import CASES, blank, defined, samples_of
from fdsl_gpu.kernels import bezier as kernels
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import bezier
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.bezier import BezierFormula, strokes

POINT = 52
"""Instructions for a control point of 32 vertices."""


def launched():
    """Every variant that the host code can launch."""
    builds = {}
    with replaced_kernels(bezier, lambda build, grid, arguments: builds.setdefault(build)):
        for channels in (1, 3):
            samples = samples_of("several curves")
            bezier.draw(samples, torch.from_numpy(blank(samples, channels)))
    return list(builds)


BUILDS = launched()
AMD_BUILDS = on_amd(launched)


def drawn(samples, channels=1, **settings):
    """Images as the kernels draw them."""
    images = blank(samples, channels)
    bezier.draw(samples, torch.from_numpy(images), **settings)
    return images


# compiled


def test_few_variants_and_none_that_depends_on_a_value():
    # trace, measure, lines; shades of one and three channels
    check_variants(BUILDS, 3 + 2)


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, target):
    sass = machine_code(build, target)
    assert sass.count("BAR") == 0
    if build.function is kernels.bezier_trace_kernel and RECORDED:
        loop = sass.loop("LDG")
        assert count(loop, "LDG") == 3
        assert len(loop) <= POINT


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    assert "s_barrier" not in amd_code(build, target)


# executed


@pytest.mark.parametrize("number", [80, 90, 100], ids="sm_{}".format)
@pytest.mark.parametrize("case", CASES)
def test_ptx_draws_the_definition(number, case):
    samples = samples_of(case)
    with replaced_kernels(bezier, run_on_cpu(NVIDIA[number])):
        images = drawn(samples, 3)
    np.testing.assert_array_equal(images, defined(samples, 3))


def test_published_size():
    samples = BezierFormula().instance(np.arange(3, dtype=np.uint64), 0, View(224))
    with replaced_kernels(bezier, run_on_cpu(NVIDIA[90])):
        np.testing.assert_array_equal(drawn(samples), defined(samples))


@pytest.mark.parametrize("backwards", [False, True])
def test_neither_chunks_nor_the_order_of_threads_change_a_pixel(backwards):
    samples = samples_of("several curves")
    with replaced_kernels(bezier, run_on_cpu(NVIDIA[90], backwards)):
        for scratch in (1, 100_000):
            np.testing.assert_array_equal(drawn(samples, scratch=scratch), defined(samples))


def test_every_vertex_has_the_definitions_place():
    """The places themselves, not only the pixels that they lead to."""
    samples = samples_of("wild")
    points = []

    def launch(build, grid, arguments):
        run_on_cpu(NVIDIA[90])(build, grid, arguments)
        if build.function.__name__ == "bezier_trace_kernel":
            points.append(arguments[3].clone())

    with replaced_kernels(bezier, launch):
        drawn(samples)
    rows, start = points[0].view(-1, 64), 0  # 33 vertices: two blocks of 32
    for sample in range(len(samples.label)):
        for x, y in strokes(samples, sample):
            place = rows[start, : len(x)].numpy()
            np.testing.assert_array_equal(place.astype(np.int32), x)
            np.testing.assert_array_equal(place >> 32, y)
            start += 1
    assert start == len(rows)
