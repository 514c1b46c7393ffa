"""Contours: vertices of all orbits, the longest line of each block, lines, pixels.

A pixel keeps the largest key of its lines: one integer maximum a pixel of a line.

Definition: fdsl_gpu.formulas.contours, which these kernels equal bit for bit: the same order of
float32 operations (compile with enable_fp_fusion=False), integers everywhere else. No thread reads
what another thread of its launch wrote, and a maximum or an exclusive or does not depend on the
order of its terms, so block sizes and timing change no pixel.

A line is drawn by one thread. Threads of a block step together, so it takes as many steps as its
longest line has pixels, which is what the second kernel finds out for the third.

Memory of a chunk of N images of I contours, S = image_size:
    params    int32 [N * I, ROW]     what the host packs for a contour, at the offsets below
    circles   float32 [2, C]         cosine and sine of each vertex of polygons of 3, 4, ... of them
    gradients float32 [257]          of Perlin's noise, the last repeats the first
    points    int64 [blocks * LINES] column (low half) and row of each vertex; orbits begin at
                                     whole blocks, a contour's at block VERTICES_AT
    longest   int32 [blocks]         pixels of the longest visible line of a block, zeros at first
    canvas    int32 [N, S * S]       keys ((contour * 1024 + orbit) + 1) * 256 + gray, 0 = untouched
"""

import triton
import triton.language as tl

# offsets in a row of params, in int32; a 64-bit field lies at an even offset
BLOCKS_AT = tl.constexpr(0)  # int64: first block of the contour in points
NUM_VERTICES = tl.constexpr(2)
NUM_ORBITS = tl.constexpr(3)
FREQUENCY = tl.constexpr(4)  # 2
CIRCLE_AT = tl.constexpr(6)  # first vertex in circles
VALUE = tl.constexpr(7)  # of a mask
CENTER = tl.constexpr(8)  # 2 float32
RADIUS = tl.constexpr(10)  # 2 float32
STEP = tl.constexpr(12)  # float32
AMPLITUDE = tl.constexpr(13)  # float32
WAVE = tl.constexpr(14)  # float32
KEY = tl.constexpr(15)  # 4 uint32
AFTER_LAST = tl.constexpr(19)  # the vertex that a line leads to from the last: 0, or the last
AFFINE = tl.constexpr(20)  # 6 float32 of the view: on the canvas
TURN = tl.constexpr(26)  # 6 of it: from the canvas's pixels to those of the image
ROW = tl.constexpr(32)

# lines of a block: those of one warp
LINES = tl.constexpr(32)
# words of an orbit
ORBIT_WORDS = tl.constexpr(2048)


@triton.jit
def _mix(value, key0, key1):
    h = value ^ key0
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= key1
    h ^= h >> 15
    h *= 0x846CA68B
    return h ^ (h >> 16)


@triton.jit
def _noise(word, gradients_ptr):
    """Perlin's noise at the interval and place that a word says, without its factor 0.4."""
    interval = gradients_ptr + (word >> 24).to(tl.int32)
    t = (word & 0xFFFFFF).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08
    near = tl.load(interval) * t
    far = tl.load(interval + 1) * (t - 1.0)
    fade = t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
    return near + fade * (far - near)


