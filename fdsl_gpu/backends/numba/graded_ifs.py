"""Sigma-factor fractals on a CPU: counts of points as hues, over a background.

Definition: `fdsl_gpu.formulas.graded_drawing`; the same pixels.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
from numba import float32, uint8, uint32
from numpy.typing import NDArray

from fdsl_gpu.backends.numba import (
    bits,
    diamond_square,
    graded_counting,
    ifs,
    lanes,
    rng,
    sixteen,
    walking,
)
from fdsl_gpu.backends.numba import blur as blurring
from fdsl_gpu.backends.numba.blur import blur
from fdsl_gpu.backends.numba.compiling import cached, checksum, compiled, plain
from fdsl_gpu.backends.numba.diamond_square import (
    PACKED_SECTORS,
    background,
    buffers,
    hsv_to_rgb,
)
from fdsl_gpu.backends.numba.graded_counting import counted, counting, fractals_of, padded
from fdsl_gpu.backends.numba.lanes import (
    LANES,
    gather,
    lane_numbers,
    load,
    splat,
    store,
    truncated,
    where_at_most,
)
from fdsl_gpu.backends.numba.sixteen import any_set, as_floats, lane, load_bytes, store_bytes
from fdsl_gpu.backends.numba.threads import share_out
from fdsl_gpu.formulas.graded_drawing import GradedInstance

__all__ = ["draw"]

_SOURCES: Final = checksum(
    bits, blurring, diamond_square, graded_counting, ifs, lanes, rng, sixteen, walking
)
_local: Final = threading.local()


def draw(instance: GradedInstance, images: NDArray[np.uint8]) -> None:
    """Draw the samples of an instance into images [N, 3, H, W], contiguous."""
    fractals = fractals_of(instance)
    looks = plain(instance.color, np.int32), plain(instance.corner, np.int32)
    noises = (
        plain(instance.noise_key, np.uint32),
        plain(instance.amplitude, np.int32),
        plain(instance.noise_color, np.int32),
    )
    blurs, seed = plain(instance.blur, np.int32), np.uint64(instance.seed)
    span = instance.burn_in, instance.burn_in + instance.num_steps
    is_black = instance.background == "black"

    def work(start: int, stop: int) -> None:
        arrays, spare = _scratch(instance)
        draw_part(
            fractals, looks, noises, blurs, seed, span, is_black, PACKED_SECTORS, arrays, spare,
            start, stop, images,
        )  # fmt: skip

    share_out(work, len(images))


def _scratch(instance: GradedInstance) -> Any:
    """What belongs to this thread, and is kept: for the fractals and for the background."""
    key = (instance.image_size, instance.num_walks)
    if getattr(_local, "key", None) != key:
        _local.arrays = counting(*key), buffers(instance.amplitude.shape[1])
        _local.key = key
    return _local.arrays


@compiled
def hues(color, packed_sectors, colors):
    """Red, green and blue of each level."""
    saturation, value = splat(uint32(color[1])), splat(uint32(color[2]))
    for level in range(0, 256, LANES):
        lost = gather(packed_sectors, (lane_numbers() + uint32(level + color[0])) & 255)
        rgb = hsv_to_rgb(lost, 0, saturation, value)
        for channel in range(1, 3):
            rgb = rgb | (hsv_to_rgb(lost, channel, saturation, value) << (8 * channel))
        store(colors, level, rgb)


@compiled
def paint(pixels, size, arrays, side, largest, corner):
    """Paint the pixels with a count into those of an image [3 * H * W]."""
    sums, colors = arrays.sums, arrays.colors
    line, zero, last = padded(side), splat(uint32(0)), splat(uint32(size - 1))
    most, levels = splat(float32(max(largest, uint32(1)))), splat(float32(255))
    beyond = splat(float32(256))
    top, left = corner
    for row in range(max(top, 0), min(top + side, size)):
        columns = lane_numbers() + uint32(left)
        for p in range(0, line, LANES):
            # those left of the image are large numbers
            seen = where_at_most(columns, last, load(sums, (row - top) * line + p), zero)
            columns = columns + LANES
            if not any_set(seen):
                continue
            rgb = gather(colors, truncated(as_floats(seen) / most * levels, beyond))
            at = row * size + left + p
            for _ in range(3):
                if at >= 0 and at + LANES <= len(pixels):
                    store_bytes(pixels, at, where_at_most(seen, zero, load_bytes(pixels, at), rgb))
                else:
                    for number in range(LANES):
                        if lane(seen, number) > uint32(0):
                            pixels[at + number] = uint8(lane(rgb, number))
                rgb, at = rgb >> 8, at + size * size


@cached
def draw_part(
    fractals, looks, noises, blurs, seed, span, is_black, packed_sectors, arrays, spare,
    start, stop, images, sources=_SOURCES,
):  # fmt: skip
    """Draw some images on one thread."""
    (color, corner), (noise_key, amplitude, noise_color) = looks, noises
    for i in range(start, stop):
        image, size = images[i], images.shape[2]
        if is_black:
            image[:] = uint8(0)
        else:
            key0, key1 = noise_key[i]
            background(key0, key1, amplitude[i], noise_color[i], packed_sectors, spare, image)
        for k in range(fractals.size.shape[1]):
            side = fractals.size[i, k]
            if side > 0:
                largest = counted(fractals, arrays, i, k, seed, span)
                hues(color[i, k], packed_sectors, arrays.colors)
                paint(image.reshape(-1), size, arrays, side, largest, corner[i, k])
        if blurs[i] > 0:
            blur(image, blurs[i])
