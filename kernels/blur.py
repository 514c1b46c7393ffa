"""A blur over 3x3 pixels, of images that other kernels drew into a buffer of their own.

Definition: fdsl_gpu.formulas.blur; integers alone, so every order of the sums gives the same.
"""

import triton
import triton.language as tl


@triton.jit(
    do_not_specialize=[
        "weights_ptr",
        "source_ptr",
        "images_ptr",
        "weight_stride",
        "image_size",
        "image_stride",
        "channel_stride",
        "line_stride",
        "column_stride",
    ]
)
def blur_kernel(
    weights_ptr,  # [N] int32, weight_stride elements apart; 0 leaves an image as it is
    source_ptr,  # [N, 3, H, W] uint8, contiguous
    images_ptr,  # [N, 3, H, W] uint8, any strides
    weight_stride,
    image_size,  # H and W
    image_stride,
    channel_stride,
    line_stride,
    column_stride,
    BLOCK: tl.constexpr,
):
    """BLOCK pixels of one channel. Grid: (cdiv(H * W, BLOCK), N, 3)."""
    image = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(2)
    weight = tl.load(weights_ptr + image * weight_stride)
    middle = 256 - 2 * weight
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    area = image_size * image_size
    inside = pixel < area
    line = pixel // image_size
    column = pixel % image_size
    last = image_size - 1
    # mirrored about the first and the last pixel
    left = tl.where(column == 0, 1, column - 1)
    right = tl.where(column == last, last - 1, column + 1)
    plane = source_ptr + (image * 3 + channel) * area
    total = tl.zeros([BLOCK], tl.int32)
    for row in tl.static_range(3):
        at = line + (row - 1)
        at = tl.where(at < 0, 1, tl.where(at > last, last - 1, at))
        cells = plane + at * image_size
        own = tl.load(cells + column, mask=inside, other=0).to(tl.int32)
        sides = tl.load(cells + left, mask=inside, other=0).to(tl.int32)
        sides += tl.load(cells + right, mask=inside, other=0).to(tl.int32)
        if row == 1:
            total += middle * (weight * sides + middle * own)
        else:
            total += weight * (weight * sides + middle * own)
    value = (total + 32768) >> 16
    pixels = images_ptr + image * image_stride + channel * channel_stride
    pixels += line * line_stride + column * column_stride
    tl.store(pixels, value.to(tl.uint8), mask=inside)
