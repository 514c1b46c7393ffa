"""Run by test_triton_ptx: the executor of PTX against what the PTX manual says."""

import numpy as np
import pytest
from ptx.parse import parse
from ptx.run import OutOfBounds, Program

HEADER = """
.version 8.0
.target sm_80
.visible .entry example(.param .u64 example_param_0, .param .u64 example_param_1)
.reqntid 4
{
  .reg .b32 %r<9>;
"""
# each thread: %r1 = its number, %rd1 and %rd2 = its elements of the two buffers
START = """
  ld.param.b64 %rd3, [example_param_0];
  ld.param.b64 %rd4, [example_param_1];
  mov.u32 %r1, %tid.x;
  mul.wide.u32 %rd5, %r1, 4;
  add.s64 %rd1, %rd3, %rd5;
  add.s64 %rd2, %rd4, %rd5;
  ld.global.b32 { %r2 }, [ %rd1 + 0 ];
"""
END = """
  st.global.b32 [ %rd2 + 0 ], { %r3 };
  ret;
}
"""


def run(body, values, dtype=np.uint32, backwards=False, size=4):
    source = np.array(values, dtype).view(np.uint8)
    target = np.zeros(4 * size, np.uint8)
    program = Program(HEADER + START + body + END)
    program((1,), [source, target], backwards)
    return target.view(dtype)


def bits(*values):
    return np.array(values, np.float32).view(np.uint32)


@pytest.mark.parametrize(
    "body, values, expected",
    [
        ("add.s32 %r3, %r2, -1;", [0, 1, 5, 2**31], [2**32 - 1, 0, 4, 2**31 - 1]),
        ("mul.hi.u32 %r3, %r2, 511;", [2**32 - 1, 2**31, 1, 0], [510, 255, 0, 0]),
        ("mad.lo.s32 %r3, %r2, 3, 7;", [0, 1, 2**31, 2**32 - 1], [7, 10, 2**31 + 7, 4]),
        ("shr.u32 %r3, %r2, 4;", [16, 255, 2**32 - 1, 0], [1, 15, 2**28 - 1, 0]),
        ("shr.s32 %r3, %r2, 40;", [16, 2**31, 2**32 - 1, 0], [0, 2**32 - 1, 2**32 - 1, 0]),
        ("shl.b32 %r3, %r2, 32;", [1, 2, 3, 4], [0, 0, 0, 0]),
        ("max.u32 %r3, %r2, 7;", [0, 7, 8, 2**32 - 1], [7, 7, 8, 2**32 - 1]),
        ("max.s32 %r3, %r2, 7;", [0, 7, 8, 2**32 - 1], [7, 7, 8, 7]),
        ("prmt.b32 %r3, %r2, 0, 0x0123U;", [0x01020304] * 4, [0x04030201] * 4),
        ("bfe.s32 %r3, %r2, 8, 1;", [0, 256, 255, 2**32 - 1], [0, 2**32 - 1, 0, 2**32 - 1]),
        ("bfe.u32 %r3, %r2, 8, 8;", [0xFF00, 0x100FF, 2**32 - 1, 0x8000], [255, 0, 255, 128]),
        ("bfe.s32 %r3, %r2, 4, 4;", [0x70, 0x80, 0xF0, 0xF], [7, 2**32 - 8, 2**32 - 1, 0]),
        ("setp.lt.u32 %p1, %r2, 5; selp.b32 %r3, 1, 2, %p1;", [0, 4, 5, 2**31], [1, 1, 2, 2]),
        ("setp.lt.s32 %p1, %r2, 5; selp.b32 %r3, 1, 2, %p1;", [0, 4, 5, 2**31], [1, 1, 2, 1]),
        (
            "mov.b32 %r3, 0;\n$L1: add.s32 %r3, %r3, 2; setp.lt.u32 %p1, %r3, %r2; @%p1 bra $L1;",
            [0, 2, 3, 9],
            [2, 2, 4, 10],
        ),
    ],
)
def test_integers(body, values, expected):
    np.testing.assert_array_equal(run(body, values), np.array(expected, np.uint32))


def test_floats_are_rounded_to_the_nearest_one_by_one():
    a, b = np.float32(1 + 2**-12), np.float32(-1 - 2**-11)
    body = "mul.rn.f32 %r4, %r2, %r2; add.rn.f32 %r3, %r4, 0fBF801000;"
    np.testing.assert_array_equal(run(body, bits(a, a, a, a)), bits(*[a * a + b] * 4))
    fused = run("fma.rn.f32 %r3, %r2, %r2, 0fBF801000;", bits(a, a, a, a))
    np.testing.assert_array_equal(fused, bits(*[2.0**-24] * 4))


