"""Run by test_ifs3d_triton in a process of its own: what compilers make of the 3D kernel."""

import contextlib
import re
from unittest import mock

import numpy as np
import pytest
import torch
from fdsl_gpu.kernels import ifs3d as kernels
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from ifs3d_cases import ALL, contracting_table_3d, instance
from ifs_cases import assert_same_bits, blank
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import ifs, ifs3d
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula

WALK = 83
"""Instructions of the main loop for each point, the division's included."""


@contextlib.contextmanager
def launching(launch):
    # the 2D drawing that it builds on checks the device
    own = mock.patch.object(ifs3d, "check_device", create=True)
    with own, mock.patch.object(ifs, "check_device"), replaced_kernels(ifs3d, launch):
        yield


def launched():
    """The variants of the 3D kernel that the host code can launch."""
    builds = {}
    with launching(lambda build, grid, arguments: builds.setdefault(build)):
        for case in ("published", "patches"):
            samples = instance(case)
            for channels_last in (False, True):
                ifs3d.draw(samples, blank(samples, channels_last=channels_last))
    return [build for build in builds if build.function is kernels.ifs3d_walk_kernel]


BUILDS = launched()
AMD_BUILDS = on_amd(launched)


def test_one_variant_that_depends_on_no_value():
    check_variants(BUILDS, 1)


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
def test_nvidia(target):
    (build,) = BUILDS
    sass = machine_code(build, target, divides=True)
    assert sass.count("BAR|SHFL") == 0
    ptx = build.compile(target).asm["ptx"]
    points = dict(build.constants)["BLOCK"] // 32
    assert len(re.findall(r"div\.rn\.f32|rcp\.rn\.f32", ptx)) == points
    loop = sass.loop("REDG?")
    assert count(loop, "REDG?") == points
    if RECORDED:
        assert len(loop) / points <= WALK


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
def test_amd(target):
    (build,) = AMD_BUILDS
    amd_code(build, target, divides=True)


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("number", [80, 90, 100])
def test_ptx_draws_the_definition(number, case):
    samples = instance(case)
    images = blank(samples)
    with launching(run_on_cpu(NVIDIA[number])):
        ifs3d.draw(samples, images)
    expected = np.full(images.shape, 77, np.uint8)
    Ifs3dFormula(contracting_table_3d()).draw_numpy(samples, expected)
    assert_same_bits(images, torch.from_numpy(expected))
