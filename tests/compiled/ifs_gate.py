"""Run by test_triton_compile in a process of its own: what compilers make of the kernels.

Budgets are those of the Triton version that they were recorded with: its compiler decides them.
"""

import dataclasses
import re
from unittest import mock

import pytest
import torch
import triton
from fdsl_gpu.kernels import ifs as kernels
from fdsl_gpu.kernels import ifs_frame as frames
from ifs_cases import FORMATS, blank, one
from sass import count, disassemble
from triton_builds import AMD, NVIDIA, replaced_kernels

from fdsl_gpu.backends.triton import ifs

RECORDED_WITH = "3.9.0"
# instructions of the main loop for each point, and for each pixel of this width
WALK = {80: 40, 90: 40}
WALK_ELSEWHERE = 45
EXTENT = 45
RESOLVE = {"*u8": 56, "*i16": 56, "*i32": 56}
DRAWINGS = ("patch_gray", "patch_color", "point_gray", "point_color")


def launched():
    """Every variant that the host code can launch, by launching all it can draw."""
    builds = {}
    with replaced_kernels(ifs, lambda build, grid, arguments: builds.setdefault(build)):
        for drawing in DRAWINGS:
            samples = dataclasses.replace(one("mask_full"), drawing=drawing)
            for dtype, channels, channels_last in FORMATS:
                if channels == 3 or drawing.endswith("gray"):
                    ifs.draw(samples, blank(samples, dtype, channels, channels_last))
        samples = one("continuous")
        ifs.draw(samples, blank(samples))
    return list(builds)


BUILDS = launched()
with mock.patch.object(torch.version, "hip", "7.0"):
    AMD_BUILDS = launched()


def test_few_variants_and_none_that_depends_on_a_value():
    # words, walk, extent, frame; three widths of patches and points, each in gray of one or three
    # channels and in colour
    assert len(BUILDS) == 4 + 3 * 2 * 3
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
    # a product and a sum are rounded separately; a division in float64 is a routine of ptxas
    assert not re.search(r"\bfma\b|\.ftz|\b(add|sub|mul)\.f(32|64)", compiled.asm["ptx"])
    assert sass.count("FFMA2?") == 0 or build.function is frames.ifs_frame_kernel
    if build.function is kernels.ifs_walk_kernel:
        loop = sass.loop("REDG?")
        # a warp does two steps of its 128 walks each time round
        points = 2 * dict(build.constants)["BLOCK"] // 32
        assert count(loop, "REDG?") == points
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) / points <= WALK.get(target.arch, WALK_ELSEWHERE)
    elif build.function is frames.ifs_extent_kernel:
        # reductions when the walks are over; before, a load of words and three of maps a step
        loop = sass.loop("FSETP|FMNMX")
        assert count(loop, "REDG?|SHFL") == 0
        points = (count(loop, "LDG") - 1) / 3
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) / points <= EXTENT
    else:
        assert sass.count("REDG?") == 0
    if build.function is kernels.ifs_resolve_kernel:
        loop = sass.loop("STG")
        pixels = count(loop, "STG") / dict(build.constants)["CHANNELS"]
        if triton.__version__ == RECORDED_WITH:
            assert len(loop) / pixels <= RESOLVE[dict(build.signature)["images_ptr"]]


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    code = build.compile(target).asm["amdgcn"]
    spills = re.findall(r"\.(?:v|s)gpr_spill_count:\s+(\d+)", code)
    assert spills and set(spills) == {"0"}
    assert not re.search(r"\bv_(pk_)?(fma|mad|mac|fmac)_\w*f32|s_barrier", code)
    if build.function is kernels.ifs_walk_kernel:
        # the older ones have no integer maximum for coarse memory that Triton would use
        native = "global_atomic_umax" in code or "global_atomic_max_u32" in code
        assert native == (target.arch == "gfx942")
