"""2D IFS on a CPU: walks stepped sixteen at a time, points painted from the last to the first.

Definition: `fdsl_gpu.formulas.ifs`; the same pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import float32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba import bits, canvas, lanes, painting, rng, walking
from fdsl_gpu.backends.numba.canvas import layout, places_of, scratch, shading
from fdsl_gpu.backends.numba.compiling import cached, checksum, compiled
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    chosen,
    larger,
    load,
    smaller,
    splat,
    spread,
    store,
    tables,
)
from fdsl_gpu.backends.numba.painting import clear, paint, show
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.backends.numba.walking import begin, move, pixel, systems_of, words_of
from fdsl_gpu.formulas.ifs import IfsInstance, framed

__all__ = ["SIX", "draw", "extents", "measure", "step"]

SIX: Final = (0,) * 6
"""Coefficients of a map: the length is what counts."""
_SOURCES: Final = checksum(bits, canvas, lanes, painting, rng, walking)


def draw(instance: IfsInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, C, H, W], C 1 or 3; gray is repeated."""
    if instance.frame_size is not None:
        instance = framed(instance, extents(instance))
    who, places = systems_of(instance), places_of(instance)
    sizes, shades, seed = layout(instance), shading(instance), np.uint64(instance.seed)
    count, channels, height, _ = images.shape
    shape, pixels = (channels, height), images.reshape(count, -1)

    def work(start: int, stop: int) -> None:
        arrays = scratch(sizes, shades, 2)
        draw_part(who, places, sizes, shades, arrays, seed, start, stop, shape, pixels)

    share_out(work, count)


def extents(instance: IfsInstance) -> NDArray[np.float32]:  # [N, 4]
    """`fdsl_gpu.formulas.ifs.extents`: the frames of samples that have none."""
    boxes = np.empty((len(instance.label), 4), np.float32)
    who, seed = systems_of(instance), np.uint64(instance.seed)

    def work(start: int, stop: int) -> None:
        state = np.empty((2, instance.num_walks), np.float32)
        steps = instance.burn_in, instance.burn_in + instance.num_steps
        extents_part(who, state, seed, *steps, start, stop, boxes)

    share_out(work, len(boxes))
    return boxes


@compiled
def step(x, y, words, thresholds, coefficients):
    """One step of sixteen walks."""
    a, b, c, d, e, f = chosen(coefficients, thresholds, words)
    return (a * x + b * y) + e, (c * x + d * y) + f


@compiled
def walk(places, system, first, last, xs, ys, size, keep, points):
    """Pairs of steps of all walks; len(places) is the number of thresholds."""
    _, maps, limits, seed, index = system
    coefficients, thresholds = tables(maps, SIX), spread(limits, places)
    limit, num_walks = splat(float32(size)), len(xs)
    at = 2 * (last - first) * num_walks
    for pair in range(first, last):
        words0, words1, next0, next1 = words_of(seed, index, pair, num_walks)
        at -= 2 * num_walks
        for w in range(0, num_walks, LANES):
            x, y = step(load(xs, w), load(ys, w), words0, thresholds, coefficients)
            if keep:
                store(points, at + num_walks + w, pixel(x, y, limit))
            x, y = step(x, y, words1, thresholds, coefficients)
            if keep:
                store(points, at + w, pixel(x, y, limit))
            store(xs, w, x)
            store(ys, w, y)
            words0, words1 = words0 + next0, words1 + next1


@compiled
def walk_any(system, first, last, xs, ys, size, keep, points):
    """`walk`, compiled for two, four, six and eight maps."""
    num_maps = system[0]
    if num_maps <= 2:
        walk((0,), system, first, last, xs, ys, size, keep, points)
    elif num_maps <= 4:
        walk((0, 0, 0), system, first, last, xs, ys, size, keep, points)
    elif num_maps <= 6:
        walk((0, 0, 0, 0, 0), system, first, last, xs, ys, size, keep, points)
    else:
        walk((0, 0, 0, 0, 0, 0, 0), system, first, last, xs, ys, size, keep, points)


