"""Run by test_graded_triton in a process of its own: what compilers make of the kernels.

Budgets are those of the Triton version that they were recorded with: its compiler decides them.
"""

import re
from unittest import mock

import numpy as np
import pytest
import torch
import triton
from fdsl_gpu.kernels import blur
from fdsl_gpu.kernels import graded_ifs as kernels
from graded_cases import CASES, defined, instance
from sass import count, disassemble
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import graded_ifs
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula

RECORDED_WITH = "3.9.0"
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
with mock.patch.object(torch.version, "hip", "7.0"):
    AMD_BUILDS = launched()


def test_few_variants_and_none_that_depends_on_a_value():
    # two shades, with a background and without; a blur
    assert len(BUILDS) == 5 + 2 + 1
    for build in BUILDS:
        for parameter in build.function.params:
            assert parameter.is_constexpr or parameter.do_not_specialize, (build, parameter.name)


@pytest.mark.parametrize("number", NVIDIA, ids="sm_{}".format)
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, number):
    compiled = build.compile(NVIDIA[number])
    sass = disassemble(compiled.asm["cubin"])
    assert sass.registers <= 64
    assert sass.local_bytes == 0
    assert sass.count("LDL|STL") == 0
    # no atomic whose result is waited for; only reductions talk between threads
    assert sass.count("MEMBAR|ERRBAR|CCTL|ATOMG?") == 0
    ptx = compiled.asm["ptx"]
    # a product and a sum are rounded separately; divisions are IEEE's
    assert not re.search(r"\bfma\b|\.ftz|\b(add|sub|mul)\.f32|div\.(full|approx)", ptx)
    if build.function is kernels.graded_count_kernel:
        assert sass.count("BAR|SHFL") == 0
        loop = sass.loop("REDG?")
        # the divisions before it are made of fused operations, and rounded once
        assert count(loop, "FFMA2?") == 0
        points = dict(build.constants)["BLOCK"] // 32
        assert count(loop, "REDG?") == points
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) / points <= COUNT, len(loop)


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    code = build.compile(target).asm["amdgcn"]
    spills = re.findall(r"\.(?:v|s)gpr_spill_count:\s+(\d+)", code)
    assert spills and set(spills) == {"0"}


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
