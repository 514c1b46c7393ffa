"""Sigma-factor fractals: extents, counts by integer addition, hues over a background.

Definition: fdsl_gpu.formulas.graded_drawing, which these kernels equal bit for bit: the same order
of float32 operations (compile with enable_fp_fusion=False), IEEE division, integers everywhere
else. No thread reads what another thread of its launch wrote, and sums and maxima do not depend on
the order of their terms, so block sizes and timing change no pixel.

Memory of a chunk of N images of up to F fractals, H their side, P = H + 2:
    params  int32 [F, N, ROW]     what the host packs for a fractal, as `ifs` has it up to its index
                                  and seed, then at the offsets below; rows of one F lie together
    words   int64 [N, num_words]  of `ifs`; the fractals of an image share them
    extents int32 [F, N, 4]       ~x min, x max, ~y min, y max as sortable integers: all maxima
    counts  int32 [F, N, P * P]   points in each cell of a square of side + 2 cells
    sums    int32 [F, N, H * H]   patches over each pixel of a square
    largest int32 [F, N]          the largest of them
    looks   int32 [N, LOOK]       of a background
    grid    int32 [N, G * G]      its diamond-square noise, G = 2**levels + 1
    sectors int32 [256]           what red, green and blue lose at each hue, ten bits each
"""

import triton
import triton.language as tl
from fdsl_gpu.kernels.ifs import MAPS, PATCH_KEY, ROW, START, _step, _thresholds
from fdsl_gpu.kernels.ifs_frame import _sortable

# offsets in a row of params, after what the walks read
WINDOW = tl.constexpr(PATCH_KEY.value)  # 4 float32: left, top as shares; columns, rows
PATCH = tl.constexpr(PATCH_KEY.value + 4)  # nine bits
COLOR = tl.constexpr(PATCH_KEY.value + 5)  # hue, saturation, value: a byte each
SIDE = tl.constexpr(PATCH_KEY.value + 6)  # in pixels; 0 for none
CORNER = tl.constexpr(PATCH_KEY.value + 7)  # top * 2**16 + left, both signed

# offsets in a row of looks
NOISE_KEY = tl.constexpr(0)  # 2 uint32
NOISE_COLOR = tl.constexpr(2)  # scale and shift of hue, saturation and value
AMPLITUDE = tl.constexpr(8)  # of each level
BLUR = tl.constexpr(23)  # what `blur` reads
LOOK = tl.constexpr(24)


# pixels of a thread whose largest sum is one atomic
ROUNDS = tl.constexpr(8)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "words_ptr",
        "extents_ptr",
        "num_images",
        "num_words",
        "num_steps",
    ]
)
def graded_extent_kernel(
    params_ptr,  # [F, N, ROW] int32
    words_ptr,  # [N, num_words] int64
    extents_ptr,  # [F, N, 4] int32, all -2**31: no point yet
    num_images,
    num_words,
    num_steps,
    BLOCK: tl.constexpr,
):
    """The extent of the first steps of BLOCK walks of one fractal. Grid: as the count's."""
    fractal = tl.program_id(0).to(tl.int64)
    row = params_ptr + fractal * ROW
    if tl.load(row + SIDE) > 0:
        words = words_ptr + fractal % num_images * num_words
        maps = (row + MAPS).to(tl.pointer_type(tl.int64))
        t0, t1, t2, t3, t4, t5, t6 = _thresholds(row)
        start = (row + START).to(tl.pointer_type(tl.float32))
        x = tl.zeros([BLOCK], tl.float32) + tl.load(start)
        y = tl.zeros([BLOCK], tl.float32) + tl.load(start + 1)
        walk = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
        x_min = tl.full([BLOCK], float("inf"), tl.float32)
        x_max = tl.full([BLOCK], float("-inf"), tl.float32)
        y_min = x_min
        y_max = x_max
        for step in range(num_steps):
            x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
            x_min = tl.where(x < x_min, x, x_min)
            x_max = tl.where(x > x_max, x, x_max)
            y_min = tl.where(y < y_min, y, y_min)
            y_max = tl.where(y > y_max, y, y_max)
        some = (x_min <= x_max) & (y_min <= y_max)
        extents = extents_ptr + fractal * 4 + tl.zeros([BLOCK], tl.int32)
        low_x = ~_sortable(x_min.to(tl.int32, bitcast=True))
        high_x = _sortable(x_max.to(tl.int32, bitcast=True))
        low_y = ~_sortable(y_min.to(tl.int32, bitcast=True))
        high_y = _sortable(y_max.to(tl.int32, bitcast=True))
        tl.atomic_max(extents, low_x, mask=some, sem="relaxed")
        tl.atomic_max(extents + 1, high_x, mask=some, sem="relaxed")
        tl.atomic_max(extents + 2, low_y, mask=some, sem="relaxed")
        tl.atomic_max(extents + 3, high_y, mask=some, sem="relaxed")


