"""Masks of filled contours: outlines, crossings of rows, and what they enclose.

Definition: fdsl_gpu.formulas.contour_drawing.mask_fills; integers alone. An exclusive or and a
maximum do not depend on the order of their terms.

Memory of a chunk beside that of `contours`:
    outlined  int32 [N, S * S]       by columns: last outline of a filled contour, from 1
    fills     int32 [2, N, S * S]    by columns: one bit a contour where a row passes into or out
                                     of its last polygon, and of its first
"""

import triton
import triton.language as tl
from fdsl_gpu.kernels.contours import (
    AFTER_LAST,
    BLOCKS_AT,
    LINES,
    NUM_ORBITS,
    NUM_VERTICES,
    ROW,
    VALUE,
    _draw,
    _line,
)


@triton.jit
def _cross(plane_ptr, x0, y0, x1, y1, inside, longest, bit, image_size):
    """Where rows pass into or out of a polygon, in a plane that is stored by columns."""
    upward = y1 < y0
    left = tl.where(upward, x1, x0)
    top = tl.minimum(y0, y1)
    height = tl.where(inside, tl.abs(y1 - y0), 0)
    dx = tl.where(upward, x0 - x1, x1 - x0)
    # the first column on or after the crossing is left + ceil(step * dx / height), of which the
    # multiples of the height are taken out
    divisor = tl.maximum(height, 1)
    whole = tl.abs(dx) // divisor
    rest = tl.abs(dx) - whole * divisor
    sign = tl.where(dx >= 0, 1, -1)
    # a ceiling is a floor that starts just below the next
    part = tl.where(dx >= 0, divisor - 1, 0)
    column, row = left, top
    for step in range(longest):
        seen = (step < height) & (row >= 0) & (row < image_size) & (column < image_size)
        cell = plane_ptr + (tl.maximum(column, 0) * image_size + row)
        tl.atomic_xor(cell, bit, mask=seen, sem="relaxed")
        part += rest
        carry = part >= divisor
        part = tl.where(carry, part - divisor, part)
        column += sign * tl.where(carry, whole + 1, whole)
        row += 1


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "points_ptr",
        "longest_ptr",
        "outlined_ptr",
        "fills_ptr",
        "num_images",
        "num_contours",
        "image_size",
    ]
)
def contour_fill_kernel(
    params_ptr,  # [N * I, ROW] int32
    points_ptr,  # [blocks * LINES] int64
    longest_ptr,  # [blocks] int32
    outlined_ptr,  # [N, S * S] int32, zeros
    fills_ptr,  # [2, N, S * S] int32, zeros
    num_images,  # N
    num_contours,  # I
    image_size,  # S
    HOLES: tl.constexpr,  # whether first polygons are cut out
):
    """Outline and crossings of first and last polygons. Grid: (N * I, blocks of a polygon)."""
    contour = tl.program_id(0)
    row = params_ptr + contour.to(tl.int64) * ROW
    count = tl.load(row + NUM_VERTICES)
    after_last = tl.load(row + AFTER_LAST)
    num_blocks = (count + LINES - 1) // LINES
    blocks_at = tl.load((row + BLOCKS_AT).to(tl.pointer_type(tl.int64)))
    pixels = image_size.to(tl.int64) * image_size
    image = (contour // num_contours).to(tl.int64)
    number = contour % num_contours
    outlined = outlined_ptr + image * pixels
    fills = fills_ptr + image * pixels
    # programs beyond the polygon have nothing to do
    within = tl.program_id(1) < num_blocks
    for first in tl.static_range(1 + HOLES):
        block = tl.minimum(tl.program_id(1), num_blocks - 1)
        if first == 0:
            block += (tl.load(row + NUM_ORBITS) - 1) * num_blocks
        longest = tl.where(within, tl.load(longest_ptr + blocks_at + block), 0)
        x0, y0, x1, y1, inside = _line(points_ptr, blocks_at, block, num_blocks, count, after_last)
        _draw(outlined, x0, y0, x1, y1, inside, longest, number + 1, image_size, 1, image_size)
        plane = fills + first * num_images.to(tl.int64) * pixels
        _cross(plane, x0, y0, x1, y1, inside, longest, 1 << number, image_size)


@triton.jit
def _bit_length(value):
    """The place of the highest bit of a uint32, from 1; 0 where there is none."""
    length = tl.where(value != 0, 1, 0)
    for half in tl.static_range(5):
        upper = value >> (16 >> half)
        length += tl.where(upper != 0, 16 >> half, 0)
        value = tl.where(upper != 0, upper, value)
    return length


@triton.jit(
    do_not_specialize=[
        "params_ptr",
        "outlined_ptr",
        "fills_ptr",
        "masks_ptr",
        "num_images",
        "num_contours",
        "image_size",
    ]
)
def contour_mask_kernel(
    params_ptr,  # [N * I, ROW] int32
    outlined_ptr,  # [N, S * S] int32
    fills_ptr,  # [2, N, S * S] int32
    masks_ptr,  # [N, H, W] uint8
    num_images,  # N
    num_contours,  # I
    image_size,  # S
    BLOCK: tl.constexpr,
):
    """Fills, holes and outlines of BLOCK rows, a thread each. Grid: (cdiv(S, BLOCK), N)."""
    image = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < image_size
    pixels = image_size.to(tl.int64) * image_size
    outlined = outlined_ptr + image * pixels + row
    fills = (fills_ptr + image * pixels + row).to(tl.pointer_type(tl.uint32))
    masks = masks_ptr + image * pixels + row.to(tl.int64) * image_size
    values = params_ptr + image * num_contours * ROW + VALUE
    filled = tl.zeros([BLOCK], tl.uint32)
    cut = tl.zeros([BLOCK], tl.uint32)
    for _ in range(image_size):
        filled ^= tl.load(fills, mask=inside, other=0)
        cut ^= tl.load(fills + num_images.to(tl.int64) * pixels, mask=inside, other=0)
        line = tl.load(outlined, mask=inside, other=0)
        top = tl.maximum(_bit_length(filled | cut), line)
        last = tl.maximum(top - 1, 0)
        hole = (cut >> last.to(tl.uint32)) & 1
        shown = inside & (top > 0) & ((line == top) | (hole == 0))
        value = tl.load(values + last * ROW, mask=shown, other=0)
        tl.store(masks, value.to(tl.uint8), mask=inside)
        fills += image_size
        outlined += image_size
        masks += 1
