"""Drawing of sigma-factor fractals: points counted, counts as hues, background below.

Each fractal has a square of the image. Its walks run twice: their first steps find its extent,
which decides where pixels lie; then every point counts. The count of a pixel is the sum over the
cells of one 3x3 patch that all points of the fractal share; count over largest count is the
density, and turns the hue. A later fractal lies over an earlier one.

Source: Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, section 3.3; its program
(fractal-pretraining: ifs.py, generator.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.blur import blurred
from fdsl_gpu.formulas.diamond_square import colored, field, hsv_to_rgb
from fdsl_gpu.rng import Purpose, philox

__all__ = ["BOX_STEPS", "MAX_FRACTALS", "Background", "GradedInstance", "draw_image"]

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Background = Literal["diamond_square", "black"]

BOX_STEPS: Final = 128
"""Steps of all walks, from their start on the attractor, that measure its extent: with 256 walks
it is 0.996 of that of 100,000 points in the median, 0.88 for one fractal of twenty."""
MAX_FRACTALS: Final = 8
"""Fractals an image may hold."""


@dataclass(frozen=True, eq=False)
class GradedInstance:
    """N samples of up to F fractals, ready to be drawn."""

    index: NDArray[np.uint64]  # [N]
    label: NDArray[np.int64]  # [N] category of the first fractal
    category: NDArray[np.int64]  # [N, F] -1 where there is none
    num_classes: int
    num_maps: Int32  # [N, F]
    maps: Float32  # [N, F, 8, 6] a, b, c, d, e, f; the last map repeated
    thresholds: NDArray[np.uint32]  # [N, F, 7]
    start: Float32  # [N, F, 2] x, y that every walk starts from
    window: Float32  # [N, F, 4] left, top as shares of the extent; columns, rows of an extent
    patch: Int32  # [N, F] nine bits, row-major, the most significant first
    color: Int32  # [N, F, 3] hue of density 0, saturation, value
    size: Int32  # [N, F] side in pixels; 0 where there is none
    corner: Int32  # [N, F, 2] top, left in the image
    noise_key: NDArray[np.uint32]  # [N, 2]
    amplitude: Int32  # [N, levels]
    noise_color: Int32  # [N, 6]
    blur: Int32  # [N] weight of a neighbour in units of 2**-8; 0 for none
    seed: int
    image_size: int
    num_walks: int
    num_steps: int
    burn_in: int
    background: Background

    @property
    def multi_hot(self) -> Float32:
        """Which categories are there, [N, K]: 1 or 0; covered ones count too, as published."""
        hot = np.zeros((len(self.label), self.num_classes), np.float32)
        samples, places = np.nonzero(self.category >= 0)
        hot[samples, self.category[samples, places]] = 1
        return hot

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, categories (-1 for none), sides and corners (top, left) of the fractals."""
        return {
            "label": self.label,
            "category": self.category,
            "size": self.size,
            "corner": self.corner,
        }


def draw_image(instance: GradedInstance, sample: int) -> NDArray[np.uint8]:  # [3, H, W]
    """One image: its background, and each fractal over what was there."""
    size = instance.image_size
    image = np.zeros((3, size, size), np.uint8)
    if instance.background == "diamond_square":
        noise = field(instance.noise_key[sample], instance.amplitude[sample])
        image[:] = colored(noise[:size, :size], instance.noise_color[sample])
    for number in np.flatnonzero(instance.size[sample]).tolist():
        x, y = walk(instance, sample, number)
        left, top, scale_x, scale_y = frame(instance, sample, number, x, y)
        side = instance.size[sample, number]
        with np.errstate(all="ignore"):  # a fractal without extent has no scale and no points
            column = (x[instance.burn_in :] - left) * scale_x + np.float32(1)
            row = (y[instance.burn_in :] - top) * scale_y + np.float32(1)
        counts = patched(count(column, row, side + 2), instance.patch[sample, number])
        paint(image, counts, instance.color[sample, number], instance.corner[sample, number])
    return blurred(image, instance.blur[sample])


def walk(instance: GradedInstance, sample: int, number: int) -> tuple[Float32, Float32]:
    """Points of one fractal, burn-in included: x and y, float32 [steps, num_walks].

    The fractals of an image share their walk words, which are those of `fdsl_gpu.formulas.ifs`.
    """
    steps = instance.burn_in + instance.num_steps
    words = philox(instance.seed, instance.index[sample], np.arange((steps + 1) // 2), Purpose.WALK)
    walks = np.arange(instance.num_walks, dtype=np.uint32)
    x, y = (np.full(instance.num_walks, start) for start in instance.start[sample, number])
    points = []
    with np.errstate(all="ignore"):
        for multiplier, offset in words.T.reshape(-1, 2)[:steps]:
            word = walks * (multiplier | np.uint32(1)) + offset
            chosen = (instance.thresholds[sample, number][:, None] <= word).sum(0)
            a, b, c, d, e, f = instance.maps[sample, number, chosen].T
            x, y = (a * x + b * y) + e, (c * x + d * y) + f
            points.append((x, y))
    xs, ys = np.array(points).swapaxes(0, 1)
    return xs, ys


def frame(
    instance: GradedInstance, sample: int, number: int, x: Float32, y: Float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Left and top of the square, and pixels a unit, from the extent of the walks' first steps."""
    left, top, columns, rows = instance.window[sample, number]
    with np.errstate(all="ignore"):
        x_min, x_max = x[:BOX_STEPS].min(), x[:BOX_STEPS].max()
        y_min, y_max = y[:BOX_STEPS].min(), y[:BOX_STEPS].max()
        width, height = x_max - x_min, y_max - y_min
        return x_min + left * width, y_min + top * height, columns / width, rows / height


def count(column: Float32, row: Float32, size: int) -> Int32:  # [S, S]
    """Points in each cell of the square, and of the row and column around it: patches reach in."""
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    counts = np.zeros((size, size), np.int32)
    np.add.at(counts, (row[inside].astype(np.int32), column[inside].astype(np.int32)), 1)
    return counts


def patched(counts: Int32, patch: np.int32) -> Int32:  # [S, S] -> [S - 2, S - 2]
    """Patches over each pixel: a point lights the set cells of the patch that is centred on it."""
    size = len(counts) - 2
    total = np.zeros((size, size), np.int32)
    for cell in range(9):
        if patch >> (8 - cell) & 1:
            down, right = 2 - cell // 3, 2 - cell % 3
            total += counts[down : down + size, right : right + size]
    return total


def paint(image: NDArray[np.uint8], counts: Int32, color: Int32, corner: Int32) -> None:
    """Paint the pixels with a count into an image [3, H, W]; what lies outside is cut off."""
    (top, left), side, size = corner, len(counts), image.shape[1]
    rows = slice(max(top, 0), min(top + side, size))
    columns = slice(max(left, 0), min(left + side, size))
    seen = counts[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    # exactly 255 at the largest count of the whole fractal, seen or not
    largest = np.float32(max(counts.max(), 1))
    level = (seen.astype(np.float32) / largest * np.float32(255)).astype(np.int32)
    painted = hsv_to_rgb((level + color[0]) & 255, color[1], color[2])
    region = image[:, rows, columns]
    region[:] = np.where(seen > 0, painted, region)
