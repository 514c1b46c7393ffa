"""Chaos game of 2D affine systems: walk words, walks with one integer maximum a point, pixels.

Definition: fdsl_gpu.formulas.ifs, which these kernels equal bit for bit: the same Philox counters,
the same order of float32 operations (compile with enable_fp_fusion=False), integers everywhere
else. No thread reads what another thread of its launch wrote, and a maximum does not depend on
the order of its terms, so block sizes and timing change no pixel.

Memory of a chunk of N images, S = canvas_size:
    params  int32 [N, ROW]            what the host packs for an image, at the offsets below
    words   int64 [N, num_words]      a step's A (odd, low half) and B: walk w uses w * A + B
    canvas  int32 [N, (S+3) * (S+3)]  unsigned keys order * 16, 0 = untouched; three zero rows above
                                      and three zero columns before each row let every pixel read
                                      its whole 3x3 neighbourhood without a mask, and the host
                                      leaves as many spare cells at the end as a tile reads beyond
    values  [C, 129]                  bits to store for a dark pixel (0) and 128 hues (1..128)
"""

import triton
import triton.language as tl

# offsets in a row of params, in int32; 64-bit fields lie at even offsets
MAPS = tl.constexpr(0)  # 3 x 8 pairs of float32: (a, b), (c, d), (e, f) of eight maps
THRESHOLDS = tl.constexpr(48)  # 7 uint32, ascending
START = tl.constexpr(56)  # 2 float32: where every walk starts
INDEX = tl.constexpr(58)  # uint64
SEED = tl.constexpr(60)  # uint64
PATCH_KEY = tl.constexpr(62)  # 2 uint32
HASHED_BITS = tl.constexpr(64)  # uint32: which bits of the order choose the patch's mask
FORCED_BITS = tl.constexpr(65)  # uint32: which bits of the 3x3 mask are always set
CANVAS_ORIGIN = tl.constexpr(66)  # cell of the neighbourhood of the first pixel that is drawn
IMAGE_ORIGIN = tl.constexpr(67)  # element of the image where that pixel goes
LINE_STEP = tl.constexpr(68)  # elements of the image from one canvas row to the next
COLUMN_STEP = tl.constexpr(69)  # and from one canvas column to the next
ROW = tl.constexpr(70)

PURPOSE_WALK = tl.constexpr(2)
NUM_HUES = tl.constexpr(128)
NUM_VALUES = tl.constexpr(129)

# rows that a thread of the resolve kernel goes down
GROUP_ROWS = tl.constexpr(16)


@triton.jit(do_not_specialize=["params_ptr", "words_ptr", "num_words"])
def ifs_words_kernel(
    params_ptr,  # [N, ROW] int32
    words_ptr,  # [N, num_words] int64
    num_words,  # even: one Philox call makes the words of two steps
    BLOCK: tl.constexpr,
):
    """The words of BLOCK pairs of steps of one image. Grid: (N, cdiv(num_words / 2, BLOCK))."""
    image = tl.program_id(0).to(tl.int64)
    draw = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = params_ptr + image * ROW
    index = tl.load((row + INDEX).to(tl.pointer_type(tl.int64)))
    seed = tl.load((row + SEED).to(tl.pointer_type(tl.int64)))
    zero = tl.zeros([BLOCK], tl.uint32)
    even_a, even_b, odd_a, odd_b = tl.philox(
        seed,
        zero + index.to(tl.uint32),
        zero + (index >> 32).to(tl.uint32),
        draw.to(tl.uint32),
        zero + PURPOSE_WALK,
    )
    inside = 2 * draw < num_words
    words = words_ptr + image * num_words + 2 * draw
    tl.store(words, _pair(even_a | 1, even_b), mask=inside)
    tl.store(words + 1, _pair(odd_a | 1, odd_b), mask=inside)


@triton.jit
def _pair(low, high):
    return (low.to(tl.uint64) | (high.to(tl.uint64) << 32)).to(tl.int64, bitcast=True)


