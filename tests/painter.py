"""A sequential painter of the 2D IFS: one point after another, each pasting its opaque 3x3 patch.

Written from the rules alone (the published renderer's loop and the walk words), it shares no code
with the definition but the Philox words: two ways to the same pixels.
"""

import colorsys
import math

import numpy as np

from fdsl_gpu.rng import Purpose, philox


def paint(instance, sample):
    """The image [3, H, W] of one sample."""
    size = instance.canvas_size
    canvas = np.zeros((size, size, 3), np.uint8)
    for order, x, y in _points(instance, sample):
        if not (0 <= x < size and 0 <= y < size):  # false for NaN as well
            continue
        row, column = int(y), int(x)
        color = _color(order - 1) if instance.drawing.endswith("color") else (127, 127, 127)
        if instance.drawing.startswith("point"):
            canvas[row, column] = color
            continue
        bits = f"{_mask(instance, sample, order):09b}"
        for i in range(3):
            for j in range(3):
                if row + 1 + i < size and column + 1 + j < size:
                    lit = bits[3 * i + j] == "1"
                    canvas[row + 1 + i, column + 1 + j] = color if lit else (0, 0, 0)
    return _turn_and_cut(canvas, instance, sample).transpose(2, 0, 1)


def _points(instance, sample):
    """(order, x, y) of every point in the order of drawing."""
    walks = instance.num_walks
    position = [tuple(instance.start[sample])] * walks
    own = int(instance.num_maps[sample])
    maps = [tuple(map(np.float32, row)) for row in instance.maps[sample][:own]]
    limits = [int(limit) for limit in instance.thresholds[sample][: own - 1]]
    with np.errstate(all="ignore"):
        for step in range(instance.burn_in + instance.num_steps):
            words = philox(instance.seed, instance.walk_index[sample], step // 2, Purpose.WALK)
            multiplier, offset = (int(words[2 * (step % 2)]) | 1, int(words[2 * (step % 2) + 1]))
            for walk in range(walks):
                word = (walk * multiplier + offset) % 2**32
                chosen = 0
                while chosen < own - 1 and word >= limits[chosen]:
                    chosen += 1
                a, b, c, d, e, f = maps[chosen]
                x, y = position[walk]
                position[walk] = ((a * x + b * y) + e, (c * x + d * y) + f)
                if step >= instance.burn_in:
                    yield (step - instance.burn_in) * walks + walk + 1, *position[walk]


def _mask(instance, sample, order):
    if instance.mask == "full":
        return 511
    key0, key1 = (int(word) for word in instance.patch_key[sample])
    h = (0 if instance.mask == "per_image" else order) ^ key0
    h ^= h >> 16
    h = h * 0x7FEB352D % 2**32
    h ^= key1
    h ^= h >> 15
    h = h * 0x846CA68B % 2**32
    h ^= h >> 16
    return 1 + (h * 511 >> 32)


def _color(number):
    red, green, blue = colorsys.hsv_to_rgb(number % 128 / 128, 0.75, 0.75)
    return tuple(math.floor(value * 255) for value in (blue, green, red))


def _turn_and_cut(canvas, instance, sample):
    orientation = int(instance.orientation[sample])
    if orientation & 4:
        canvas = canvas.swapaxes(0, 1)
    if orientation & 1:
        canvas = np.flipud(canvas)
    if orientation & 2:
        canvas = np.fliplr(canvas)
    top, left = instance.corner[sample]
    return canvas[top : top + instance.image_size, left : left + instance.image_size]
