"""Bézier curves: the vertices of all strokes. Lines and pixels are those of `contours`.

Definition: fdsl_gpu.formulas.bezier, which this kernel equals bit for bit: the same order of
float32 operations (compile with enable_fp_fusion=False), integers everywhere else.

Memory of a chunk of N images of up to C curves of up to P control points, of V vertices:
    params   int32 [N, ROW]          what `contours` reads of an image's strokes, its orbits, and
                                     what the host packs at the offsets below
    controls float32 [N, C, P, 2]    control points of each image, x and y in pixels
    shares   float32 [T, V]          share of each control point in each vertex: of curves of 2,
                                     3, ... points
    points   int64 [blocks * LINES]  as `contours` has it, a stroke in place of an orbit
"""

import triton
import triton.language as tl
from fdsl_gpu.kernels.contours import BLOCKS_AT, KEY, LINES, NUM_ORBITS, NUM_VERTICES, ROW, _mix

# offsets in a row of params, in int32, where `contours` has what moves vertices outward
NUM_POINTS = tl.constexpr(4)
SHARES_AT = tl.constexpr(5)  # row of the first control point in shares
JITTER = tl.constexpr(6)  # float32: how far a stroke moves a control point, in pixels

# words of a stroke
STROKE_WORDS = tl.constexpr(64)


@triton.jit
def _moved(place_ptr, word, key0, key1, jitter):
    """A coordinate of a control point where a stroke has it."""
    high = (_mix(word, key0, key1) >> 8).to(tl.int32)
    share = high.to(tl.float32) * 1.1920928955078125e-07 - 1.0
    return tl.load(place_ptr) + jitter * share


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "controls_ptr",
        "shares_ptr",
        "points_ptr",
        "max_curves",
        "max_points",
        "num_strokes",
    ]
)
def bezier_trace_kernel(
    params_ptr,  # [N, ROW] int32
    controls_ptr,  # [N, C, P, 2] float32
    shares_ptr,  # [T, V] float32
    points_ptr,  # [blocks * LINES] int64
    max_curves,  # C
    max_points,  # P
    num_strokes,  # of a curve
):
    """Vertices of an image's strokes, LINES at once. Grid: (N, programs that share the blocks)."""
    image = tl.program_id(0).to(tl.int64)
    row = params_ptr + image * ROW
    words = row.to(tl.pointer_type(tl.uint32))
    key0 = tl.load(words + KEY)
    key1 = tl.load(words + KEY + 1)
    jitter = tl.load(row.to(tl.pointer_type(tl.float32)) + JITTER)
    count = tl.load(row + NUM_VERTICES)
    num_points = tl.load(row + NUM_POINTS)
    num_blocks = (count + LINES - 1) // LINES
    total = num_blocks * tl.load(row + NUM_ORBITS)
    blocks_at = tl.load((row + BLOCKS_AT).to(tl.pointer_type(tl.int64)))
    for block in range(tl.program_id(1), total, tl.num_programs(1)):
        stroke = block // num_blocks
        vertex = (block - stroke * num_blocks) * LINES + tl.arange(0, LINES)
        inside = vertex < count
        share_ptr = shares_ptr + tl.load(row + SHARES_AT) * count + vertex
        place_ptr = controls_ptr + (image * max_curves + stroke // num_strokes) * max_points * 2
        word = (stroke * STROKE_WORDS).to(tl.uint32)
        x = tl.zeros([LINES], tl.float32)
        y = tl.zeros([LINES], tl.float32)
        for _ in range(num_points):
            share = tl.load(share_ptr, mask=inside, other=0.0)
            x += _moved(place_ptr, word, key0, key1, jitter) * share
            y += _moved(place_ptr + 1, word + 1, key0, key1, jitter) * share
            share_ptr += count
            place_ptr += 2
            word += 2
        # uint32 first: the sign of a column must not reach into the row
        low = x.to(tl.int32).to(tl.uint32, bitcast=True).to(tl.int64)
        point = points_ptr + (blocks_at + block) * LINES + tl.arange(0, LINES)
        tl.store(point, low | (y.to(tl.int32).to(tl.int64) << 32), mask=inside)
