"""Bézier curves: categories by number and placement of control points, instances by jitter.

A category is one curve or several, each with as many control points as the others. An image moves
every control point a little, and draws each curve as a bundle of strokes: their control points are
those of the image, moved a little less, once more for each stroke. A stroke is a line one pixel
wide through `num_vertices` places of its curve, in a random gray over the ones before.

No program is published whose images this could be; the law is the one written down here.

Source: Kataoka et al., Pre-training without Natural Images, IJCV 2022, which compares FractalDB
with data sets of Bézier curves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.contour_drawing import MAX_ORBITS, MAX_VERTICES
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.formulas.polygons import outline
from fdsl_gpu.rng import Purpose, below, mix, philox, uniform

__all__ = ["MAX_POINTS", "BezierFormula", "BezierInstance", "bernstein", "strokes"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]

MAX_POINTS: Final = 32
"""A stroke's word for a coordinate has the number stroke * 64 + point * 2 + axis."""

# the range that each setting must lie in
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "num_categories": (1, 2**24),
    "min_points": (2, MAX_POINTS),
    "max_points": (2, MAX_POINTS),
    "min_curves": (1, MAX_ORBITS),
    "max_curves": (1, MAX_ORBITS),
    "num_strokes": (1, MAX_ORBITS),
    "num_vertices": (2, MAX_VERTICES),
    "spread": (0, 16),
    "jitter": (0, 16),
    "stroke_jitter": (0, 16),
    "max_gray": (0, 255),
    "background": (0, 255),
    "category_seed": (0, 2**64 - 1),
}


@lru_cache(maxsize=MAX_POINTS)
def bernstein(num_points: int, num_vertices: int) -> Float32:  # [P, V]
    """Share of each control point in each place of a curve: computed in float64, rounded once.

    Only + * / of float64, so the same bits on every machine.

    Args:
        num_points: P, control points.
        num_vertices: V, places at equal steps of the parameter, from the first control point to
            the last.

    Source:
        The Bernstein polynomials of degree P - 1.

    Example:
        >>> bernstein(3, 3).tolist()
        [[1.0, 0.25, 0.0], [0.0, 0.5, 0.0], [0.0, 0.25, 1.0]]
    """
    degree = num_points - 1
    after = np.arange(num_vertices) / (num_vertices - 1)
    before = after[::-1]
    shares = np.empty((num_points, num_vertices))
    for point in range(num_points):
        share = np.full(num_vertices, float(math.comb(degree, point)))
        for factor in [after] * point + [before] * (degree - point):
            share = share * factor
        shares[point] = share
    table = shares.astype(np.float32)
    table.flags.writeable = False
    return table


