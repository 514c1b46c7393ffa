"""2D IFS on a CPU: walks stepped together in vector loops, one store a point, one resolved pixel a pixel.

Definition: `fdsl_gpu.formulas.ifs`; the same pixels. What differs is the layout:

* A canvas of Q = S + 3 columns holds keys, order * 16. Flat views of it moved by one, two and three keys are the
  neighbours to the left; the three empty columns keep a row from seeing the one above. Points are stored in their
  order, so a plain store does what a maximum would.
* The low four bits of a key are free: adding 8 minus the cell of the patch before taking the 3x3 maximum brings along
  which mask bit to look up.
* The canvas is zero between images; resolving a block of rows clears it while it is still in the cache.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numba
import numpy as np
from numba import float32, int32, types, uint8, uint32, uint64
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.ifs import NUM_HUES, IfsInstance, lit_value, palette

__all__ = ["draw"]

# every uint32 and uint8 operation is cast: Numba widens to 64 bits, which halves a vector loop
compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

BLOCK_ROWS: Final = 16
"""Rows resolved together: they stay in the first-level cache."""
_PALETTE: Final = palette()
_MASKS: Final = ("per_point", "per_image", "full")
_local: Final = threading.local()


def draw(instance: IfsInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3; a gray drawing is repeated into 3."""

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        draw_part(
            instance.num_maps[part],
            instance.maps[part],
            instance.thresholds[part],
            instance.start[part],
            instance.walk_index[part],
            instance.patch_key[part],
            instance.orientation[part],
            instance.corner[part],
            np.uint64(instance.seed),
            instance.canvas_size,
            instance.num_walks,
            instance.num_steps,
            instance.burn_in,
            *shading(instance),
            scratch(instance.canvas_size),
            images[part],
        )

    share_out(work, len(images))


def shading(instance: IfsInstance) -> tuple[Any, ...]:
    """How points become pixels: as patches, in colour, lit with which value, masks, hues."""
    drawing = instance.drawing
    return (
        drawing.startswith("patch"),
        drawing.endswith("color"),
        np.uint8(lit_value(drawing)),
        _MASKS.index(instance.mask),
        _PALETTE,
    )


def scratch(size: int) -> NDArray[np.uint32]:
    """A canvas of zeros that belongs to this thread: 4 bytes a pixel, and kept, since fresh pages cost time."""
    if getattr(_local, "size", None) != size:
        # three empty rows above, one row below for points that fall outside
        _local.canvas = np.zeros((size + 4) * (size + 3) + 3, np.uint32)
        _local.size = size
    return _local.canvas


@intrinsic
def bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 as uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