@triton.jit
def _six(numbers_ptr):
    return (
        tl.load(numbers_ptr),
        tl.load(numbers_ptr + 1),
        tl.load(numbers_ptr + 2),
        tl.load(numbers_ptr + 3),
        tl.load(numbers_ptr + 4),
        tl.load(numbers_ptr + 5),
    )


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "circles_ptr",
        "gradients_ptr",
        "points_ptr",
        "num_circle",
    ]
)
def contour_move_kernel(
    params_ptr,  # [N * I, ROW] int32
    circles_ptr,  # [2, num_circle] float32
    gradients_ptr,  # [257] float32
    points_ptr,  # [blocks * LINES] int64
    num_circle,
    VIEWED: tl.constexpr,  # whether the image shows the canvas through a view
):
    """LINES vertices of one contour on their way through its orbits. Grid: (N * I, blocks)."""
    row = params_ptr + tl.program_id(0).to(tl.int64) * ROW
    count = tl.load(row + NUM_VERTICES)
    num_blocks = (count + LINES - 1) // LINES
    block = tl.program_id(1)
    # programs beyond the contour have nothing to do
    num_orbits = tl.where(block < num_blocks, tl.load(row + NUM_ORBITS), 0)
    vertex = block * LINES + tl.arange(0, LINES)
    inside = vertex < count
    floats = row.to(tl.pointer_type(tl.float32))
    words = row.to(tl.pointer_type(tl.uint32))
    key0 = tl.load(words + KEY)
    key1 = tl.load(words + KEY + 1)
    circle = circles_ptr + tl.load(row + CIRCLE_AT)
    cos = tl.load(circle + vertex, mask=inside, other=0.0)
    sin = tl.load(circle + num_circle + vertex, mask=inside, other=0.0)
    first = tl.load(row + FREQUENCY) * vertex % count
    second = tl.load(row + FREQUENCY + 1) * vertex % count
    waves = tl.load(circle + num_circle + first) + tl.load(circle + num_circle + second)
    reach = tl.load(floats + STEP) + tl.load(floats + WAVE) * waves
    amplitude = tl.load(floats + AMPLITUDE)
    x = tl.load(floats + CENTER) + tl.load(floats + RADIUS) * cos
    y = tl.load(floats + CENTER + 1) + tl.load(floats + RADIUS + 1) * sin
    word = (2 * vertex).to(tl.uint32)
    points = points_ptr + tl.load((row + BLOCKS_AT).to(tl.pointer_type(tl.int64))) * LINES + vertex
    if VIEWED:
        a, b, c, d, e, f = _six(floats + AFFINE)
        p, q, r, s, left, top = _six(row + TURN)
    for _ in range(num_orbits):
        x += cos * (reach - amplitude * _noise(_mix(word, key0, key1), gradients_ptr))
        y += sin * (reach - amplitude * _noise(_mix(word + 1, key0, key1), gradients_ptr))
        column = x.to(tl.int32)
        line = y.to(tl.int32)
        if VIEWED:
            u = ((a * x + b * y) + e).to(tl.int32)
            v = ((c * x + d * y) + f).to(tl.int32)
            column = (p * u + q * v) + left
            line = (r * u + s * v) + top
        # uint32 first: the sign of a column must not reach into the row
        low = column.to(tl.uint32, bitcast=True).to(tl.int64)
        tl.store(points, low | (line.to(tl.int64) << 32), mask=inside)
        word += ORBIT_WORDS
        points += num_blocks * LINES


@triton.jit
def _line(points_ptr, blocks_at, block, num_blocks, count, after_last):
    """The ends of the lines of a block; a lane beyond the polygon has none."""
    first = block // num_blocks * num_blocks
    vertex = (block - first) * LINES + tl.arange(0, LINES)
    inside = vertex < count
    points = points_ptr + (blocks_at + first) * LINES
    start = tl.load(points + vertex, mask=inside, other=0)
    following = tl.where(vertex + 1 == count, after_last, vertex + 1)
    end = tl.load(points + following, mask=inside, other=0)
    x0, y0 = start.to(tl.int32), (start >> 32).to(tl.int32)
    x1, y1 = end.to(tl.int32), (end >> 32).to(tl.int32)
    return x0, y0, x1, y1, inside


@triton.jit(do_not_specialize=["params_ptr", "points_ptr", "longest_ptr", "image_size"])
def contour_measure_kernel(
    params_ptr,  # [N * I, ROW] int32
    points_ptr,  # [blocks * LINES] int64
    longest_ptr,  # [blocks] int32, zeros
    image_size,  # S
    FILLS: tl.constexpr,  # whether lines to the left of the canvas count: rows cross them
):
    """The longest lines of a contour's blocks. Grid: (N * I, programs that share the blocks)."""
    row = params_ptr + tl.program_id(0).to(tl.int64) * ROW
    count = tl.load(row + NUM_VERTICES)
    after_last = tl.load(row + AFTER_LAST)
    num_blocks = (count + LINES - 1) // LINES
    blocks_at = tl.load((row + BLOCKS_AT).to(tl.pointer_type(tl.int64)))
    total = num_blocks * tl.load(row + NUM_ORBITS)
    for block in range(tl.program_id(1), total, tl.num_programs(1)):
        x0, y0, x1, y1, inside = _line(points_ptr, blocks_at, block, num_blocks, count, after_last)
        pixels = tl.maximum(tl.maximum(tl.abs(x1 - x0), tl.abs(y1 - y0)), 1)
        visible = inside & (tl.maximum(y0, y1) >= 0) & (tl.minimum(y0, y1) < image_size)
        visible &= tl.minimum(x0, x1) < image_size
        if not FILLS:
            visible &= tl.maximum(x0, x1) >= 0
        cell = longest_ptr + blocks_at + block + tl.zeros([LINES], tl.int32)
        tl.atomic_max(cell, pixels, mask=visible, sem="relaxed")