@triton.jit
def _float(sortable):
    return _sortable(sortable).to(tl.float32, bitcast=True)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "words_ptr",
        "extents_ptr",
        "counts_ptr",
        "num_images",
        "num_words",
        "num_steps",
        "burn_in",
        "plane",
    ]
)
def graded_count_kernel(
    params_ptr,  # [F, N, ROW] int32
    words_ptr,  # [N, num_words] int64
    extents_ptr,  # [F, N, 4] int32
    counts_ptr,  # [F, N, P * P] int32, zeros
    num_images,
    num_words,
    num_steps,
    burn_in,
    plane,  # P * P
    BLOCK: tl.constexpr,
):
    """All steps of BLOCK walks of one fractal. Grid: (F * N, num_walks / BLOCK)."""
    fractal = tl.program_id(0).to(tl.int64)
    row = params_ptr + fractal * ROW
    side = tl.load(row + SIDE)
    if side > 0:
        words = words_ptr + fractal % num_images * num_words
        maps = (row + MAPS).to(tl.pointer_type(tl.int64))
        t0, t1, t2, t3, t4, t5, t6 = _thresholds(row)
        start = (row + START).to(tl.pointer_type(tl.float32))
        x = tl.zeros([BLOCK], tl.float32) + tl.load(start)
        y = tl.zeros([BLOCK], tl.float32) + tl.load(start + 1)
        walk = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)).to(tl.uint32)
        for step in range(burn_in):
            x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
        extents = extents_ptr + fractal * 4
        x_min = _float(~tl.load(extents))
        y_min = _float(~tl.load(extents + 2))
        width = _float(tl.load(extents + 1)) - x_min
        height = _float(tl.load(extents + 3)) - y_min
        window = (row + WINDOW).to(tl.pointer_type(tl.float32))
        left = x_min + tl.load(window) * width
        top = y_min + tl.load(window + 1) * height
        scale_x = tl.div_rn(tl.load(window + 2), width)
        scale_y = tl.div_rn(tl.load(window + 3), height)
        pitch = side + 2
        bound = pitch.to(tl.float32).to(tl.uint32, bitcast=True)
        counts = counts_ptr + fractal * plane
        for step in range(burn_in, burn_in + num_steps):
            x, y = _step(x, y, walk, tl.load(words + step), maps, t0, t1, t2, t3, t4, t5, t6)
            column = (x - left) * scale_x + 1.0
            line = (y - top) * scale_y + 1.0
            # no negative zero arises: floats in range order as their bits do, and all others above
            bits = tl.maximum(column.to(tl.uint32, bitcast=True), line.to(tl.uint32, bitcast=True))
            cell = line.to(tl.int32) * pitch + column.to(tl.int32)
            tl.atomic_add(counts + cell, 1, mask=bits < bound, sem="relaxed")