@dataclass(frozen=True, eq=False)
class BezierInstance:
    """N samples of up to C curves of up to P control points, ready to be drawn."""

    index: NDArray[np.uint64]  # [N]
    label: Int64  # [N]
    num_points: Int32  # [N] control points of each curve
    num_curves: Int32  # [N]
    points: Float32  # [N, C, P, 2] x, y in pixels; 0 beyond the sample's own
    key: UInt32  # [N, 4] two words for the strokes, two for their grays
    stroke_jitter: np.float32  # in pixels
    num_strokes: int
    num_vertices: int
    image_size: int
    max_gray: int
    background: int

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, numbers of curves and control points, and the points as shares of the side."""
        return {
            "label": self.label,
            "num_curves": self.num_curves,
            "num_points": self.num_points,
            "points": self.points / np.float32(self.image_size),
        }


@dataclass(frozen=True)
class BezierFormula:
    """Bundles of Bézier curves; lengths are shares of the image's side.

    Categories depend on `category_seed` and their number alone.

    Args:
        num_categories: Categories; class labels are 0 .. num_categories - 1.
        min_points: Fewest control points of a category, at least 2, which make straight lines.
        max_points: Most control points, at most 32.
        min_curves: Fewest curves of a category.
        max_curves: Most curves.
        num_strokes: Strokes of each curve; with all its curves an image has at most 1,023.
        num_vertices: Places of a curve that its line leads through, in [2, 1024].
        spread: Control points of a category are uniform in a square of this side around the
            middle of the image.
        jitter: An image moves each control point by up to this, in x and in y.
        stroke_jitter: A stroke moves each of them by up to this again.
        max_gray: Grays of strokes are uniform in 0 .. max_gray.
        background: Gray of pixels without a stroke.
        category_seed: Seed of the categories.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> BezierFormula(num_categories=10).num_classes
        10
    """

    num_categories: int = 1000
    min_points: int = 3
    max_points: int = 8
    min_curves: int = 2
    max_curves: int = 5
    num_strokes: int = 16
    num_vertices: int = 64
    spread: float = 1.4
    jitter: float = 0.1
    stroke_jitter: float = 0.06
    max_gray: int = 255
    background: int = 0
    category_seed: int = 0

    module: ClassVar[str] = "bezier"
    channels: ClassVar[int] = 1
    target: ClassVar[Target] = "class"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")
        for name in ("points", "curves"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} must be at most max_{name}, got {low} and {high}")
        if self.max_curves * self.num_strokes > MAX_ORBITS:
            raise ValueError(
                f"an image has at most {MAX_ORBITS} strokes, got max_curves {self.max_curves} x "
                f"num_strokes {self.num_strokes}: lower one of them"
            )

    @property
    def num_classes(self) -> int:
        """K: labels are in [0, K)."""
        return self.num_categories

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> BezierInstance:
        """Curves and keys of each sample."""
        label = balanced_labels(indices, seed, self.num_categories)
        number = philox(self.category_seed, label, 0, Purpose.CATEGORY)
        num_points = self.min_points + below(number[0], self.max_points - self.min_points + 1)
        num_curves = self.min_curves + below(number[1], self.max_curves - self.min_curves + 1)
        placed = self._pairs(self.category_seed, label, Purpose.CATEGORY, self.spread / 2)
        moved = self._pairs(seed, indices, Purpose.INSTANCE, self.jitter)
        points = (0.5 + placed + moved) * view.image_size
        own = np.arange(self.max_curves)[:, None] < num_curves[:, None, None]
        own = own & (np.arange(self.max_points) < num_points[:, None, None])  # [N, C, P]
        return BezierInstance(
            index=indices,
            label=label,
            num_points=num_points.astype(np.int32),
            num_curves=num_curves.astype(np.int32),
            points=np.where(own[..., None], points, 0).astype(np.float32),
            key=np.ascontiguousarray(philox(seed, indices, 0, Purpose.INSTANCE).T),
            stroke_jitter=np.float32(self.stroke_jitter * view.image_size),
            num_strokes=self.num_strokes,
            num_vertices=self.num_vertices,
            image_size=view.image_size,
            max_gray=self.max_gray,
            background=self.background,
        )

    def _pairs(self, seed: int, numbers: ArrayLike, purpose: Purpose, reach: float) -> Float64:
        """Uniform numbers in [-reach, reach) for each coordinate, [N, C, P, 2]."""
        # a counter has the words of two points; those of a point do not depend on the settings
        curve, pair = np.arange(self.max_curves), np.arange(-(-self.max_points // 2))
        draw = 1 + curve[:, None] * (MAX_POINTS // 2) + pair
        words = philox(seed, np.asarray(numbers)[:, None, None], draw, purpose)  # [4, N, C, P / 2]
        words = np.moveaxis(words, 0, 3).reshape(*words.shape[1:3], 2 * len(pair), 2)
        return uniform(words[:, :, : self.max_points], -reach, reach)

    def draw_numpy(self, instance: BezierInstance, images: NDArray[np.uint8]) -> None:
        """Draw one sample after another into images [N, C, H, W]."""
        size = instance.image_size
        for sample, image in enumerate(images):
            canvas = np.zeros((size, size), np.int32)
            number = np.arange(instance.num_curves[sample] * instance.num_strokes, dtype=np.uint32)
            grays = below(mix(number, *instance.key[sample, 2:]), instance.max_gray + 1)
            keys = ((number + 1) * 256 + grays).astype(np.int32)
            for key, (x, y) in zip(keys, strokes(instance, sample), strict=True):
                np.maximum.at(canvas, outline(x, y, size, closed=False), key)
            image[:] = np.where(canvas, canvas & 255, instance.background)


def strokes(instance: BezierInstance, sample: int) -> Iterator[tuple[Int64, Int64]]:  # [V], [V]
    """Columns and rows of the vertices of each stroke of a sample; all in float32, in this order.

    A stroke is the sum over its control points, first to last, of share * place.
    """
    num_points = int(instance.num_points[sample])
    shares = bernstein(num_points, instance.num_vertices)
    coordinate = np.arange(2 * num_points, dtype=np.uint32).reshape(-1, 2)
    for number in range(instance.num_curves[sample] * instance.num_strokes):
        words = mix(np.uint32(2 * MAX_POINTS * number) + coordinate, *instance.key[sample, :2])
        # the high 24 bits, which float32 has
        moved = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
        curve = instance.points[sample, number // instance.num_strokes, :num_points]
        places = curve + instance.stroke_jitter * moved  # [P, 2]
        vertices = np.zeros((2, instance.num_vertices), np.float32)
        for share, place in zip(shares, places, strict=True):
            vertices = vertices + place[:, None] * share
        x, y = vertices.astype(np.int64)
        yield x, y
