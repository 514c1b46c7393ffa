"""Run by test_perlin_triton in a process of its own: what compilers make of the kernel."""

import pytest
from gates import RECORDED, amd_code, check_variants, machine_code, on_amd
from ifs_cases import FORMATS, assert_same_bits, blank, normalised
from perlin_cases import CASES, defined, instance
from sass import count
from triton_builds import AMD, NVIDIA, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import perlin

OCTAVE = 98
"""Instructions of an octave for each pixel."""
PIXELS = 4
"""Pixels of a thread."""


def launched():
    """Every variant that the host code can launch."""
    builds = {}
    with replaced_kernels(perlin, lambda build, grid, arguments: builds.setdefault(build)):
        for dtype, channels, channels_last in FORMATS:
            samples = instance("published")
            perlin.draw(samples, blank(samples, dtype, channels, channels_last))
    return list(builds)


BUILDS = launched()
AMD_BUILDS = on_amd(launched)


def test_few_variants_and_none_that_depends_on_a_value():
    # values of one, two or four bytes, in one channel or three
    check_variants(BUILDS, 6)


@pytest.mark.parametrize("number", NVIDIA, ids="sm_{}".format)
@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_nvidia(build, number):
    sass = machine_code(build, NVIDIA[number])
    # no thread tells another one anything
    assert sass.count("LDS|STS|BAR|SHFL|REDG?") == 0
    loop = sass.loop("LDG")
    # a gradient of each corner, and the octave's amplitude
    assert PIXELS * 4 <= count(loop, "LDG") <= PIXELS * 4 + 1
    if RECORDED:
        assert len(loop) / PIXELS <= OCTAVE, len(loop)


@pytest.mark.parametrize("target", AMD.values(), ids=list(AMD))
@pytest.mark.parametrize("build", AMD_BUILDS, ids=str)
def test_amd(build, target):
    assert "s_barrier" not in amd_code(build, target)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("number", [80, 90, 100])
def test_ptx_draws_the_definition(number, case):
    samples = instance(case)
    images = blank(samples)
    with replaced_kernels(perlin, run_on_cpu(NVIDIA[number])):
        perlin.draw(samples, images)
    assert_same_bits(images, defined(samples))


@pytest.mark.parametrize("dtype, channels, channels_last", FORMATS, ids=str)
@pytest.mark.parametrize("number", [80, 90, 100])
def test_ptx_of_every_format(number, dtype, channels, channels_last):
    samples = instance("octaves")
    images = blank(samples, dtype, channels, channels_last)
    expected, mean, std = defined(samples, channels), None, None
    if dtype.is_floating_point:
        mean, std = (0.2, 0.485, 0.1)[:channels], (0.5, 0.229, 1.0)[:channels]
        expected = normalised(expected, mean, std, dtype)
    with replaced_kernels(perlin, run_on_cpu(NVIDIA[number], backwards=True)):
        perlin.draw(samples, images, mean=mean, std=std)
    assert_same_bits(images, expected)
