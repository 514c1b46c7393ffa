"""Points of walks into images: painted from the last point to the first, so that nothing is undone.

A patch covers what lies below it, so the definition keeps the last patch over each pixel. Painting
the last point first, a patch only fills what no patch has covered yet, and most points of a walk
need not be painted at all: their patch is covered already. What is left to do for those, 19 of 20,
is one look at a bit; the canvas shrinks to bits, which stay in the first-level cache, where a key
a pixel is a write to the second level a point.

* The walk keeps its points, as row * 2**16 + column; outside the canvas is row or column S.
* Bits lie in strips of sixteen rows, one uint16 a column: a 3x3 patch is three neighbours and fits
  into 64 bits, seven times of eight in one strip.
* `covered` is what patches lie over, `lit` what they light, and `closed` the points whose patch is
  covered entirely. `closed` is brought up to date when enough was painted; an old one costs time
  but no pixel. Cells outside the canvas are covered from the start.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

import numpy as np
from numba import uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.bits import (
    BYTES,
    bits_to_bytes,
    copy_bytes,
    load_64,
    lowest_bit,
    mirror,
    store_64,
)
from fdsl_gpu.backends.numba.compiling import compiled, plain
from fdsl_gpu.backends.numba.lanes import LANES, append_zero, gather, lane_numbers, load, splat
from fdsl_gpu.backends.numba.rng import mix
from fdsl_gpu.formulas.ifs import NUM_HUES, lit_value, palette

__all__ = [
    "Layout",
    "Places",
    "Scratch",
    "Shading",
    "clear",
    "layout",
    "paint",
    "places_of",
    "scratch",
    "shading",
    "show",
]

STRIP: Final = 16
"""Rows of a strip: bits of a uint16."""
MAX_KEPT: Final = 2**18
"""Points kept at once; longer walks are walked twice, in parts, and memory stays as it is."""
REFRESH: Final = 512
"""Points painted before `closed` is brought up to date."""


class Layout(NamedTuple):
    """Sizes of a drawing, and in which order the steps of its walks are made."""

    size: int
    pitch: int  # columns of a strip
    num_walks: int
    num_steps: int
    burn_in: int
    runs: NDArray[np.int64]  # [R, 5] see _runs


class Places(NamedTuple):
    """How each canvas becomes an image: arrays of an instance."""

    patch_key: NDArray[np.uint32]  # [N, 2]
    orientation: NDArray[np.int32]  # [N]
    corner: NDArray[np.int32]  # [N, 2]


class Shading(NamedTuple):
    """How points become pixels."""

    patch: bool
    color: bool
    value: int
    mask: int  # 0 drawn for each point, 1 for each image, 2 full
    patterns: NDArray[np.uint64]  # [512] bits of a mask as they lie in strips
    table: NDArray[np.uint8]  # [128, 3] hues


class Scratch(NamedTuple):
    """Arrays that a thread keeps: fresh memory costs time."""

    state: NDArray[np.float32]  # [D, W] where the walks are
    saved: NDArray[np.float32]  # [parts, D, W]
    points: NDArray[np.uint32]
    blank: NDArray[np.uint16]  # `covered` of an empty canvas
    covered: NDArray[np.uint16]
    lit: NDArray[np.uint16]
    closed: NDArray[np.uint16]
    down: NDArray[np.uint16]  # what `close` has half done
    hues: NDArray[np.uint8]  # rows of `pitch` columns; empty without colour
    found: NDArray[np.uint32]
    masks: NDArray[np.uint32]
    line: NDArray[np.uint8]  # [3 * pitch]


def layout(instance: Any) -> Layout:
    """The layout of an instance of walks on a canvas."""
    walks, size = instance.num_walks, instance.canvas_size
    if size >= 2**15:
        raise ValueError(f"canvas_size must be below 32768 on this backend, got {size}")
    runs = _runs(instance.num_steps, instance.burn_in, MAX_KEPT // (2 * walks))
    # three columns and rows for the patches of the last ones; whole cache lines
    pitch = -(-(size + 4) // 32) * 32
    return Layout(size, pitch, walks, instance.num_steps, instance.burn_in, runs)


def _runs(num_steps: int, burn_in: int, part: int) -> NDArray[np.int64]:
    """Which pairs of steps to walk, in order: (first, last, state to begin with, to save, keep).

    The last part is painted first. Of walks longer than one part, the state before each part is
    saved on the way there, and the parts before the last are walked again from it.
    """
    first, last = burn_in // 2, (burn_in + num_steps + 1) // 2
    starts = list(range(first, last, part))
    skipped = [(0, first, -1, 0 if len(starts) > 1 else -1, 0)]
    skipped += [(start, start + part, -1, k + 1, 0) for k, start in enumerate(starts[:-1])]
    kept = [(start, min(start + part, last), k, -1, 1) for k, start in enumerate(starts)]
    kept[-1] = (*kept[-1][:2], -1, -1, 1)
    return np.array(skipped + kept[::-1], np.int64)


def places_of(instance: Any) -> Places:
    """The places of an instance, as compiled code takes them."""
    return Places(
        plain(instance.patch_key, np.uint32),
        plain(instance.orientation, np.int32),
        plain(instance.corner, np.int32),
    )


def shading(instance: Any) -> Shading:
    """How the points of an instance become pixels."""
    drawing = instance.drawing
    patch = drawing.startswith("patch")
    mask = ("per_point", "per_image", "full").index(instance.mask) if patch else 2
    color, patterns = drawing.endswith("color"), (_PATCHES if patch else _POINTS)
    value = 255 if color else lit_value(drawing)
    return Shading(patch, color, value, mask, patterns, _HUES)


def _patterns(cells: int) -> NDArray[np.uint64]:
    """The first cells x cells bits of each mask, column by column, sixteen bits apart."""
    masks = np.arange(512, dtype=np.uint64)
    patterns = np.zeros(512, np.uint64)
    for row in range(cells):
        for column in range(cells):
            # nine bits in row-major order, the most significant first
            bit = (masks >> np.uint64(8 - 3 * row - column)) & np.uint64(1)
            patterns |= bit << np.uint64(STRIP * column + row)
    return patterns


_PATCHES: Final = _patterns(3)
_POINTS: Final = _patterns(1)
_HUES: Final = palette()
_local: Final = threading.local()


def scratch(layout: Layout, shading: Shading, dimensions: int) -> Scratch:
    """The arrays of this thread for a layout; those of the last one are kept."""
    key = (layout.size, layout.num_walks, layout.runs.tobytes(), shading.color, dimensions)
    if getattr(_local, "key", None) != key:
        _local.scratch, _local.key = _new_scratch(layout, shading, dimensions), key
    arrays: Scratch = _local.scratch
    return arrays


def _new_scratch(layout: Layout, shading: Shading, dimensions: int) -> Scratch:
    size, pitch, walks, runs = layout.size, layout.pitch, layout.num_walks, layout.runs
    kept = int(((runs[:, 1] - runs[:, 0]) * runs[:, 4]).max()) * 2 * walks
    # one more strip than there are rows, as the last one looks at the one below
    strips = (size + 3) // STRIP + 2
    bits = strips * pitch
    outside = np.ones((strips, STRIP, pitch), np.uint16)
    outside.reshape(-1, pitch)[:size, :size] = 0
    blank = outside << np.arange(STRIP, dtype=np.uint16)[:, None]
    full = np.full(bits + 3, 2**16 - 1, np.uint16)
    return Scratch(
        state=_aligned(np.zeros((dimensions, walks), np.float32)),
        saved=_aligned(np.zeros((int(runs[:, 3].max()) + 1, dimensions, walks), np.float32)),
        points=_aligned(np.zeros(kept, np.uint32)),
        blank=_aligned(np.bitwise_or.reduce(blank, 1).ravel()),
        covered=_aligned(full[:bits]),
        lit=_aligned(full[:bits]),
        closed=_aligned(full[:bits]),
        down=_aligned(full),
        hues=np.zeros(strips * STRIP * pitch if shading.color else 0, np.uint8),
        found=_aligned(np.zeros(walks + LANES, np.uint32)),
        masks=_aligned(np.zeros(walks, np.uint32)),
        line=_aligned(np.zeros(3 * pitch, np.uint8)),
    )


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins with a cache line: a vector that lies in two of them costs twice."""
    memory = np.empty(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[:] = values
    return copy


@compiled
def patch_mask(order, key0, key1):
    """The nine bits of the patch of a point; see fdsl_gpu.formulas.ifs.patch_mask."""
    h = mix(order, key0, key1)
    # the high word of h * 511 = (h << 9) - h, without a 64-bit product
    high = uint32(h >> uint32(23))
    return high if uint32(h << uint32(9)) < h else uint32(high + uint32(1))


@compiled
def close(covered, closed, down, pitch):
    """Bring `closed` up to date: the cells +1 .. +3 of a point are all covered."""
    below, count = covered[pitch:], len(covered) - pitch
    for p in range(count):
        here, under = covered[p], below[p]
        one = uint16(uint16(here >> uint16(1)) | uint16(under << uint16(15)))
        two = uint16(uint16(here >> uint16(2)) | uint16(under << uint16(14)))
        three = uint16(uint16(here >> uint16(3)) | uint16(under << uint16(13)))
        down[p] = uint16(uint16(one & two) & three)
    right1, right2, right3 = down[1:], down[2:], down[3:]
    for p in range(count):
        closed[p] = uint16(uint16(right1[p] & right2[p]) & right3[p])


@compiled
def clear(shading, arrays, pitch):
    """Begin an empty canvas."""
    blank, covered, lit = arrays.blank, arrays.covered, arrays.lit
    for p in range(len(blank)):
        covered[p] = blank[p]
        lit[p] = uint16(0)
    if shading.patch:
        close(covered, arrays.closed, arrays.down, pitch)


@compiled
def paint(shading, arrays, pitch, num_walks, first_step, num_steps, key):
    """Paint the points that are kept, `num_steps` steps from `first_step` on, from the last."""
    points, found, masks = arrays.points, arrays.found, arrays.masks
    covered, lit, hues, patterns = arrays.covered, arrays.lit, arrays.hues, shading.patterns
    patch, color, mask = shading.patch, shading.color, shading.mask
    key0, key1 = key[0], key[1]
    closed = arrays.closed if patch else covered
    offset, four, low = uint64(1 if patch else 0), uint64(4), uint64(STRIP - 1)
    # multiplied as sixteen bits, which is one instruction if LLVM can see that they are enough
    pitches, one = splat(uint32(pitch)) & 0x7FFF, splat(uint32(1))
    cells, painted = patterns[511], 0
    for step in range(num_steps - 1, -1, -1):
        first, count, walks = step * num_walks, 0, lane_numbers()
        for w in range(0, num_walks, LANES):
            at = load(points, first + w)
            element = (at >> 20) * pitches + (at & 0xFFFF)
            bit = ((element & 1) << 4) | ((at >> 16) & 15)
            is_closed = gather(closed, element >> 1) & (one << bit)
            count = append_zero(found, count, walks, is_closed)
            walks = walks + LANES
        order = uint32((first_step + step) * num_walks + 1)
        if mask == 0:
            for k in range(count):
                masks[k] = patch_mask(uint32(order + found[k]), key0, key1)
        else:
            common = patch_mask(uint32(0), key0, key1) if mask == 1 else uint32(511)
            for k in range(count):
                masks[k] = common
        for k in range(count):
            last = uint64(count - 1 - k)
            walk, pattern = found[last], patterns[uint64(masks[last])]
            point = points[uint64(first) + walk]
            row = uint64(point >> uint32(16)) + offset
            column = uint64(point & uint32(0xFFFF)) + offset
            at_bits, shift = (row >> four) * uint64(pitch) + column, row & low
            upper = cells
            if shift > uint64(13):
                upper &= uint64(_UPPER[shift - uint64(14)])
            lower, here, shown = cells & ~upper, upper << shift, pattern << shift
            while True:
                before = load_64(covered, at_bits)
                store_64(covered, at_bits, before | here)
                fresh = here & ~before & shown
                store_64(lit, at_bits, load_64(lit, at_bits) | fresh)
                if color:
                    hue = uint8(uint32(order + walk - uint32(1)) % uint32(NUM_HUES))
                    while fresh != uint64(0):
                        cell = lowest_bit(fresh)
                        fresh &= fresh - uint64(1)
                        line = (row & ~low) + (cell & low)
                        hues[line * uint64(pitch) + column + (cell >> four)] = hue
                if lower == uint64(0):
                    break
                # the rest lies in the strip below
                shift = uint64(STRIP) - shift
                here, shown, lower = lower >> shift, pattern >> shift, uint64(0)
                row, at_bits = row + uint64(STRIP), at_bits + uint64(pitch)
        painted += count
        if patch and painted >= REFRESH:
            close(covered, closed, arrays.down, pitch)
            painted = 0


# rows of a pattern that are left in a strip from its row 14 and 15 on
_UPPER: Final = (0x0003_0003_0003, 0x0001_0001_0001)


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
def show(shading, arrays, size, pitch, orientation, corner, shape, pixels):
    """Make the pixels of an image [C * H * W]: turned, and cut out of the canvas."""
    lit, line, hues, table = arrays.lit, arrays.line, arrays.hues, shading.table
    color, value, top, left = shading.color, uint8(shading.value), corner[0], corner[1]
    channels, height = shape
    down, across = (1, pitch) if orientation & 4 else (pitch, 1)
    if orientation & 4:
        transpose(arrays.lit, arrays.down, pitch, size)
        lit = arrays.down
    own_channels = 3 if color else 1
    for row in range(size):
        to = (size - 1 - row if orientation & 1 else row) - top
        if to < 0 or to >= height:
            continue
        # three parts of one buffer: what is lit, its hues, either of them backwards
        for p in range(0, pitch, BYTES):
            bits_to_bytes(lit, row // STRIP * pitch + p, row % STRIP, value, line, p)
        for channel in range(own_channels):
            start = 0
            if color:
                start = pitch
                for p in range(size):
                    line[pitch + p] = uint8(table[hues[row * down + p * across], channel] & line[p])
            if orientation & 2:
                for p in range(0, pitch, BYTES):
                    mirror(line, start + p, 3 * pitch - BYTES - p)
                start = 3 * pitch - size
            copy_bytes(pixels, (channel * height + to) * height, line, start + left, height)
    for channel in range(own_channels, channels):
        copy_bytes(pixels, channel * height * height, pixels, 0, height * height)