@compiled
def philox(seed, index, draw, purpose):
    """Four words; see fdsl_gpu.rng."""
    key0, key1 = uint32(seed), uint32(seed >> uint64(32))
    c0, c1, c2, c3 = uint32(index), uint32(index >> uint64(32)), uint32(draw), uint32(purpose)
    for _ in range(10):
        product0, product1 = uint64(c0) * uint64(0xD2511F53), uint64(c2) * uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            uint32(uint32(product1 >> uint64(32)) ^ c1 ^ key0),
            uint32(product1),
            uint32(uint32(product0 >> uint64(32)) ^ c3 ^ key1),
            uint32(product0),
        )
        key0, key1 = uint32(key0 + uint32(0x9E3779B9)), uint32(key1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


def column(array, number, rows):
    """The first len(rows) entries of a column of an array, as a tuple."""


@overload(column)
def _column(array, number, rows):
    if len(rows) == 1:
        return lambda array, number, rows: (array[0, number],)
    return lambda array, number, rows: (
        *column(array, number, rows[1:]),
        array[len(rows) - 1, number],
    )


def chosen(word, thresholds, values):
    """The value of the map that a word chooses: as a chain of blends for this number of maps."""


@overload(chosen)
def _chosen(word, thresholds, values):
    if len(values) == 1:
        return lambda word, thresholds, values: values[0]

    def choose(word, thresholds, values):
        last = len(values) - 1
        before = chosen(word, thresholds[:-1], values[:-1])
        return values[last] if word >= thresholds[last - 1] else before

    return choose


@compiled
def step(x, y, word, thresholds, a, b, c, d, e, f):
    """One step of one walk."""
    new_x = (chosen(word, thresholds, a) * x + chosen(word, thresholds, b) * y) + chosen(
        word, thresholds, e
    )
    new_y = (chosen(word, thresholds, c) * x + chosen(word, thresholds, d) * y) + chosen(
        word, thresholds, f
    )
    return new_x, new_y


@compiled
def walk(rows, system, length, buffers):
    """All walks of one sample, onto a canvas whose rows are `size + 3` keys apart; len(rows) is the number of maps."""
    maps, threshold_row, start, seed, index = system
    size, num_steps, burn_in = length
    x, y, at, canvas = buffers
    a, b, c = column(maps, 0, rows), column(maps, 1, rows), column(maps, 2, rows)
    d, e, f = column(maps, 3, rows), column(maps, 4, rows), column(maps, 5, rows)
    thresholds = column(threshold_row, 0, rows[1:])
    limit, pitch = bits(float32(size)), uint32(size + 3)
    outside = uint32(uint32(size) * pitch)
    num_walks = len(x)
    x[:] = start[0]
    y[:] = start[1]
    key = uint32(16)
    for pair in range((burn_in + num_steps + 1) // 2):
        words = philox(seed, index, pair, 2)
        for half in range(2):
            time = 2 * pair + half
            if time >= burn_in + num_steps:
                break
            factor, shift = uint32(words[2 * half] | uint32(1)), words[2 * half + 1]
            for w in range(num_walks):
                word = uint32(uint32(uint32(w) * factor) + shift)
                x[w], y[w] = step(x[w], y[w], word, thresholds, a, b, c, d, e, f)
            if time < burn_in:
                continue
            for w in range(num_walks):
                # no negative zero arises, so this is 0 <= x < size, and false for NaN
                inside = (bits(x[w]) < limit) & (bits(y[w]) < limit)
                pixel = uint32(uint32(uint32(int32(y[w])) * pitch) + uint32(int32(x[w])))
                at[w] = pixel if inside else outside
            for w in range(num_walks):
                canvas[at[w]] = uint32(key + uint32(uint32(w) * uint32(16)))
            key = uint32(key + uint32(num_walks * 16))
    canvas[outside] = uint32(0)


def walk_as(num_maps, rows, system, length, buffers):
    """`walk`, compiled for each number of maps: len(rows) counts down to it."""


@overload(walk_as)
def _walk_as(num_maps, rows, system, length, buffers):
    if len(rows) == 2:
        return lambda num_maps, rows, system, length, buffers: walk(rows, system, length, buffers)

    def count_down(num_maps, rows, system, length, buffers):
        if len(rows) == num_maps:
            walk(rows, system, length, buffers)
        else:
            walk_as(num_maps, rows[:-1], system, length, buffers)

    return count_down


@compiled
def widest(left1, left2, left3, out):
    """The largest of three keys to the left of each pixel, with the column of the patch in the low bits."""
    for p in range(len(out)):
        out[p] = max(left3[p], max(uint32(left2[p] + uint32(1)), uint32(left1[p] + uint32(2))))


@compiled
def tallest(row1, row2, row3, out):
    """The largest of three rows above, with the row of the patch in the low bits."""
    for p in range(len(out)):
        out[p] = max(row3[p], max(uint32(row2[p] + uint32(3)), uint32(row1[p] + uint32(6))))


@compiled
def patch_mask(order, key0, key1):
    """The nine bits of the patch of a point; see fdsl_gpu.formulas.ifs.patch_mask and fdsl_gpu.rng.mix."""
    h = uint32(order ^ key0)
    h = uint32(h ^ uint32(h >> uint32(16)))
    h = uint32(h * uint32(0x7FEB352D))
    h = uint32(h ^ key1)
    h = uint32(h ^ uint32(h >> uint32(15)))
    h = uint32(h * uint32(0x846CA68B))
    h = uint32(h ^ uint32(h >> uint32(16)))
    # the high word of h * 511 = (h << 9) - h, without a 64-bit product
    high = uint32(h >> uint32(23))
    return high if uint32(h << uint32(9)) < h else uint32(high + uint32(1))


@compiled
def light(keys, mask_kind, key0, key1, lit):
    """255 where the patch that lies over a pixel lights it, else 0."""
    if mask_kind == 0:
        for p in range(len(keys)):
            key = keys[p]
            mask = patch_mask(uint32(key >> uint32(4)), key0, key1)
            bit = uint32(uint32(mask >> uint32(key & uint32(15))) & uint32(1))
            lit[p] = uint8(uint32(0) - bit) if key >= uint32(16) else uint8(0)
    else:
        mask = patch_mask(uint32(0), key0, key1) if mask_kind == 1 else uint32(511)
        for p in range(len(keys)):
            key = keys[p]
            bit = uint32(uint32(mask >> uint32(key & uint32(15))) & uint32(1))
            lit[p] = uint8(uint32(0) - bit) if key >= uint32(16) else uint8(0)


@compiled
def place(values, row, first, orientation, corner, size, image):
    """Put one row of the canvas into an image [H, W]: turned, and cut to the image."""
    height, width = image.shape
    if orientation & 4:  # the row is a column of the transposed canvas
        line = (size - 1 - row if orientation & 2 else row) - corner[1]
        low, length, backward, inside = corner[0], height, orientation & 1, 0 <= line < width
    else:
        line = (size - 1 - row if orientation & 1 else row) - corner[0]
        low, length, backward, inside = corner[1], width, orientation & 2, 0 <= line < height
    if not inside:
        return
    cut = values[first + low : first + low + length]
    if backward:
        low = size - low - length
        cut = values[first + low : first + low + length][::-1]
    if orientation & 4:
        for p in range(length):
            image[p, line] = cut[p]
    else:
        target = image[line]
        for p in range(length):
            target[p] = cut[p]


@compiled
def resolve(canvas, size, shading, key0, key1, orientation, corner, image):
    """Turn a canvas of keys into an image [C, H, W], and clear it."""
    patch, color, gray, mask_kind, hues = shading
    pitch = size + 3
    origin = 3 * pitch + 3
    block = BLOCK_ROWS * pitch
    wide = np.zeros(block + 3 * pitch, np.uint32)
    keys = np.empty(block, np.uint32)
    lit = np.empty(block, np.uint8)
    for top in range(0, size, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, size - top)
        count = rows * pitch
        here = origin + top * pitch
        own = canvas[here : here + count]
        if patch:
            widest(
                canvas[here - 1 : here - 1 + count],
                canvas[here - 2 : here - 2 + count],
                canvas[here - 3 : here - 3 + count],
                wide[3 * pitch : 3 * pitch + count],
            )
            tallest(wide[2 * pitch :], wide[pitch:], wide, keys[:count])
            light(keys[:count], mask_kind, key0, key1, lit)
            wide[: 3 * pitch] = wide[count : count + 3 * pitch].copy()
        else:
            keys[:count] = own
            for p in range(count):
                lit[p] = uint8(255) if keys[p] > uint32(0) else uint8(0)
        if not color:
            for p in range(count):
                lit[p] = uint8(lit[p] & gray)
        for channel in range(len(image)):
            values = lit
            if color:
                values = np.empty(block, np.uint8)
                for p in range(count):
                    hue = uint32(
                        uint32(uint32(keys[p] >> uint32(4)) - uint32(1)) % uint32(NUM_HUES)
                    )
                    values[p] = uint8(hues[hue, channel] & lit[p])
            for row in range(rows):
                place(values, top + row, row * pitch, orientation, corner, size, image[channel])
        own[:] = uint32(0)


@compiled
def draw_part(
    num_maps,
    maps,
    thresholds,
    start,
    walk_index,
    patch_key,
    orientation,
    corner,
    seed,
    size,
    num_walks,
    num_steps,
    burn_in,
    patch,
    color,
    gray,
    mask_kind,
    hues,
    canvas,
    images,
):
    """Draw some images on one thread."""
    x, y = np.empty(num_walks, np.float32), np.empty(num_walks, np.float32)
    at = np.empty(num_walks, np.uint32)
    origin = 3 * (size + 3) + 3
    for i in range(len(images)):
        walk_as(
            num_maps[i],
            (1, 1, 1, 1, 1, 1, 1, 1),
            (maps[i], thresholds[i].reshape(-1, 1), start[i], seed, walk_index[i]),
            (size, num_steps, burn_in),
            (x, y, at, canvas[origin:]),
        )
        key0, key1 = patch_key[i]
        resolve(
            canvas,
            size,
            (patch, color, gray, mask_kind, hues),
            key0,
            key1,
            orientation[i],
            corner[i],
            images[i],
        )
