"""Perlin noise: every pixel blends the ramps of its cell's four corners, octave after octave.

Definition: fdsl_gpu.formulas.perlin, which this kernel equals bit for bit: the same order of
float32 operations (compile with enable_fp_fusion=False). No thread reads what another one wrote,
so block sizes change no pixel. What depends on a column or a row alone is computed once for it.

Memory of N images:
    params     int32 [N, ROW]  what the host packs for an image, at the offsets below
    gradients  int64 [16]      x (low half) and y of each gradient, as bits of float32
    values     [C, 256]        bits to store for each gray level
"""

import triton
import triton.language as tl

# offsets in a row of params, in int32
STEP = tl.constexpr(0)  # 2 float32: cells a pixel, x and y
PHASE = tl.constexpr(2)  # 2 float32: cells
KEY = tl.constexpr(4)  # 2 uint32
AMPLITUDE = tl.constexpr(6)  # float32 of each octave
ROW = tl.constexpr(14)

NUM_LEVELS = tl.constexpr(256)
CORNER_MULTIPLIER = tl.constexpr(0x9E3779B1)


@triton.jit
def _fade(t):
    return t * t * t * (t * (t * 6.0 - 15.0) + 10.0)


@triton.jit
def _gradient(gradients_ptr, corner, key0, key1):
    """Unit gradient of a corner, x and y; fdsl_gpu.rng.mix."""
    h = corner ^ key0
    h ^= h >> 16
    h *= 0x7FEB352D
    h ^= key1
    h ^= h >> 15
    h *= 0x846CA68B
    h ^= h >> 16
    pair = tl.load(gradients_ptr + (h >> 28).to(tl.int32))
    x = pair.to(tl.int32).to(tl.float32, bitcast=True)
    y = (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return x, y


@triton.jit
def _column(gradients_ptr, corner, key0, key1, ty, fade_y):
    """A column of corners, blended between its upper and lower one: slope along x, and height."""
    upper_x, upper_y = _gradient(gradients_ptr, corner, key0, key1)
    lower_x, lower_y = _gradient(gradients_ptr, corner + CORNER_MULTIPLIER, key0, key1)
    slope = upper_x + fade_y * (lower_x - upper_x)
    height = upper_y * ty + fade_y * (lower_y * (ty - 1.0) - upper_y * ty)
    return slope, height


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "gradients_ptr",
        "values_ptr",
        "images_ptr",
        "num_octaves",
        "image_size",
        "image_stride",
        "channel_stride",
        "line_stride",
        "column_stride",
    ]
)
def perlin_kernel(
    params_ptr,  # [N, ROW] int32
    gradients_ptr,  # [16] int64
    values_ptr,  # [CHANNELS, 256], same width as images
    images_ptr,  # [N, C, H, W], any strides
    num_octaves,
    image_size,  # H and W
    image_stride,
    channel_stride,
    line_stride,
    column_stride,
    CHANNELS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A tile of ROWS x COLUMNS pixels. Grid: (N, tiles down, tiles across)."""
    image = tl.program_id(0).to(tl.int64)
    line = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    row = params_ptr + image * ROW
    floats = row.to(tl.pointer_type(tl.float32))
    first_x = (column.to(tl.float32) + 0.5) * tl.load(floats + STEP) + tl.load(floats + PHASE)
    first_y = (line.to(tl.float32) + 0.5) * tl.load(floats + STEP + 1) + tl.load(floats + PHASE + 1)
    keys = (row + KEY).to(tl.pointer_type(tl.uint32))
    key0 = tl.load(keys)
    key1 = tl.load(keys + 1)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    times = 1.0
    for octave in range(num_octaves):
        x = first_x * times
        y = first_y * times
        # no place is negative: truncation is the floor
        left = x.to(tl.int32)
        top = y.to(tl.int32)
        tx = x - left.to(tl.float32)
        ty = y - top.to(tl.float32)
        fade_y = _fade(ty)
        corner = left.to(tl.uint32) + top.to(tl.uint32) * CORNER_MULTIPLIER
        slope, height = _column(gradients_ptr, corner, key0, key1, ty, fade_y)
        near = slope * tx + height
        slope, height = _column(gradients_ptr, corner + 1, key0, key1, ty, fade_y)
        far = slope * (tx - 1.0) + height
        noise = near + _fade(tx) * (far - near)
        total += tl.load(floats + AMPLITUDE + octave) * noise
        key1 += 1
        times *= 2.0
    level = (128.0 + 180.0 * total).to(tl.int32)
    level = tl.minimum(tl.maximum(level, 0), NUM_LEVELS - 1)
    pixels = images_ptr + image * image_stride + line * line_stride + column * column_stride
    inside = (line < image_size) & (column < image_size)
    for channel in tl.static_range(CHANNELS):
        value = tl.load(values_ptr + channel * NUM_LEVELS + level)
        tl.store(pixels + channel * channel_stride, value, mask=inside)
