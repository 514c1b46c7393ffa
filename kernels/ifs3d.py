"""Chaos game of 3D affine systems seen by a camera: one division and one integer maximum a point.

Definition: fdsl_gpu.formulas.ifs3d, which this kernel equals bit for bit; the division is IEEE's.
Words before it and pixels after it are those of `ifs`. Memory as there, and

    systems  float32 [N, SYSTEM]  six tables of eight pairs: (a, b), (c, j), (d, e), (f, k), (g, h),
                                  (i, l) of eight maps; then where every walk starts, and what is
                                  added to (X, Y) / depth
"""

import triton
import triton.language as tl
from fdsl_gpu.kernels.ifs import ROW, _splat, _thresholds

START = tl.constexpr(96)  # 3 float32
OFFSET = tl.constexpr(99)  # 2 float32
SYSTEM = tl.constexpr(104)  # even: pairs of the next system lie at even offsets

NEAR_BITS = tl.constexpr(0x3F800000)  # of 1.0
DEPTH_BITS = tl.constexpr(0x03480000)  # of 100.0, less those of 1.0


@triton.jit
def _low(pair):
    return pair.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _high(pair):
    return (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _step(x, y, z, walk, pair, maps_ptr, t0, t1, t2, t3, t4, t5, t6):
    """One step of all walks: find each walk's map by bisecting the thresholds, and apply it."""
    word = walk * pair.to(tl.uint32) + (pair >> 32).to(tl.uint32)
    upper = word >= t3
    outer = word >= tl.where(upper, t5, t1)
    last = word >= tl.where(outer, tl.where(upper, t6, t2), tl.where(upper, t4, t0))
    chosen = tl.where(upper, 4, 0)
    chosen = tl.where(outer, chosen + 2, chosen)
    chosen = tl.where(last, chosen + 1, chosen)
    ab = tl.load(maps_ptr + chosen)
    cj = tl.load(maps_ptr + 8 + chosen)
    new_x = ((_low(ab) * x + _high(ab) * y) + _low(cj) * z) + _high(cj)
    de = tl.load(maps_ptr + 16 + chosen)
    fk = tl.load(maps_ptr + 24 + chosen)
    new_y = ((_low(de) * x + _high(de) * y) + _low(fk) * z) + _high(fk)
    gh = tl.load(maps_ptr + 32 + chosen)
    il = tl.load(maps_ptr + 40 + chosen)
    new_z = ((_low(gh) * x + _high(gh) * y) + _low(il) * z) + _high(il)
    return new_x, new_y, new_z


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "systems_ptr",
        "words_ptr",
        "canvas_ptr",
        "num_words",
        "num_walks",
        "num_steps",
        "burn_in",
        "canvas_size",
    ]
)
def ifs3d_walk_kernel(
    params_ptr,  # [N, ROW] int32
    systems_ptr,  # [N, SYSTEM] float32
    words_ptr,  # [N, num_words] int64
    canvas_ptr,  # [N, (S+3) * (S+3)] int32, zeros
    num_words,
    num_walks,
    num_steps,
    burn_in,
    canvas_size,  # S
    BLOCK: tl.constexpr,
):
    """All steps of BLOCK walks of one image. Grid: (N, num_walks / BLOCK)."""
    image = tl.program_id(0).to(tl.int64)
    words = words_ptr + image * num_words
    t0, t1, t2, t3, t4, t5, t6 = _thresholds(params_ptr + image * ROW)
    system = systems_ptr + image * SYSTEM
    maps = system.to(tl.pointer_type(tl.int64))
    x = tl.zeros([BLOCK], tl.float32) + tl.load(system + START)
    y = tl.zeros([BLOCK], tl.float32) + tl.load(system + START + 1)
    z = tl.zeros([BLOCK], tl.float32) + tl.load(system + START + 2)
    right = tl.load(system + OFFSET)
    down = tl.load(system + OFFSET + 1)
    walk = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    for step in range(burn_in):
        x, y, z = _step(x, y, z, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)

    stride = canvas_size + 3
    canvas = (canvas_ptr + image * stride * stride).to(tl.pointer_type(tl.uint32))
    canvas += 3 * stride + 3
    bound = canvas_size.to(tl.float32).to(tl.uint32, bitcast=True)
    key = (walk + 1) * 16
    for step in range(burn_in, burn_in + num_steps):
        x, y, z = _step(x, y, z, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
        inverse = tl.div_rn(tl.full([BLOCK], 1.0, tl.float32), z)
        # positive floats order as their bits do
        seen = z.to(tl.uint32, bitcast=True) - NEAR_BITS <= DEPTH_BITS
        column = tl.where(seen, x * inverse + right, -1.0)
        _splat(canvas, column, y * inverse + down, key, bound, stride)
        key += num_walks * 16
