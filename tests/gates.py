"""What the gate of every kernel asks of the code that GPU compilers make of it.

Budgets of instructions are those of the Triton versions that they were recorded with: its compiler
decides them.
"""

import re
from unittest import mock

import torch
import triton
from sass import disassemble

RECORDED = triton.__version__ in ("3.8.0", "3.9.0")


def on_amd(launched):
    """What a function that launches kernels would launch where torch was built for AMD."""
    with mock.patch.object(torch.version, "hip", "7.0"):
        return launched()


def check_variants(builds, number):
    """As many variants of the kernels as that, none of which depends on a value."""
    assert len(builds) == number
    for build in builds:
        for parameter in build.function.params:
            assert parameter.is_constexpr or parameter.do_not_specialize, (build, parameter.name)


def machine_code(build, target, divides=False):
    """The machine code for an NVIDIA GPU, without spills, fences and fused operations.

    A division is rounded as IEEE wants it, once, and is made of fused operations.
    """
    compiled = build.compile(target)
    sass = disassemble(compiled.asm["cubin"])
    assert sass.registers <= 64
    assert sass.local_bytes == 0
    assert sass.count("LDL|STL") == 0
    # no fence, and no atomic whose result is waited for
    assert sass.count("MEMBAR|ERRBAR|CCTL|ATOMG?") == 0
    # a product and a sum are rounded separately
    loose = r"\bfma\b|\.ftz|\b(add|sub|mul)\.f(32|64)|div\.(full|approx)"
    assert not re.search(loose, compiled.asm["ptx"])
    assert divides or sass.count("FFMA2?") == 0
    return sass


def amd_code(build, target, divides=False):
    """The machine code for an AMD GPU, without spills and fused operations."""
    code = build.compile(target).asm["amdgcn"]
    spills = re.findall(r"\.(?:v|s)gpr_spill_count:\s+(\d+)", code)
    assert spills and set(spills) == {"0"}
    assert divides or not re.search(r"\bv_(pk_)?(fma|mad|mac|fmac)_\w*f32", code)
    return code