@cached
def draw_part(
    who, places, sizes, shades, arrays, seed, start, stop, shape, pixels, sources=_SOURCES
):
    """Draw some images on one thread."""
    state, saved, points = arrays.state, arrays.saved, arrays.points
    size, pitch, num_walks = sizes.size, sizes.pitch, sizes.num_walks
    xs, ys = state[0], state[1]
    for i in range(start, stop):
        system = who.num_maps[i], who.maps[i], who.thresholds[i], seed, who.walk_index[i]
        begin(state, who.start[i])
        clear(shades, arrays, pitch)
        for run in sizes.runs:
            first, last, origin, goal, keep = run
            if origin >= 0:
                move(saved[origin], state)
            walk_any(system, first, last, xs, ys, size, keep != 0, points)
            if goal >= 0:
                move(state, saved[goal])
            if keep:
                # the last pair may have a step too many
                end = min(2 * last - sizes.burn_in, sizes.num_steps)
                skip, count = (2 * last - sizes.burn_in - end), (end - 2 * first + sizes.burn_in)
                skip, count, order = skip * num_walks, count * num_walks, end * num_walks
                paint(shades, arrays, pitch, skip, count, order, places.patch_key[i])
        show(shades, arrays, size, pitch, places.orientation[i], places.corner[i], shape, pixels[i])


@compiled
def extent(x_min, x_max, y_min, y_max, x, y):
    """An extent in lanes with sixteen more points; those that are not finite do not count."""
    # nothing for a finite point, NaN otherwise: and what is NaN is neither smaller nor larger
    nothing = (x - x) + (y - y)
    x, y = x + nothing, y + nothing
    return smaller(x, x_min), larger(x, x_max), smaller(y, y_min), larger(y, y_max)


@compiled
def measure(places, system, state, first_counts_from, end, found):
    """Left, right, top and bottom of the points of all walks, of steps `first_counts_from` on.

    The walks go on from `state`; `end` is the number of all steps, `found` room for [4, 16] floats.
    """
    _, maps, limits, seed, index = system
    coefficients, thresholds = tables(maps, SIX), spread(limits, places)
    xs, ys = state[0], state[1]
    x_min, x_max = splat(float32(np.inf)), splat(float32(-np.inf))
    y_min, y_max = x_min, x_max
    for pair in range((end + 1) // 2):
        words0, words1, next0, next1 = words_of(seed, index, pair, len(xs))
        first_counts = 2 * pair >= first_counts_from
        second_counts = first_counts_from <= 2 * pair + 1 < end
        for w in range(0, len(xs), LANES):
            x, y = step(load(xs, w), load(ys, w), words0, thresholds, coefficients)
            if first_counts:
                x_min, x_max, y_min, y_max = extent(x_min, x_max, y_min, y_max, x, y)
            x, y = step(x, y, words1, thresholds, coefficients)
            if second_counts:
                x_min, x_max, y_min, y_max = extent(x_min, x_max, y_min, y_max, x, y)
            store(xs, w, x)
            store(ys, w, y)
            words0, words1 = words0 + next0, words1 + next1
    store(found[0], 0, x_min)
    store(found[1], 0, x_max)
    store(found[2], 0, y_min)
    store(found[3], 0, y_max)
    return found[0].min(), found[1].max(), found[2].min(), found[3].max()


@cached
def extents_part(who, state, seed, burn_in, end, start, stop, boxes, sources=_SOURCES):
    """First pass over some samples on one thread."""
    found, places = np.empty((4, LANES), np.float32), (0, 0, 0, 0, 0, 0, 0)
    for i in range(start, stop):
        begin(state, who.start[i])
        system = who.num_maps[i], who.maps[i], who.thresholds[i], seed, who.walk_index[i]
        box = measure(places, system, state, burn_in, end, found)
        for side in range(4):
            boxes[i, side] = box[side] if box[0] <= box[1] else float32(np.nan)
