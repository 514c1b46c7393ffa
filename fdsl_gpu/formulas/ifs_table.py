"""Categories of 2D iterated function systems: maps, probabilities, weight rows, frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_MAPS", "IfsTable", "pad_size", "thresholds", "to_float32", "to_pixel_space"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MAX_MAPS: Final = 8
"""Maps a system may have; fewer are padded by repeating the last."""


@dataclass(frozen=True, eq=False)
class IfsTable:
    """The categories of a data set.

    Args:
        maps: [K, M, 6] coefficients (a, b, c, d, e, f) of x' = ax + by + e, y' = cx + dy + f; NaN
            beyond a category's own maps.
        probs: [K, M] probabilities of the maps; 0 beyond.
        weights: [R, 6] factors that make the instances of a category: each multiplies one
            coefficient of all maps.
        boxes: [K, R, 4] frame of each (category, weight row): x min, x max, y min, y max.
        coverage: [K, R] share of the canvas that the published walk covers; None where unknown.
    """

    maps: Float64
    probs: Float64
    weights: Float64
    boxes: Float64
    coverage: Float64 | None = None

    @cached_property
    def num_maps(self) -> NDArray[np.int32]:  # [K]
        """Maps of each category."""
        return np.isfinite(self.maps[:, :, 0]).sum(1).astype(np.int32)

    @cached_property
    def padded_maps(self) -> Float64:  # [K, 8, 6]
        """The maps of each category, the last one repeated up to eight."""
        rows = np.minimum(np.arange(MAX_MAPS), self.num_maps[:, None] - 1)
        return np.take_along_axis(self.maps, rows[:, :, None], 1)

    @cached_property
    def thresholds(self) -> NDArray[np.uint32]:  # [K, 7]
        """The thresholds of each category; 2**32 - 1 beyond its own maps."""
        padded = np.zeros((len(self.probs), MAX_MAPS))
        padded[:, : self.probs.shape[1]] = self.probs
        inside = np.arange(MAX_MAPS - 1) < self.num_maps[:, None] - 1
        return np.where(inside, thresholds(padded), np.uint32(2**32 - 1))

    def with_rows(self, *rows: int) -> IfsTable:
        """The same categories with these weight rows alone."""
        chosen = list(rows)
        coverage = None if self.coverage is None else self.coverage[:, chosen]
        return replace(
            self, weights=self.weights[chosen], boxes=self.boxes[:, chosen], coverage=coverage
        )

    @lru_cache(maxsize=4)  # noqa: B019 (a table lives as long as its data set)
    def covering_rows(self, least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The weight rows of each category that cover enough, or its best one.

        Args:
            least: Share of the canvas that a row has to cover, in [0, 1).

        Returns:
            Rows [K, R], those that cover enough first, and how many they are, [K].

        Raises:
            ValueError: The table does not know its coverage.
        """
        if self.coverage is None:
            raise ValueError(
                "min_coverage needs a table that knows its coverage; use min_coverage=0"
            )
        rows = np.argsort(-self.coverage, 1, kind="stable")
        return rows, np.maximum((self.coverage >= least).sum(1), 1)


def pad_size(image_size: int) -> int:
    """Empty pixels on every side: the published 6 from 362 px up, in proportion below.

    Example:
        >>> pad_size(362), pad_size(224), pad_size(32)
        (6, 4, 1)
    """
    return 6 if image_size >= 362 else round(6 * image_size / 362)


def thresholds(probs: Float64) -> NDArray[np.uint32]:
    """Where a uniform 32-bit word passes on to the next map: floor(cumulative probability * 2**32).

    Args:
        probs: Probabilities [..., M] of the maps of a system, 0 beyond its own; normalised here.

    Returns:
        uint32 [..., M - 1]: map k is chosen where k of them are at most the word.

    Example:
        >>> thresholds(np.array([0.25, 0.75, 0.0]))
        array([1073741824, 4294967295], dtype=uint32)
    """
    cumulative = np.cumsum(probs / probs.sum(-1, keepdims=True), -1)[..., :-1]
    return np.minimum(np.floor(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def to_pixel_space(
    maps: Float64,  # [N, M, 6]
    boxes: Float64,  # [N, 4]
    size: int,
    affine: Float64 | None = None,  # [N, 6]
) -> tuple[Float32, Float32]:
    """Conjugate maps so that they act on pixels; float64, then rounded once.

    With X = sx x + tx and Y = sy y + ty, the map x' = ax + by + e becomes X' = aX + (b sx/sy)Y +
    (sx e + tx - a tx - (b sx/sy) ty), and alike for Y. Frames without extent give NaN or infinite
    maps, whose points are all dropped.

    Args:
        maps: Coefficients, weights included.
        boxes: Frame of each sample.
        size: Side of the canvas, in whose pixels the frame lies.
        affine: From those pixels to the pixels that are drawn; None where they are the same.

    Returns:
        Maps [N, M, 6] and the images of (0, 0), [N, 2], both float32 and without negative zeros.
    """
    pad = pad_size(size)
    with np.errstate(all="ignore"):
        scale_x = (size - 2 * pad) / (boxes[:, 1:2] - boxes[:, 0:1])  # [N, 1]
        scale_y = (size - 2 * pad) / (boxes[:, 3:4] - boxes[:, 2:3])
        shift_x = pad - boxes[:, 0:1] * scale_x
        shift_y = pad - boxes[:, 2:3] * scale_y
        a, b, c, d, e, f = np.moveaxis(maps, 2, 0)
        b = b * scale_x / scale_y
        c = c * scale_y / scale_x
        e = scale_x * e + shift_x - a * shift_x - b * shift_y
        f = scale_y * f + shift_y - c * shift_x - d * shift_y
        start_x, start_y = shift_x, shift_y
        if affine is not None:
            a, b, c, d, e, f = _conjugated((a, b, c, d, e, f), affine)
            p, q, r, s, t, u = affine.T[:, :, None]
            start_x, start_y = p * shift_x + q * shift_y + t, r * shift_x + s * shift_y + u
        pixel_maps = np.stack([a, b, c, d, e, f], 2)
        start = np.concatenate([start_x, start_y], 1)
    return to_float32(pixel_maps), to_float32(start)


def to_float32(values: Float64) -> Float32:
    """Rounded once, and without negative zeros: -0.0 + 0.0 is 0.0.

    A backend may then compare the bits of floats as unsigned integers.
    """
    with np.errstate(over="ignore"):
        return values.astype(np.float32) + np.float32(0)


def _conjugated(maps: tuple[Float64, ...], affine: Float64) -> tuple[Float64, ...]:
    """The maps seen through an affine view V: V M V^-1, six arrays [N, M].

    Entry by entry: a matrix product may go to a library that rounds as it likes.
    """
    a, b, c, d, e, f = maps
    p, q, r, s, t, u = affine.T[:, :, None]  # each [N, 1]
    # V M, then its linear part times the inverse of V's
    va, vb, vc, vd = p * a + q * c, p * b + q * d, r * a + s * c, r * b + s * d
    area = p * s - q * r
    a, b = (va * s - vb * r) / area, (vb * p - va * q) / area
    c, d = (vc * s - vd * r) / area, (vd * p - vc * q) / area
    e, f = p * e + q * f + t - (a * t + b * u), r * e + s * f + u - (c * t + d * u)
    return a, b, c, d, e, f