@triton.jit(
    do_not_specialize=["params_ptr", "counts_ptr", "sums_ptr", "largest_ptr", "plane", "area"]
)
def graded_sum_kernel(
    params_ptr,  # [F, N, ROW] int32
    counts_ptr,  # [F, N, P * P] int32
    sums_ptr,  # [F, N, H * H] int32
    largest_ptr,  # [F, N] int32, zeros
    plane,  # P * P
    area,  # H * H
    BLOCK: tl.constexpr,
):
    """Patches over some pixels of one fractal's square. Grid: (cdiv(H * H, 8 * BLOCK), F * N)."""
    fractal = tl.program_id(1).to(tl.int64)
    row = params_ptr + fractal * ROW
    side = tl.load(row + SIDE)
    patch = tl.load(row + PATCH)
    pitch = side + 2
    pixel = tl.program_id(0) * (ROUNDS * BLOCK) + tl.arange(0, BLOCK)
    counts = counts_ptr + fractal * plane
    sums = sums_ptr + fractal * area
    largest = tl.zeros([BLOCK], tl.int32)
    if tl.program_id(0) * (ROUNDS * BLOCK) < side * side:
        for _ in range(ROUNDS):
            cells = counts + (pixel // side * pitch + pixel % side)
            total = tl.zeros([BLOCK], tl.int32)
            for cell in tl.static_range(9):
                # a point in the middle of the patch is one cell further down and right
                lit = pixel < tl.where((patch & (256 >> cell)) != 0, side * side, 0)
                at = (2 - cell // 3) * pitch + (2 - cell % 3)
                total += tl.load(cells + at, mask=lit, other=0)
            tl.store(sums + pixel, total, mask=pixel < side * side)
            largest = tl.maximum(largest, total)
            pixel += BLOCK
        target = largest_ptr + fractal + tl.zeros([BLOCK], tl.int32)
        tl.atomic_max(target, largest, mask=largest > 0, sem="relaxed")


@triton.jit
def _random_bits(index, key0, key1):
    """Sixteen random bits of a grid point; fdsl_gpu.rng.mix."""
    h = index.to(tl.uint32) ^ key0
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= key1
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
    return h >> 16


@triton.jit
def _noisy(total, index, most, key0, key1):
    """A quarter of a sum, plus the noise of a grid point."""
    noise = (_random_bits(index, key0, key1) * (2 * most).to(tl.uint32)) >> 16
    return (total >> 2) + noise.to(tl.int32) - most


@triton.jit(do_not_specialize=["looks_ptr", "grid_ptr", "level", "gap", "size"])
def diamond_kernel(
    looks_ptr,  # [N, LOOK] int32
    grid_ptr,  # [N, G * G] int32
    level,
    gap,  # between points of this level
    size,  # G
    BLOCK: tl.constexpr,
):
    """Centres of the squares of one level, and its corners at first. Grid: (blocks, N)."""
    image = tl.program_id(1).to(tl.int64)
    look = looks_ptr + image * LOOK
    key0 = tl.load((look + NOISE_KEY).to(tl.pointer_type(tl.uint32)))
    key1 = tl.load((look + NOISE_KEY + 1).to(tl.pointer_type(tl.uint32)))
    most = tl.load(look + AMPLITUDE + level)
    grid = grid_ptr + image * size * size
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    across = (size - 1) // (2 * gap)
    inside = number < across * across
    first = number // across * (2 * gap) * size + number % across * (2 * gap)
    centre = first + gap * size + gap
    total = tl.zeros([BLOCK], tl.int32)
    for corner in tl.static_range(4):
        at = first + (corner // 2 * size + corner % 2) * 2 * gap
        if level == 0:
            value = _random_bits(at, key0, key1).to(tl.int32)
            tl.store(grid + at, value, mask=inside)
        else:
            value = tl.load(grid + at, mask=inside, other=0)
        total += value
    tl.store(grid + centre, _noisy(total, centre, most, key0, key1), mask=inside)


@triton.jit(do_not_specialize=["looks_ptr", "grid_ptr", "level", "gap", "size"])
def square_kernel(
    looks_ptr,  # [N, LOOK] int32
    grid_ptr,  # [N, G * G] int32
    level,
    gap,
    size,  # G
    BLOCK: tl.constexpr,
):
    """Middles of the edges of one level, whose neighbours wrap around. Grid: (blocks, N)."""
    image = tl.program_id(1).to(tl.int64)
    look = looks_ptr + image * LOOK
    key0 = tl.load((look + NOISE_KEY).to(tl.pointer_type(tl.uint32)))
    key1 = tl.load((look + NOISE_KEY + 1).to(tl.pointer_type(tl.uint32)))
    most = tl.load(look + AMPLITUDE + level)
    grid = grid_ptr + image * size * size
    # half of the points of this level, row by row: an even row has one less than an odd one
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    across = (size - 1) // (2 * gap)
    pair = number // (2 * across + 1)
    place = number % (2 * across + 1)
    is_even = place < across
    line = (2 * pair + tl.where(is_even, 0, 1)) * gap
    column = tl.where(is_even, 2 * place + 1, 2 * (place - across)) * gap
    inside = line < size
    up = tl.where(line == 0, size - 1 - gap, line - gap)
    down = tl.where(line == size - 1, gap, line + gap)
    left = tl.where(column == 0, size - 1 - gap, column - gap)
    right = tl.where(column == size - 1, gap, column + gap)
    total = tl.load(grid + up * size + column, mask=inside, other=0)
    total += tl.load(grid + down * size + column, mask=inside, other=0)
    total += tl.load(grid + line * size + left, mask=inside, other=0)
    total += tl.load(grid + line * size + right, mask=inside, other=0)
    at = line * size + column
    tl.store(grid + at, _noisy(total, at, most, key0, key1), mask=inside)


@triton.jit
def _line(value, look, offset):
    """Scale times a value in units of 2**-16, plus shift."""
    return ((value * tl.load(look + offset)) >> 16) + tl.load(look + offset + 1)


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "sums_ptr",
        "largest_ptr",
        "looks_ptr",
        "grid_ptr",
        "sectors_ptr",
        "images_ptr",
        "num_images",
        "num_fractals",
        "image_size",
        "area",
        "size",
        "image_stride",
        "channel_stride",
        "line_stride",
        "column_stride",
    ]
)
def graded_shade_kernel(
    params_ptr,  # [F, N, ROW] int32
    sums_ptr,  # [F, N, H * H] int32
    largest_ptr,  # [F, N] int32
    looks_ptr,  # [N, LOOK] int32
    grid_ptr,  # [N, G * G] int32
    sectors_ptr,  # [256] int32
    images_ptr,  # [N, 3, H, W] uint8, any strides
    num_images,
    num_fractals,
    image_size,
    area,  # H * H
    size,  # G
    image_stride,
    channel_stride,
    line_stride,
    column_stride,
    BACKGROUND: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """BLOCK pixels of one image: the last fractal over each. Grid: (cdiv(H * W, BLOCK), N)."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < image_size * image_size
    line = pixel // image_size
    column = pixel % image_size
    hue = tl.zeros([BLOCK], tl.int32)
    saturation = tl.zeros([BLOCK], tl.int32)
    value = tl.zeros([BLOCK], tl.int32)
    if BACKGROUND:
        look = looks_ptr + image * LOOK
        noise = tl.load(grid_ptr + image * size * size + line * size + column, inside, other=0)
        hue = _line(noise, look, NOISE_COLOR)
        saturation = tl.minimum(tl.maximum(_line(noise, look, NOISE_COLOR + 2), 0), 255)
        value = tl.minimum(tl.maximum(_line(noise, look, NOISE_COLOR + 4), 0), 255)
    for number in range(num_fractals):
        fractal = number * num_images + image
        row = params_ptr + fractal * ROW
        side = tl.load(row + SIDE)
        corner = tl.load(row + CORNER)
        down = line - (corner >> 16)
        right = column - ((corner << 16) >> 16)
        there = inside & (down >= 0) & (down < side) & (right >= 0) & (right < side)
        count = tl.load(sums_ptr + fractal * area + down * side + right, mask=there, other=0)
        largest = tl.maximum(tl.load(largest_ptr + fractal), 1)
        whole = tl.zeros([BLOCK], tl.float32) + largest.to(tl.float32)
        density = tl.div_rn(count.to(tl.float32), whole)
        color = tl.load(row + COLOR)
        hit = count > 0
        hue = tl.where(hit, (density * 255.0).to(tl.int32) + (color & 255), hue)
        saturation = tl.where(hit, (color >> 8) & 255, saturation)
        value = tl.where(hit, (color >> 16) & 255, value)
    lost = tl.load(sectors_ptr + (hue & 255))
    pixels = images_ptr + image * image_stride + line * line_stride + column * column_stride
    for channel in tl.static_range(3):
        share = (lost >> (10 * channel)) & 1023
        shade = (value * (65536 - saturation * share)) >> 16
        tl.store(pixels + channel * channel_stride, shade.to(tl.uint8), mask=inside)
