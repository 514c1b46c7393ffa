"""Run by test_contours_triton in a process of its own: what GPU compilers make of the kernels.

Budgets are those of the Triton version that they were recorded with: its compiler decides them.
"""

import re
from unittest import mock

import pytest
import torch
import triton
from contour_cases import blank, samples_of
from fdsl_gpu.kernels import contours as kernels
from sass import count, disassemble
from triton_builds import AMD, NVIDIA, replaced_kernels

from fdsl_gpu.backends.triton import contours

RECORDED_WITH = "3.9.0"
# instructions of the innermost loop: of a step of 32 lines, of a step of 32 vertices
LINE_STEP = 20
VERTEX_STEP = 81


def launched():
    """Every variant that the host code can launch, by launching all it can draw."""
    builds = {}
    with replaced_kernels(contours, lambda build, grid, arguments: builds.setdefault(build)):
        for case in ("visualatom", "segrcdb_M1", "segrcdb_M2", "segrcdb_M3"):
            for channels in (1, 3):
                samples = samples_of(case)
                contours.draw(samples, *map(torch.from_numpy, blank(samples, channels)))
    return list(builds)


BUILDS = launched()
with mock.patch.object(torch.version, "hip", "7.0"):
    AMD_BUILDS = launched()


def test_few_variants_and_none_that_depends_on_a_value():
    # move, lines, fills' mask; measure with and without fills; fills with and without holes;
    # shades of one and three channels with and without labels
    assert len(BUILDS) == 3 + 2 + 2 + 4
    for build in BUILDS:
        for parameter in build.function.params:
            assert parameter.is_constexpr or parameter.do_not_specialize, (build, parameter.name)


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, target):
    compiled = build.compile(target)
    sass = disassemble(compiled.asm["cubin"])
    assert sass.registers <= 64
    assert sass.local_bytes == 0
    assert sass.count("LDL|STL") == 0
    # no fence, no barrier, no atomic whose result is waited for
    assert sass.count("MEMBAR|ERRBAR|CCTL|BAR|ATOMG?") == 0
    # a product and a sum are rounded separately
    assert sass.count("FFMA2?") == 0
    assert not re.search(r"\bfma\b|\.ftz|\b(add|sub|mul)\.f32", compiled.asm["ptx"])
    if build.function is kernels.contour_lines_kernel:
        loop = sass.loop("REDG?")
        assert count(loop, "REDG?") == 1
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) <= LINE_STEP
    if build.function is kernels.contour_move_kernel:
        loop = sass.loop("STG")
        assert count(loop, "STG") == 1
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) <= VERTEX_STEP


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    code = build.compile(target).asm["amdgcn"]
    spills = re.findall(r"\.(?:v|s)gpr_spill_count:\s+(\d+)", code)
    assert spills and set(spills) == {"0"}
    assert not re.search(r"\bv_(pk_)?(fma|mad|mac|fmac)_\w*f32|s_barrier", code)
