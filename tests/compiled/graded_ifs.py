"""Run by test_graded_triton in a process of its own: what compilers make of the kernels."""

import numpy as np
import pytest
import torch
from fdsl_gpu.kernels import blur
from fdsl_gpu.kernels import graded_ifs as kernels
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from graded_cases import CASES, defined, instance
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import graded_ifs
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula

COUNT = 50
"""Instructions of the main loop of the walks for each point."""


def drawn(samples, **settings):
    images = torch.full((len(samples.label), 3, *[samples.image_size] * 2), 78, dtype=torch.uint8)
    graded_ifs.draw(samples, images, **settings)
    return images.numpy()


def launched():
    """Every variant that the host code launches for the data sets that ship, and a black one."""
    builds = {}
    with replaced_kernels(graded_ifs, lambda build, grid, arguments: builds.setdefault(build)):
        for settings in ({}, {"background": "black"}, {"fractals": (1, 5)}, {"blur": 1.0}):
            formula = GradedIfsFormula(num_categories=20, **settings)
            drawn(formula.instance(np.arange(3, dtype=np.uint64), 0, View(64)))
    return [
        build
        for build in builds
        if any(hasattr(module, build.function.__name__) for module in (kernels, blur))
    ]


BUILDS = launched()
AMD_BUILDS = on_amd(launched)


def test_few_variants_and_none_that_depends_on_a_value():
    # two shades, with a background and without; a blur
    check_variants(BUILDS, 5 + 2 + 1)


@pytest.mark.parametrize("number", NVIDIA, ids="sm_{}".format)
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, number):
    # only reductions talk between threads; the divisions are before the loop of the walks
    sass = machine_code(build, NVIDIA[number], divides=True)
    if build.function is kernels.graded_count_kernel:
        assert sass.count("BAR|SHFL") == 0
        loop = sass.loop("REDG?")
        assert count(loop, "FFMA2?") == 0
        points = dict(build.constants)["BLOCK"] // 32
        assert count(loop, "REDG?") == points
        if RECORDED:
            assert len(loop) / points <= COUNT, len(loop)


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    amd_code(build, target, divides=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("number", [80, 90, 100])
def test_ptx_draws_the_definition(number, case):
    samples = instance(case)
    with replaced_kernels(graded_ifs, run_on_cpu(NVIDIA[number])):
        images = drawn(samples)
    np.testing.assert_array_equal(images, defined(samples))


def test_neither_chunks_nor_the_order_of_threads_change_a_pixel():
    samples = instance("several")
    for backwards in (False, True):
        with replaced_kernels(graded_ifs, run_on_cpu(NVIDIA[90], backwards)):
            np.testing.assert_array_equal(drawn(samples, scratch=100_000), defined(samples))
