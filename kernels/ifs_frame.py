"""Samples without a known frame: the extent of their walk, and their maps moved to pixel space.

Definition: `extents` and `framed` of fdsl_gpu.formulas.ifs, bit for bit. The same walk as the one
that is drawn afterwards, so both passes share their words. Memory as in `ifs`, and

    extents  int32 [N, 4]    ~x min, x max, ~y min, y max as sortable integers: all four are maxima
    affines  float64 [N, 6]  what comes after the frame: p, q, r, s, t, u of a view
"""

import triton
import triton.language as tl
from fdsl_gpu.kernels.ifs import MAPS, ROW, START, THRESHOLDS, _step, _thresholds


@triton.jit
def _sortable(bits):
    """Bits of float32 as integers that order as the floats do; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "words_ptr",
        "extents_ptr",
        "num_words",
        "num_steps",
        "burn_in",
    ]
)
def ifs_extent_kernel(
    params_ptr,  # [N, ROW] int32, maps in the formula's space
    words_ptr,  # [N, num_words] int64
    extents_ptr,  # [N, 4] int32, all -2**31: no point yet
    num_words,
    num_steps,
    burn_in,
    BLOCK: tl.constexpr,
):
    """The first pass of BLOCK walks: the extent of their finite points. Grid: as the walk's."""
    image = tl.program_id(0).to(tl.int64)
    row = params_ptr + image * ROW
    words = words_ptr + image * num_words
    maps = (row + MAPS).to(tl.pointer_type(tl.int64))
    t0, t1, t2, t3, t4, t5, t6 = _thresholds(row)
    x = tl.zeros([BLOCK], tl.float32)
    y = tl.zeros([BLOCK], tl.float32)
    walk = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    for step in range(burn_in):
        x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
    infinity = float("inf")
    left = tl.full([BLOCK], infinity, tl.float32)
    right = tl.full([BLOCK], -infinity, tl.float32)
    top = left
    bottom = right
    for step in range(burn_in, burn_in + num_steps):
        x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
        finite = (tl.abs(x) < infinity) & (tl.abs(y) < infinity)
        left = tl.where(finite & (x < left), x, left)
        right = tl.where(finite & (x > right), x, right)
        top = tl.where(finite & (y < top), y, top)
        bottom = tl.where(finite & (y > bottom), y, bottom)
    some = left <= right
    extents = extents_ptr + image * 4 + tl.zeros([BLOCK], tl.int32)
    low_x = ~_sortable(left.to(tl.int32, bitcast=True))
    high_x = _sortable(right.to(tl.int32, bitcast=True))
    low_y = ~_sortable(top.to(tl.int32, bitcast=True))
    high_y = _sortable(bottom.to(tl.int32, bitcast=True))
    tl.atomic_max(extents, low_x, mask=some, sem="relaxed")
    tl.atomic_max(extents + 1, high_x, mask=some, sem="relaxed")
    tl.atomic_max(extents + 2, low_y, mask=some, sem="relaxed")
    tl.atomic_max(extents + 3, high_y, mask=some, sem="relaxed")


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "extents_ptr",
        "affines_ptr",
        "framed_ptr",
        "frame_size",
        "pad",
    ]
)
def ifs_frame_kernel(
    params_ptr,  # [N, ROW] int32, maps in the formula's space
    extents_ptr,  # [N, 4] int32
    affines_ptr,  # [N, 6] float64
    framed_ptr,  # [N, ROW] int32: the same, but maps and start in pixel space
    frame_size,
    pad,
    BLOCK: tl.constexpr,
):
    """One sample's maps moved to pixel space, in float64 and rounded once. Grid: (N,).

    The operations of fdsl_gpu.formulas.ifs_table.to_pixel_space, in its order. An extent without
    points reads as NaN, whose maps draw nothing.
    """
    image = tl.program_id(0).to(tl.int64)
    row = params_ptr + image * ROW
    framed = framed_ptr + image * ROW
    place = tl.arange(0, BLOCK)
    kept = (place >= THRESHOLDS) & (place < ROW) & (place != START) & (place != START + 1)
    tl.store(framed + place, tl.load(row + place, mask=kept, other=0), mask=kept)

    extents = extents_ptr + image * 4
    x0 = _sortable(~tl.load(extents)).to(tl.float32, bitcast=True).to(tl.float64)
    x1 = _sortable(tl.load(extents + 1)).to(tl.float32, bitcast=True).to(tl.float64)
    y0 = _sortable(~tl.load(extents + 2)).to(tl.float32, bitcast=True).to(tl.float64)
    y1 = _sortable(tl.load(extents + 3)).to(tl.float32, bitcast=True).to(tl.float64)
    inner = (frame_size - 2 * pad).to(tl.float64)
    margin = pad.to(tl.float64)
    scale_x = inner / (x1 - x0)
    scale_y = inner / (y1 - y0)
    shift_x = margin - x0 * scale_x
    shift_y = margin - y0 * scale_y

    number = tl.arange(0, 8)
    maps = (row + MAPS).to(tl.pointer_type(tl.float32)) + 2 * number
    a = tl.load(maps).to(tl.float64)
    b = tl.load(maps + 1).to(tl.float64)
    c = tl.load(maps + 16).to(tl.float64)
    d = tl.load(maps + 17).to(tl.float64)
    e = tl.load(maps + 32).to(tl.float64)
    f = tl.load(maps + 33).to(tl.float64)
    b = b * scale_x / scale_y
    c = c * scale_y / scale_x
    e = scale_x * e + shift_x - a * shift_x - b * shift_y
    f = scale_y * f + shift_y - c * shift_x - d * shift_y

    affine = affines_ptr + image * 6
    p = tl.load(affine)
    q = tl.load(affine + 1)
    r = tl.load(affine + 2)
    s = tl.load(affine + 3)
    t = tl.load(affine + 4)
    u = tl.load(affine + 5)
    va = p * a + q * c
    vb = p * b + q * d
    vc = r * a + s * c
    vd = r * b + s * d
    area = p * s - q * r
    a = (va * s - vb * r) / area
    b = (vb * p - va * q) / area
    c = (vc * s - vd * r) / area
    d = (vd * p - vc * q) / area
    ve = p * e + q * f + t - (a * t + b * u)
    vf = r * e + s * f + u - (c * t + d * u)

    # + 0.0: no negative zeros, as _splat relies on
    out = (framed + MAPS).to(tl.pointer_type(tl.float32)) + 2 * number
    tl.store(out, a.to(tl.float32) + 0.0)
    tl.store(out + 1, b.to(tl.float32) + 0.0)
    tl.store(out + 16, c.to(tl.float32) + 0.0)
    tl.store(out + 17, d.to(tl.float32) + 0.0)
    tl.store(out + 32, ve.to(tl.float32) + 0.0)
    tl.store(out + 33, vf.to(tl.float32) + 0.0)
    start = (framed + START).to(tl.pointer_type(tl.float32))
    tl.store(start, (p * shift_x + q * shift_y + t).to(tl.float32) + 0.0)
    tl.store(start + 1, (r * shift_x + s * shift_y + u).to(tl.float32) + 0.0)