@triton.jit
def _thresholds(row):
    """The seven thresholds, loaded before the loop: a load is not moved out past the atomics."""
    thresholds = (row + THRESHOLDS).to(tl.pointer_type(tl.uint32))
    t0 = tl.load(thresholds)
    t1 = tl.load(thresholds + 1)
    t2 = tl.load(thresholds + 2)
    t3 = tl.load(thresholds + 3)
    t4 = tl.load(thresholds + 4)
    t5 = tl.load(thresholds + 5)
    t6 = tl.load(thresholds + 6)
    return t0, t1, t2, t3, t4, t5, t6


@triton.jit
def _step(x, y, walk, pair, maps_ptr, t0, t1, t2, t3, t4, t5, t6):
    """One step of all walks: find each walk's map by bisecting the thresholds, and apply it."""
    word = walk * pair.to(tl.uint32) + (pair >> 32).to(tl.uint32)
    upper = word >= t3
    outer = word >= tl.where(upper, t5, t1)
    last = word >= tl.where(outer, tl.where(upper, t6, t2), tl.where(upper, t4, t0))
    chosen = tl.where(upper, 4, 0)
    chosen = tl.where(outer, chosen + 2, chosen)
    chosen = tl.where(last, chosen + 1, chosen)
    ab = tl.load(maps_ptr + chosen)
    cd = tl.load(maps_ptr + 8 + chosen)
    ef = tl.load(maps_ptr + 16 + chosen)
    a = ab.to(tl.int32).to(tl.float32, bitcast=True)
    b = (ab >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    c = cd.to(tl.int32).to(tl.float32, bitcast=True)
    d = (cd >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    e = ef.to(tl.int32).to(tl.float32, bitcast=True)
    f = (ef >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return (a * x + b * y) + e, (c * x + d * y) + f


@triton.jit
def _splat(canvas, x, y, key, bound, stride):
    """Keep the larger key on the pixel of each point. Points outside and NaN are dropped.

    There are no negative zeros, so floats from 0 to the canvas size order as their bits do, and
    the bits of negative numbers, NaN and infinity are larger: one comparison does for four edges.
    """
    bits = tl.maximum(x.to(tl.uint32, bitcast=True), y.to(tl.uint32, bitcast=True))
    cell = y.to(tl.int32) * stride + x.to(tl.int32)
    tl.atomic_max(canvas + cell, key, mask=bits < bound, sem="relaxed")


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "words_ptr",
        "canvas_ptr",
        "num_words",
        "num_walks",
        "num_steps",
        "burn_in",
        "canvas_size",
    ]
)
def ifs_walk_kernel(
    params_ptr,  # [N, ROW] int32
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
    row = params_ptr + image * ROW
    words = words_ptr + image * num_words
    maps = (row + MAPS).to(tl.pointer_type(tl.int64))
    t0, t1, t2, t3, t4, t5, t6 = _thresholds(row)
    start = (row + START).to(tl.pointer_type(tl.float32))
    x = tl.zeros([BLOCK], tl.float32) + tl.load(start)
    y = tl.zeros([BLOCK], tl.float32) + tl.load(start + 1)
    walk = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
    for step in range(burn_in):
        x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)

    stride = canvas_size + 3
    canvas = (canvas_ptr + image * stride * stride).to(tl.pointer_type(tl.uint32))
    canvas += 3 * stride + 3
    bound = canvas_size.to(tl.float32).to(tl.uint32, bitcast=True)
    key = (walk + 1) * 16
    words += burn_in
    # two steps an iteration halve the cost of the loop itself
    for step in range(0, num_steps - 1, 2):
        x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
        _splat(canvas, x, y, key, bound, stride)
        key += num_walks * 16
        x, y = _step(x, y, walk, tl.load(words + step + 1), maps, t0, t1, t2, t3, t4, t5, t6)
        _splat(canvas, x, y, key, bound, stride)
        key += num_walks * 16
    if num_steps % 2 == 1:
        x, y = _step(x, y, walk, tl.load(words + num_steps - 1), maps, t0, t1, t2, t3, t4, t5, t6)
        _splat(canvas, x, y, key, bound, stride)


@triton.jit
def _row_maximum(cells):
    """The largest key of three neighbours, each with the number of its patch bit added."""
    return tl.maximum(tl.maximum(tl.load(cells), tl.load(cells + 1) + 1), tl.load(cells + 2) + 2)


@triton.jit
def _patch_bit(best, key0, key1, hashed_bits, forced_bits):
    """Whether the winning patch lights the pixel: bit `best & 15` of the mask of its order."""
    h = ((best >> 4) & hashed_bits) ^ key0
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= key1
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
    patch = tl.umulhi(h, tl.full(h.shape, 511, tl.uint32)) + 1
    return (best >= 16) & ((((patch | forced_bits) >> (best & 15)) & 1) != 0)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "canvas_ptr",
        "values_ptr",
        "images_ptr",
        "canvas_size",
        "image_size",
        "image_stride",
        "channel_stride",
    ]
)
def ifs_resolve_kernel(
    params_ptr,  # [N, ROW] int32
    canvas_ptr,  # [N, (S+3) * (S+3)] int32
    values_ptr,  # [CHANNELS, 129], same width as images
    images_ptr,  # [N, C, H, W], any strides
    canvas_size,  # S
    image_size,  # H and W
    image_stride,
    channel_stride,
    CHANNELS: tl.constexpr,
    PATCH: tl.constexpr,  # whether a point lights a 3x3 patch or one pixel
    COLOR: tl.constexpr,  # whether the value depends on the order, or only on being lit
    COLUMNS: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """One tile of one image, seen in the canvas; a pixel is stored where orientation and crop say.

    A tile has GROUPS * 16 rows of COLUMNS pixels. A thread goes down 16 rows and keeps the row
    maxima that three rows share: 3.4 loads a pixel instead of nine. Grid: (tiles across, tiles
    down, N).
    """
    image = tl.program_id(2).to(tl.int64)
    row = params_ptr + image * ROW
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    line = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)[:, None]
    line *= GROUP_ROWS
    stride = canvas_size + 3
    cells = canvas_ptr + image * stride * stride + tl.load(row + CANVAS_ORIGIN)
    cells = cells.to(tl.pointer_type(tl.uint32)) + (line * stride + column)
    line_step = tl.load(row + LINE_STEP)
    pixels = images_ptr + image * image_stride + tl.load(row + IMAGE_ORIGIN)
    pixels += line * line_step + column * tl.load(row + COLUMN_STEP)
    # rows that are left in this column; none where the column lies outside
    left = tl.where(column < image_size, image_size - line, 0)
    bits = row.to(tl.pointer_type(tl.uint32))
    key0 = tl.load(bits + PATCH_KEY)
    key1 = tl.load(bits + PATCH_KEY + 1)
    hashed_bits = tl.load(bits + HASHED_BITS)
    forced_bits = tl.load(bits + FORCED_BITS)
    if PATCH:
        upper = _row_maximum(cells)
        middle = _row_maximum(cells + stride)
        cells += 2 * stride
    else:
        cells += 3 * stride + 3
    for pair in range(0, GROUP_ROWS, 2):
        for half in tl.static_range(2):
            if PATCH:
                lower = _row_maximum(cells)
                best = tl.maximum(tl.maximum(upper, middle + 3), lower + 6)
                lit = _patch_bit(best, key0, key1, hashed_bits, forced_bits)
                upper = middle
                middle = lower
            else:
                best = tl.load(cells)
                lit = best != 0
            for channel in tl.static_range(CHANNELS):
                values = values_ptr + channel * NUM_VALUES
                if COLOR:
                    hue = ((best >> 4) - 1) & (NUM_HUES - 1)
                    value = tl.load(values + tl.where(lit, hue.to(tl.int32) + 1, 0))
                else:
                    value = tl.where(lit, tl.load(values + 1), tl.load(values))
                tl.store(pixels + channel * channel_stride, value, mask=pair + half < left)
            cells += stride
            pixels += line_step