@triton.jit
def _draw(plane_ptr, x0, y0, x1, y1, inside, longest, key, image_size, DOWN, ACROSS):
    """Bresenham's lines, a thread each, without their last pixels; a point is its one pixel."""
    dx = x1 - x0
    dy = y1 - y0
    right = tl.where(dx >= 0, 1, -1)
    down = tl.where(dy >= 0, 1, -1)
    width = tl.abs(dx)
    height = tl.abs(dy)
    steep = height > width
    pixels = tl.where(inside, tl.maximum(tl.maximum(width, height), 1), 0)
    double_long = 2 * tl.maximum(width, height)
    double_short = 2 * tl.minimum(width, height)
    error = double_short - tl.maximum(width, height)
    # what a step always changes, and what it changes where the line steps aside
    along_x = tl.where(steep, 0, right)
    along_y = tl.where(steep, down, 0)
    aside_x = tl.where(steep, right, 0)
    aside_y = tl.where(steep, 0, down)
    x, y = x0, y0
    limit = image_size.to(tl.uint32)
    for step in range(longest):
        seen = (step < pixels) & (tl.maximum(x.to(tl.uint32), y.to(tl.uint32)) < limit)
        tl.atomic_max(plane_ptr + (y * DOWN + x * ACROSS), key, mask=seen, sem="relaxed")
        turn = error >= 0
        x += tl.where(turn, along_x + aside_x, along_x)
        y += tl.where(turn, along_y + aside_y, along_y)
        error += tl.where(turn, double_short - double_long, double_short)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "points_ptr",
        "longest_ptr",
        "canvas_ptr",
        "num_contours",
        "image_size",
        "num_grays",
    ]
)
def contour_lines_kernel(
    params_ptr,  # [N * I, ROW] int32
    points_ptr,  # [blocks * LINES] int64
    longest_ptr,  # [blocks] int32
    canvas_ptr,  # [N, S * S] int32, zeros
    num_contours,  # I
    image_size,  # S
    num_grays,
):
    """All lines of a contour. Grid: (N * I, programs that share its blocks)."""
    contour = tl.program_id(0)
    row = params_ptr + contour.to(tl.int64) * ROW
    words = row.to(tl.pointer_type(tl.uint32))
    key2 = tl.load(words + KEY + 2)
    key3 = tl.load(words + KEY + 3)
    count = tl.load(row + NUM_VERTICES)
    after_last = tl.load(row + AFTER_LAST)
    num_blocks = (count + LINES - 1) // LINES
    blocks_at = tl.load((row + BLOCKS_AT).to(tl.pointer_type(tl.int64)))
    total = num_blocks * tl.load(row + NUM_ORBITS)
    canvas = canvas_ptr + (contour // num_contours).to(tl.int64) * image_size * image_size
    number = contour % num_contours * 1024 + 1
    for block in range(tl.program_id(1), total, tl.num_programs(1)):
        x0, y0, x1, y1, inside = _line(points_ptr, blocks_at, block, num_blocks, count, after_last)
        orbit = block // num_blocks
        word = _mix(orbit.to(tl.uint32), key2, key3).to(tl.uint64)
        gray = tl.minimum(((word * num_grays.to(tl.uint64)) >> 32).to(tl.int32), 255)
        key = (number + orbit) * 256 + gray
        longest = tl.load(longest_ptr + blocks_at + block)
        _draw(canvas, x0, y0, x1, y1, inside, longest, key, image_size, image_size, 1)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "canvas_ptr",
        "images_ptr",
        "masks_ptr",
        "num_contours",
        "image_size",
        "image_stride",
        "channel_stride",
        "row_stride",
        "column_stride",
        "background",
    ]
)
def contour_shade_kernel(
    params_ptr,  # [N * I, ROW] int32
    canvas_ptr,  # [N, S * S] int32
    images_ptr,  # [N, C, H, W] uint8, any strides
    masks_ptr,  # [N, H, W] uint8; not touched, and of any type, without LABELS
    num_contours,  # I
    image_size,  # S
    image_stride,
    channel_stride,
    row_stride,
    column_stride,
    background,
    CHANNELS: tl.constexpr,
    LABELS: tl.constexpr,  # whether lines give the mask
    BLOCK: tl.constexpr,
):
    """Grays of BLOCK pixels of one image. Grid: (cdiv(S * S, BLOCK), N)."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pixels = image_size * image_size
    inside = pixel < pixels
    key = tl.load(canvas_ptr + image * pixels + pixel, mask=inside, other=0)
    gray = tl.where(key > 0, key & 255, background).to(tl.uint8)
    row = (pixel // image_size).to(tl.int64)
    column = (pixel % image_size).to(tl.int64)
    place = images_ptr + image * image_stride + row * row_stride + column * column_stride
    for channel in tl.static_range(CHANNELS):
        tl.store(place + channel * channel_stride, gray, mask=inside)
    if LABELS:
        drawn = inside & (key > 0)
        contour = image * num_contours + tl.where(drawn, (key - 256) >> 18, 0)
        value = tl.load(params_ptr + contour * ROW + VALUE, mask=drawn, other=0)
        tl.store(masks_ptr + image * pixels + pixel, value.to(tl.uint8), mask=inside)
