"""Points of walks into images: painted from the last point to the first, so that nothing is undone.

A patch covers what lies below it, so the definition keeps the last patch over each pixel. Painting
the last point first, a patch only fills what no patch has covered yet, and most points of a walk
need not be painted at all: their patch is covered already. What is left to do for those, 19 of 20,
is one look at a bit; the canvas shrinks to bits, which stay in the first-level cache, where a key
a pixel is a write to the second level a point.

* The walk keeps its points, the last one first, as row * 2**16 + column; outside the canvas is row
  or column S.
* `covered` is what patches lie over, `lit` what they light, and `closed` the points whose patch is
  covered entirely. `closed` is brought up to date when enough was painted; an old one costs time
  but no pixel. Cells outside the canvas are covered from the start.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import uint8, uint16, uint32, uint64

from fdsl_gpu.backends.numba.bits import (
    BYTES,
    bits_to_bytes,
    copy_bytes,
    load_64,
    lowest_bit,
    store_64,
)
from fdsl_gpu.backends.numba.canvas import BATCH, STRIP
from fdsl_gpu.backends.numba.compiling import compiled
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    append_zero,
    gather,
    lane_numbers,
    load,
    splat,
    store,
    where_at_most,
)
from fdsl_gpu.backends.numba.rng import mix_lanes
from fdsl_gpu.formulas.ifs import NUM_HUES

__all__ = ["clear", "paint", "show"]

REFRESH: Final = 512
"""Points painted before `closed` is brought up to date."""


@compiled
def patch_masks(orders, key0, key1):
    """The nine bits of the patches of sixteen points; see fdsl_gpu.formulas.ifs.patch_mask."""
    h = mix_lanes(orders, key0, key1)
    # 1 + the high word of h * 511 = (h << 9) - h, without a 64-bit product
    return (h >> 23) + where_at_most(h, h << 9, splat(uint32(1)), splat(uint32(0)))


@compiled
def close(covered, closed, pitch):
    """Bring `closed` up to date: the cells +1 .. +3 of a point are all covered."""
    for p in range(0, len(closed) - 2 * pitch, 2 * LANES):
        here = load(covered, p + 1) & load(covered, p + 2) & load(covered, p + 3)
        q = p + pitch
        below = load(covered, q + 1) & load(covered, q + 2) & load(covered, q + 3)
        one = (here >> 1) | (below << 15)
        two = (here >> 2) | (below << 14)
        three = (here >> 3) | (below << 13)
        store(closed, p, one & two & three)


@compiled
def clear(shading, arrays, pitch):
    """Begin an empty canvas."""
    blank, covered, lit = arrays.blank, arrays.covered, arrays.lit
    for p in range(len(blank)):
        covered[p] = blank[p]
        lit[p] = uint16(0)
    if shading.patch:
        close(covered, arrays.closed, pitch)


@compiled
def paint(shading, arrays, pitch, start, count, last_order, key):
    """Paint `count` of the points that are kept from `start` on, the first of which is the last."""
    points, found, spots, masks = arrays.points, arrays.found, arrays.spots, arrays.masks
    covered, lit, patterns = arrays.covered, arrays.lit, shading.patterns
    patch, color, mask = shading.patch, shading.color, shading.mask
    key0, key1, end = splat(key[0]), splat(key[1]), start + count
    closed = arrays.closed if patch else covered
    offset, upper, lower = uint32(1 if patch else 0), shading.upper, shading.lower
    # multiplied as sixteen bits, which is one instruction if LLVM can see that they are enough
    pitches, one = splat(uint32(pitch)) & 0x7FFF, splat(uint32(1))
    orders, painted, at = splat(uint32(last_order + start)), 0, start
    common = patch_masks(splat(uint32(0)), key0, key1) if mask == 1 else splat(uint32(511))
    while at < end:
        # those that have something left to cover, until it is worth while to paint them
        open_points = 0
        while at < end and open_points < BATCH:
            numbers = lane_numbers() + uint32(at)
            for p in range(at, min(at + BATCH, end), LANES):
                point = load(points, p)
                element = (point >> 20) * pitches + (point & 0xFFFF)
                is_closed = gather(closed, element) & (one << ((point >> 16) & 15))
                open_points = append_zero(found, open_points, numbers, is_closed)
                numbers = numbers + LANES
            at += BATCH
        for k in range(0, open_points, LANES):
            numbers = load(found, k)
            point = gather(points, numbers)
            row, column = (point >> 16) + offset, (point & 0xFFFF) + offset
            store(spots, k, (((row >> 4) * pitches + column) << 4) | (row & 15))
            store(masks, k, patch_masks(orders - numbers, key0, key1) if mask == 0 else common)
        for k in range(open_points):
            spot, pattern = uint64(spots[k]), patterns[uint64(masks[k])]
            place, shift = spot >> uint64(4), spot & uint64(STRIP - 1)
            before = load_64(covered, place)
            store_64(covered, place, before | upper[shift])
            fresh = upper[shift] & ~before & (pattern << shift)
            store_64(lit, place, load_64(lit, place) | fresh)
            # the rest in the strip below, without a branch: nothing is there for seven points of
            # eight, but which ones cannot be foreseen
            place += uint64(pitch)
            before = load_64(covered, place)
            store_64(covered, place, before | lower[shift])
            fresh_below = lower[shift] & ~before & (pattern >> (uint64(STRIP) - shift))
            store_64(lit, place, load_64(lit, place) | fresh_below)
            if color:
                arrays.fresh[0, k], arrays.fresh[1, k] = fresh, fresh_below
        if color:
            tint(arrays, pitch, uint32(last_order + start - 1), open_points)
        painted += open_points
        if patch and painted >= REFRESH:
            close(covered, closed, pitch)
            painted = 0


@compiled
def tint(arrays, pitch, order, count):
    """Remember the hues of the pixels that the first points found have lit."""
    found, spots, hues, fresh = arrays.found, arrays.spots, arrays.hues, arrays.fresh
    for k in range(count):
        hue = uint8(uint32(order - found[k]) % uint32(NUM_HUES))
        strip, column = divmod(np.int64(spots[k] >> uint32(4)), pitch)
        for part in range(2):
            top, bits = (strip + part) * STRIP, fresh[part, k]
            while bits != uint64(0):
                cell = np.int64(lowest_bit(bits))
                bits &= bits - uint64(1)
                hues[(top + cell % STRIP) * pitch + column + cell // STRIP] = hue


@compiled
def transpose(bits, turned, pitch, size):
    """The bits of a canvas with rows and columns exchanged."""
    strips = (size + STRIP - 1) // STRIP
    for strip in range(strips):
        for block in range(strips):
            target = turned[block * pitch + strip * STRIP :]
            for row in range(STRIP):
                target[row] = uint16(0)
            for column in range(STRIP):
                own = bits[strip * pitch + block * STRIP + column]
                for row in range(STRIP):
                    bit = uint16(uint16(own >> uint16(row)) & uint16(1))
                    target[row] |= uint16(bit << uint16(column))


@compiled
def mirror(bits, pitch, size):
    """Exchange the columns of a canvas, left for right."""
    for strip in range((size + STRIP - 1) // STRIP):
        row = bits[strip * pitch :]
        for p in range(size // 2):
            q = size - 1 - p
            row[p], row[q] = row[q], row[p]


@compiled
def show(shading, arrays, size, pitch, orientation, corner, shape, pixels):
    """Make the pixels of an image [C * H * W]: turned, and cut out of the canvas."""
    lit, line, hues, table = arrays.lit, arrays.line, arrays.hues, shading.table
    color, value, (channels, height) = shading.color, uint8(shading.value), shape
    if orientation & 4:
        transpose(arrays.lit, arrays.turned, pitch, size)
        lit = arrays.turned
    if orientation & 2:
        mirror(lit, pitch, size)
    for number in range(height):
        row, column, to = corner[0] + number, corner[1], number * height
        if orientation & 1:
            row = size - 1 - row
        at, bit = (row >> 4) * pitch + column, row & 15
        # what is written behind a line, the next line covers; behind the last ones nothing may be
        if not color and to + height + BYTES <= len(pixels):
            for p in range(0, height, BYTES):
                bits_to_bytes(lit, at + p, bit, value, pixels, to + p)
            continue
        for p in range(0, height, BYTES):
            bits_to_bytes(lit, at + p, bit, value, line, p)
        if not color:
            copy_bytes(pixels, to, line, 0, height)
            continue
        step = 1
        if orientation & 2:
            column, step = size - 1 - column, -1
        place = row * pitch + column
        if orientation & 4:
            place, step = column * pitch + row, step * pitch
        for channel in range(3):
            first = channel * height * height + to
            for p in range(height):
                pixels[first + p] = uint8(table[hues[place + p * step], channel] & line[p])
    for channel in range(1 if not color else channels, channels):
        copy_bytes(pixels, channel * height * height, pixels, 0, height * height)
