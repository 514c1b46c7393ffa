"""Run by test_ifs3d_triton in a process of its own: what compilers make of the 3D kernel.

Budgets are those of the Triton version that they were recorded with: its compiler decides them.
"""

import contextlib
import re
from unittest import mock

import numpy as np
import pytest
import torch
import triton
from fdsl_gpu.kernels import ifs3d as kernels
from ifs3d_cases import ALL, contracting_table_3d, instance
from ifs_cases import assert_same_bits, blank
from sass import count, disassemble
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import ifs, ifs3d
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula

RECORDED_WITH = "3.9.0"
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
with mock.patch.object(torch.version, "hip", "7.0"):
    AMD_BUILDS = launched()


def test_one_variant_that_depends_on_no_value():
    assert len(BUILDS) == 1
    for parameter in BUILDS[0].function.params:
        assert parameter.is_constexpr or parameter.do_not_specialize, parameter.name


@pytest.mark.parametrize("target", NVIDIA.values(), ids=[f"sm_{number}" for number in NVIDIA])
def test_nvidia(target):
    (build,) = BUILDS
    compiled = build.compile(target)
    sass = disassemble(compiled.asm["cubin"])
    assert sass.registers <= 64
    assert sass.local_bytes == 0
    assert sass.count("LDL|STL") == 0
    assert sass.count("MEMBAR|ERRBAR|CCTL|BAR|SHFL|ATOMG?") == 0
    # a product and a sum are rounded separately; the division is IEEE's
    ptx = compiled.asm["ptx"]
    assert not re.search(r"\bfma\b|\.ftz|\b(add|sub|mul)\.f32|div\.(full|approx)", ptx)
    points = dict(build.constants)["BLOCK"] // 32
    assert len(re.findall(r"div\.rn\.f32|rcp\.rn\.f32", ptx)) == points
    loop = sass.loop("REDG?")
    assert count(loop, "REDG?") == points
    if triton.__version__ == RECORDED_WITH:
        assert len(loop) / points <= WALK


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
def test_amd(target):
    (build,) = AMD_BUILDS
    code = build.compile(target).asm["amdgcn"]
    spills = re.findall(r"\.(?:v|s)gpr_spill_count:\s+(\d+)", code)
    assert spills and set(spills) == {"0"}


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