def test_conversion_to_integers_saturates_and_truncates():
    values = bits(np.nan, 3e9, -7.9, 7.9)
    expected = np.array([0, 2**31 - 1, -7, 7], np.int32).view(np.uint32)
    np.testing.assert_array_equal(run("cvt.rzi.s32.f32 %r3, %r2;", values), expected)


def test_double_precision_is_rounded_once_on_the_way_back():
    body = """
      cvt.f64.f32 %rd6, %r2;
      mul.rn.f64 %rd7, %rd6, 0d3FF0000010000001;
      div.rn.f64 %rd8, %rd7, 0dC008000000000000;
      cvt.rn.f32.f64 %r4, %rd8;
      abs.f32 %r3, %r4;
    """
    values = np.array([1, 3, 1e30, -7], np.float32)
    factor = np.array(0x3FF0000010000001, np.uint64).view(np.float64)
    expected = np.abs((values.astype(np.float64) * factor / -3.0).astype(np.float32))
    np.testing.assert_array_equal(run(body, bits(*values)), expected.view(np.uint32))


@pytest.mark.parametrize("comparison, expected", [("lt", 2), ("ne", 2), ("neu", 1), ("geu", 1)])
def test_comparisons_with_nan(comparison, expected):
    body = f"setp.{comparison}.f32 %p1, %r2, 0f00000000; selp.b32 %r3, 1, 2, %p1;"
    assert run(body, bits(np.nan, 0, 0, 0))[0] == expected


def test_reductions_keep_the_largest_in_either_order():
    body = "red.global.gpu.relaxed.max.u32 [ %rd4 + 0 ], %r2; ret;"
    for backwards in (False, True):
        assert run(body, [5, 2**31 + 1, 9, 0], backwards=backwards)[0] == 2**31 + 1


def test_an_atomic_tells_what_was_there():
    # all add to the first element; each then writes what it found two elements further on
    body = """
      atom.global.gpu.relaxed.add.u32 %r3, [ %rd4 + 0 ], %r2;
      st.global.b32 [ %rd2 + 8 ], { %r3 };
      ret;
    """
    assert run(body, [5, 6, 7, 8], size=6).tolist() == [26, 0, 0, 5, 11, 18]


@pytest.mark.parametrize(
    "body",
    [
        "ld.global.b32 { %r3 }, [ %rd1 + 16 ];",
        "ld.global.b32 { %r3 }, [ %rd3 + -1 ];",
        "mov.b32 %r3, 0; st.global.b32 [ %rd4 + 14 ], { %r3 };",
        "mov.b32 %r3, 0; red.global.gpu.relaxed.max.u32 [ %rd4 + 4096 ], %r3;",
    ],
)
def test_an_access_outside_of_every_buffer_is_caught(body):
    with pytest.raises(OutOfBounds, match="example: '(ld|st|red).global"):
        run(body, [1, 2, 3, 4])


@pytest.mark.parametrize(
    "body",
    [
        "bar.sync 0;",
        "shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;",
        "ld.shared.b32 { %r3 }, [ %rd1 + 0 ];",
        "mul.f32 %r3, %r2, %r2;",
        "add.rn.ftz.f32 %r3, %r2, %r2;",
        "add.sat.s32 %r3, %r2, %r2;",
        "atom.global.gpu.acq_rel.max.u32 %r3, [ %rd1 + 0 ], %r2;",
        "red.global.gpu.release.max.u32 [ %rd1 + 0 ], %r2;",
        "cvt.rni.s32.f32 %r3, %r2;",
        "min.f32 %r3, %r2, %r2;",
        "mov.b32 %r3, global_smem;",
        "ld.global.L1::evict_last.b32 { %r3 }, [ %rd1 + 0 ];",
    ],
)
def test_what_is_not_known_is_refused(body):
    with pytest.raises(NotImplementedError, match="PTX"):
        run(body, [1, 2, 3, 4])


def test_parts_of_a_kernel():
    kernel = parse(HEADER + START + "$L1: @!%p1 bra $L1;" + END)
    assert kernel.name == "example"
    assert kernel.parameters == ("u64", "u64")
    assert kernel.num_threads == 4
    branch = next(item for item in kernel.body if getattr(item, "opcode", None) == ("bra",))
    assert (branch.guard, branch.operands) == ("!%p1", ("$L1",))
