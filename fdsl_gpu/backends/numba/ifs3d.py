"""3D IFS on a CPU: the walks and the painting of `backends.numba.ifs`, with maps of space.

Definition: `fdsl_gpu.formulas.ifs3d`; the same pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import float32, uint32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba import bits, canvas, lanes, painting, rng, walking
from fdsl_gpu.backends.numba.canvas import layout, places_of, scratch, shading
from fdsl_gpu.backends.numba.compiling import cached, checksum, compiled, plain
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    as_words,
    chosen,
    load,
    splat,
    spread,
    store,
    tables,
    where_at_most,
)
from fdsl_gpu.backends.numba.painting import clear, paint, show
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.backends.numba.walking import begin, move, pixel, systems_of, words_of
from fdsl_gpu.formulas.camera import FAR, NEAR
from fdsl_gpu.formulas.ifs3d import Ifs3dInstance

__all__ = ["draw"]

TWELVE: Final = (0,) * 12
"""Coefficients of a map: the length is what counts."""
# positive floats order as their bits do
_NEAR_BITS: Final = int(np.float32(NEAR).view(np.uint32))
_DEPTH_BITS: Final = int(np.float32(FAR).view(np.uint32)) - _NEAR_BITS
_SOURCES: Final = checksum(bits, canvas, lanes, painting, rng, walking)


def draw(instance: Ifs3dInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3."""
    who, places = systems_of(instance), places_of(instance)
    offsets = plain(instance.offset, np.float32)
    sizes, shades, seed = layout(instance), shading(instance), np.uint64(instance.seed)
    count, channels, height, _ = images.shape
    shape, pixels = (channels, height), images.reshape(count, -1)

    def work(start: int, stop: int) -> None:
        arrays = scratch(sizes, shades, 3)
        draw_part(who, offsets, places, sizes, shades, arrays, seed, start, stop, shape, pixels)

    share_out(work, count)


@compiled
def step(x, y, z, words, thresholds, coefficients):
    """One step of sixteen walks."""
    a, b, c, d, e, f, g, h, i, j, k, m = chosen(coefficients, thresholds, words)
    return (
        ((a * x + b * y) + c * z) + j,
        ((d * x + e * y) + f * z) + k,
        ((g * x + h * y) + i * z) + m,
    )


@compiled
def projected(x, y, z, offset, limit):
    """Row and column of sixteen points; outside where the camera does not see them."""
    inverse = splat(float32(1)) / z
    right, down = splat(offset[0]), splat(offset[1])
    # an offset above zero leaves no negative zero
    column, row = x * inverse + right, y * inverse + down
    near, depth = splat(uint32(_NEAR_BITS)), splat(uint32(_DEPTH_BITS))
    return pixel(where_at_most(as_words(z) - near, depth, column, limit), row, limit)


@compiled
def walk(places, system, offset, first, last, state, size, keep, points):
    """Pairs of steps of all walks; len(places) is the number of thresholds."""
    _, maps, limits, seed, index = system
    coefficients, thresholds = tables(maps, TWELVE), spread(limits, places)
    xs, ys, zs = state[0], state[1], state[2]
    limit, num_walks = splat(float32(size)), len(xs)
    at = 2 * (last - first) * num_walks
    for pair in range(first, last):
        words0, words1, next0, next1 = words_of(seed, index, pair, num_walks)
        at -= 2 * num_walks
        for w in range(0, num_walks, LANES):
            x, y, z = load(xs, w), load(ys, w), load(zs, w)
            x, y, z = step(x, y, z, words0, thresholds, coefficients)
            if keep:
                store(points, at + num_walks + w, projected(x, y, z, offset, limit))
            x, y, z = step(x, y, z, words1, thresholds, coefficients)
            if keep:
                store(points, at + w, projected(x, y, z, offset, limit))
            store(xs, w, x)
            store(ys, w, y)
            store(zs, w, z)
            words0, words1 = words0 + next0, words1 + next1


@cached
def draw_part(
    who, offsets, places, sizes, shades, arrays, seed, start, stop, shape, pixels, sources=_SOURCES
):
    """Draw some images on one thread."""
    state, saved, points = arrays.state, arrays.saved, arrays.points
    size, pitch, num_walks = sizes.size, sizes.pitch, sizes.num_walks
    for i in range(start, stop):
        system = who.num_maps[i], who.maps[i], who.thresholds[i], seed, who.walk_index[i]
        begin(state, who.start[i])
        clear(shades, arrays, pitch)
        for run in sizes.runs:
            first, last, origin, goal, keep = run
            if origin >= 0:
                move(saved[origin], state)
            if who.num_maps[i] <= 4:
                walk((0,) * 3, system, offsets[i], first, last, state, size, keep != 0, points)
            else:
                walk((0,) * 7, system, offsets[i], first, last, state, size, keep != 0, points)
            if goal >= 0:
                move(state, saved[goal])
            if keep:
                # the last pair may have a step too many
                end = min(2 * last - sizes.burn_in, sizes.num_steps)
                skip, count = (2 * last - sizes.burn_in - end), (end - 2 * first + sizes.burn_in)
                skip, count, order = skip * num_walks, count * num_walks, end * num_walks
                paint(shades, arrays, pitch, skip, count, order, places.patch_key[i])
        show(shades, arrays, size, pitch, places.orientation[i], places.corner[i], shape, pixels[i])
