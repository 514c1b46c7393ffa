"""Run by test_triton_compile in a process of its own: what compilers make of the kernels."""

import dataclasses

import pytest
from fdsl_gpu.kernels import ifs as kernels
from fdsl_gpu.kernels import ifs_frame as frames
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from ifs_cases import FORMATS, blank, one
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels

from fdsl_gpu.backends.triton import ifs

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
AMD_BUILDS = on_amd(launched)


def test_few_variants_and_none_that_depends_on_a_value():
    # words, walk, extent, frame; three widths of patches and points, each in gray of one or three
    # channels and in colour
    check_variants(BUILDS, 4 + 3 * 2 * 3)


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, target):
    # a division in float64 is a routine of ptxas
    sass = machine_code(build, target, divides=build.function is frames.ifs_frame_kernel)
    assert sass.count("BAR") == 0
    if build.function is kernels.ifs_walk_kernel:
        loop = sass.loop("REDG?")
        # a warp does two steps of its 128 walks each time round
        points = 2 * dict(build.constants)["BLOCK"] // 32
        assert count(loop, "REDG?") == points
        if RECORDED:
            assert len(loop) / points <= WALK.get(target.arch, WALK_ELSEWHERE)
    elif build.function is frames.ifs_extent_kernel:
        # reductions when the walks are over; before, a load of words and three of maps a step
        loop = sass.loop("FSETP|FMNMX")
        assert count(loop, "REDG?|SHFL") == 0
        points = (count(loop, "LDG") - 1) / 3
        if RECORDED:
            assert len(loop) / points <= EXTENT
    else:
        assert sass.count("REDG?") == 0
    if build.function is kernels.ifs_resolve_kernel:
        loop = sass.loop("STG")
        pixels = count(loop, "STG") / dict(build.constants)["CHANNELS"]
        if RECORDED:
            assert len(loop) / pixels <= RESOLVE[dict(build.signature)["images_ptr"]]


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    code = amd_code(build, target)
    assert "s_barrier" not in code
    if build.function is kernels.ifs_walk_kernel:
        # the older ones have no integer maximum for coarse memory that Triton would use
        native = "global_atomic_umax" in code or "global_atomic_max_u32" in code
        assert native == (target.arch == "gfx942")
