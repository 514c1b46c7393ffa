"""How contours are drawn: vertices moved outward orbit by orbit, outlines, grays and masks.

Drawing in order gives the same image as keeping, per pixel, the largest (instance, orbit, gray),
which is what is done here: move -> outline (maximum of the key) -> shade. A mask is shaded from the
same key (M1), or from which contours' first and last polygons a pixel lies on (a maximum) and in
(an exclusive or, accumulated along the row).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.line_noise import line_noise
from fdsl_gpu.formulas.polygons import crossings, outline
from fdsl_gpu.rng import below, mix

__all__ = ["ContourInstance", "Mask", "draw_lines", "mask_fills", "mask_lines", "unit_circle"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
Mask = Literal["M1", "M2", "M3"]

CANVAS: Final = 512
"""Side of the published canvas, in whose pixels every length is given."""
MAX_VERTICES: Final = 1024
"""A random word's number is orbit * 2048 + vertex * 2 + axis."""
MAX_ORBITS: Final = 1023
"""A key is ((instance * 1024 + orbit) + 1) * 256 + gray; 0 where nothing was drawn."""
MAX_INSTANCES: Final = 32
"""One bit of a fill each."""
SHAPE: Final = (
    "num_vertices",
    "num_orbits",
    "noise",
    "growth",
    "radius",
    "ellipse_x",
    "ellipse_y",
    "frequency_1",
    "frequency_2",
)
"""What makes a contour: the columns of a table of categories."""
WHOLE: Final = ("num_vertices", "num_orbits", "radius", "frequency_1", "frequency_2")
"""Those of them that are whole numbers."""


@lru_cache(maxsize=MAX_VERTICES)
def unit_circle(num_vertices: int) -> Float32:  # [2, V]
    """Cosine and sine of 2 pi v / V for each vertex v: computed in float64, rounded once.

    Only + and * of float64, so the same bits on every machine: the angle within its octant is a
    ratio of integers, and the series end where a term falls below the last bit.

    Example:
        >>> unit_circle(4).tolist()
        [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]]
    """
    octant, rest = np.divmod(8 * np.arange(num_vertices), num_vertices)
    # odd octants are measured from their far end, where the axes are
    angle = np.where(octant % 2, num_vertices - rest, rest) * (math.pi / 4) / num_vertices
    square = angle * angle
    near, far = np.ones_like(angle), np.ones_like(angle)  # cos, and sin / angle
    for term in range(20, 0, -2):
        near = 1 - near * square * (1 / (term * (term - 1)))
        far = 1 - far * square * (1 / (term * (term + 1)))
    far = far * angle
    swapped = np.isin(octant, (1, 2, 5, 6))
    cos = np.where(swapped, far, near) * np.where((octant >= 2) & (octant < 6), -1, 1)
    sin = np.where(swapped, near, far) * np.where(octant >= 4, -1, 1)
    circle: Float32 = np.stack([cos, sin]).astype(np.float32) + np.float32(0)  # no -0.0
    circle.flags.writeable = False
    return circle


@dataclass(frozen=True, eq=False)
class ContourInstance:
    """N samples of I contours each, ready to be drawn; lengths in pixels of the view's canvas."""

    index: NDArray[np.uint64]  # [N]
    label: Int64  # [N]
    category: Int64  # [N, I]
    shape: Float64  # [N, I, 9] the columns of SHAPE
    center: Float32  # [N, I, 2] x, y
    num_vertices: Int32  # [N, I]
    num_orbits: Int32  # [N, I]
    frequency: Int32  # [N, I, 2]
    radius: Float32  # [N, I, 2] x, y of the ellipse that the orbits start from
    step: Float32  # [N, I] how far an orbit moves a vertex, without waves and noise
    amplitude: Float32  # [N, I] times the noise
    key: UInt32  # [N, I, 4] two words for the noise, two for the grays
    wave: np.float32  # half a pixel of the published canvas
    scale: float  # pixels of the view's canvas in one of the published
    affine: Float32 | None  # [N, 6] from the view's canvas to the one that is drawn; None: no view
    turn: Int32 | None  # [N, 6] from pixels of that canvas to those of the image: a turn and a cut
    view: dict[str, NDArray[Any]]  # what the view drew at random
    image_size: int
    max_gray: int
    background: int
    mask: Mask | None

    def describe(self) -> dict[str, NDArray[Any]]:
        """Category and shape of each sample, in pixels of the 512 canvas; [N, 32] for SegRCDB.

        What the view drew at random is under the names that `View.place` gives.
        """
        columns: dict[str, NDArray[Any]]
        columns = {name: self.shape[..., number] for number, name in enumerate(SHAPE)}
        for name in WHOLE:
            columns[name] = columns[name].astype(np.int64)
        columns["center_x"], columns["center_y"] = np.moveaxis(self.center / self.scale, 2, 0)
        several = self.category.shape[1] > 1
        described = {"category": self.category, **columns}
        return {
            "label": self.label,
            **{name: each if several else each[:, 0] for name, each in described.items()},
            **self.view,
        }


