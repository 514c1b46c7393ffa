"""Run by test_contours_triton in a process of its own: what GPU compilers make of the kernels."""

import pytest
import torch
from contour_cases import blank, samples_of
from fdsl_gpu.kernels import contours as kernels
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels

from fdsl_gpu.backends.triton import contours

# instructions of the innermost loop: of a step of 32 lines, of a step of 32 vertices
LINE_STEP = 20
# Triton 3.8.0 keeps a barrier of a warp's threads in the loop here
LINE_STEP_SM_75 = 26
VERTEX_STEP = {False: 81, True: 93}  # without a view, and with one


def launched():
    """Every variant that the host code can launch, by launching all it can draw."""
    builds = {}
    with replaced_kernels(contours, lambda build, grid, arguments: builds.setdefault(build)):
        for case in ("visualatom", "window", "segrcdb_M1", "segrcdb_M2", "segrcdb_M3"):
            for channels in (1, 3):
                samples = samples_of(case)
                contours.draw(samples, *map(torch.from_numpy, blank(samples, channels)))
    return list(builds)


BUILDS = launched()
AMD_BUILDS = on_amd(launched)


def test_few_variants_and_none_that_depends_on_a_value():
    # move with and without a view; lines, fills' mask; measure with and without fills; fills with
    # and without holes; shades of one and three channels with and without labels
    check_variants(BUILDS, 2 + 2 + 2 + 2 + 4)


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, target):
    sass = machine_code(build, target)
    assert sass.count("BAR") == 0
    if build.function is kernels.contour_lines_kernel:
        loop = sass.loop("REDG?")
        assert count(loop, "REDG?") == 1
        if RECORDED:
            assert len(loop) <= (LINE_STEP_SM_75 if target.arch == 75 else LINE_STEP)
    if build.function is kernels.contour_move_kernel:
        loop = sass.loop("STG")
        assert count(loop, "STG") == 1
        if RECORDED:
            assert len(loop) <= VERTEX_STEP[dict(build.constants)["VIEWED"]], len(loop)


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    assert "s_barrier" not in amd_code(build, target)