def polygons(
    instance: ContourInstance, sample: int, number: int
) -> Iterator[tuple[Int64, Int64]]:  # [V], [V]
    """Columns and rows of the vertices of each orbit of one contour."""
    at = sample, number
    num_vertices = int(instance.num_vertices[at])
    cos, sin = unit_circle(num_vertices)
    vertex = np.arange(num_vertices)
    first, second = instance.frequency[at]
    waves = sin[first * vertex % num_vertices] + sin[second * vertex % num_vertices]
    reach = instance.step[at] + instance.wave * waves
    x = instance.center[at][0] + instance.radius[at][0] * cos
    y = instance.center[at][1] + instance.radius[at][1] * sin
    word = (2 * vertex + np.array([[0], [1]])).astype(np.uint32)
    for orbit in range(instance.num_orbits[at]):
        words = mix(np.uint32(2 * MAX_VERTICES * orbit) + word, *instance.key[at][:2])
        reach_x, reach_y = reach - instance.amplitude[at] * line_noise(words)
        x, y = x + cos * reach_x, y + sin * reach_y
        yield pixels(instance, sample, x, y)


def pixels(
    instance: ContourInstance, sample: int, x: Float32, y: Float32
) -> tuple[Int64, Int64]:  # [V], [V]
    """Columns and rows in the image of places on the view's canvas.

    Outlines and fills turn and move with the whole numbers of their vertices, so a canvas that is
    turned and cut out of after drawing has the same pixels.
    """
    if instance.affine is None or instance.turn is None:
        return x.astype(np.int64), y.astype(np.int64)
    a, b, c, d, e, f = instance.affine[sample]
    p, q, r, s, left, top = instance.turn[sample].astype(np.int64)
    column = ((a * x + b * y) + e).astype(np.int64)
    row = ((c * x + d * y) + f).astype(np.int64)
    return (p * column + q * row) + left, (r * column + s * row) + top


def grays(instance: ContourInstance, sample: int, number: int) -> Int64:  # [L]
    """The gray of each orbit of one contour."""
    orbit = np.arange(instance.num_orbits[sample, number], dtype=np.uint32)
    words = mix(orbit, *instance.key[sample, number, 2:])
    return np.minimum(below(words, instance.max_gray + 1), 255)


def draw_lines(instance: ContourInstance, sample: int) -> Int32:  # [S, S]
    """The key of the last line on each pixel, 0 where there is none."""
    size = instance.image_size
    canvas = np.zeros((size, size), np.int32)
    for number in range(instance.category.shape[1]):
        gray = grays(instance, sample, number)
        for orbit, (x, y) in enumerate(polygons(instance, sample, number)):
            key = ((number * (MAX_ORBITS + 1) + orbit) + 1) * 256 + gray[orbit]
            np.maximum.at(canvas, outline(x, y, size), np.int32(key))
    return canvas


def mask_lines(instance: ContourInstance, sample: int, canvas: Int32) -> NDArray[np.uint8]:
    """M1: each line in the value of its category."""
    number = ((canvas >> 8) - 1) >> 10
    return np.where(canvas, instance.category[sample][number] + 1, 0).astype(np.uint8)


def mask_fills(instance: ContourInstance, sample: int) -> NDArray[np.uint8]:  # [S, S]
    """M2, M3: the last polygons filled; in M2 the first ones cut out; their outlines over that.

    A contour that cuts a hole erases what lies below it, as published.
    """
    size = instance.image_size
    outlined = np.zeros((size, size), np.int32)  # the number of the last outline, from 1
    filled, cut = np.zeros((2, size, size), np.uint32)  # one bit a contour
    for number in range(instance.category.shape[1]):
        bit = np.uint32(1 << number)
        orbits = list(polygons(instance, sample, number))
        first, last = orbits[0], orbits[-1]
        np.maximum.at(outlined, outline(*last, size), np.int32(number + 1))
        np.bitwise_xor.at(filled, crossings(*last, size), bit)
        if instance.mask == "M2":
            np.maximum.at(outlined, outline(*first, size), np.int32(number + 1))
            np.bitwise_xor.at(cut, crossings(*first, size), bit)
    filled, cut = (np.bitwise_xor.accumulate(plane, axis=1) for plane in (filled, cut))
    # the number of the last contour with anything here: the place of the highest bit, from 1
    top = np.maximum(np.frexp((filled | cut).astype(np.float64))[1], outlined)
    hole = (cut >> np.maximum(top - 1, 0).astype(np.uint32)) & 1
    shown = (top > 0) & ((outlined == top) | (hole == 0))
    return np.where(shown, instance.category[sample][top - 1] + 1, 0).astype(np.uint8)
