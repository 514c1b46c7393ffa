"""3D iterated function systems seen by a camera: MV-FractalDB, ExFractalDB and 3D-OFDB.

The chaos game is that of `fdsl_gpu.formulas.ifs`, with maps of space that act on (X, Y, depth) of a
camera; a point's pixel is one division away. Everything after that is the 2D drawing.

Source: Yamada et al., MV-FractalDB, IROS 2021, section III; Kataoka et al., Replacing Labeled
Real-image Datasets with Auto-generated Contours, CVPR 2022, section 3 (ExFractalDB); the published
renderer (CVPR2022-Pretrained-ViT-PyTorch, exfractaldb_render) where the papers are silent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.camera import (
    FAR,
    NEAR,
    NUM_VIEWS,
    Jitter,
    equator,
    random_rotations,
    seen,
)
from fdsl_gpu.formulas.exfractaldb import NUM_POINTS, weight_row_numbers, weight_rows
from fdsl_gpu.formulas.ifs import Drawing, IfsInstance, place, shade, splat, walk_words
from fdsl_gpu.formulas.ifs_table import MAX_MAPS, thresholds
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import WALK_INDEX, Purpose, below, philox

__all__ = ["Ifs3dFormula", "Ifs3dInstance", "Ifs3dTable"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Views = Literal["equator12", "random"]
Walks = Literal["fresh", "fixed"]

_CHOICES: Final = {"drawing": Drawing, "views": Views, "jitter": Jitter, "walks": Walks}


@dataclass(frozen=True, eq=False)
class Ifs3dTable:
    """The categories of a data set.

    Args:
        maps: [K, M, 12] a matrix (a .. i) row by row and a translation (j, k, l) of each map; NaN
            beyond a category's own maps.
        probs: [K, M] probabilities of the maps; 0 beyond.
        weights: [R, 12] factors that make the instances of a category: each row multiplies the
            coefficients of all maps.
        frames: [K, R, 4] scale and shift that normalise each (category, weight row); NaN where its
            walk diverges.

    Raises:
        ValueError: All weight rows of a category diverge.
    """

    maps: Float64
    probs: Float64
    weights: Float64
    frames: Float64

    def __post_init__(self) -> None:
        lost = np.flatnonzero(self.rows[1] == 0)
        if lost.size:
            raise ValueError(
                f"all weight rows of category {lost[0]} diverge; leave the category out, or add a "
                "row of ones"
            )

    @cached_property
    def num_maps(self) -> NDArray[np.int32]:  # [K]
        """Maps of each category."""
        return np.isfinite(self.maps[:, :, 0]).sum(1).astype(np.int32)

    @cached_property
    def padded_maps(self) -> Float64:  # [K, 8, 12]
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

    @cached_property
    def rows(self) -> tuple[Int64, Int64]:
        """The weight rows of each category, those that can be drawn first, [K, R]; their number."""
        finite = np.isfinite(self.frames).all(2)
        return np.argsort(~finite, 1, kind="stable"), finite.sum(1)

    def with_rows(self, rows: list[int]) -> Ifs3dTable:
        """The same categories with these weight rows alone."""
        return replace(self, weights=self.weights[rows], frames=self.frames[:, rows])

    def with_one_row(self, row: int, otherwise: int) -> Ifs3dTable:
        """The same categories with one weight row, or another one where that diverges."""
        finite = np.isfinite(self.frames[:, row]).all(1)
        frames = self.frames[:, [row, otherwise]].copy()
        frames[finite, 1] = np.nan
        return replace(self, weights=self.weights[[row, otherwise]], frames=frames)


@dataclass(frozen=True, eq=False, kw_only=True)
class Ifs3dInstance(IfsInstance):
    """N samples of a 3D IFS; maps act on (X, Y, depth) of the camera.

    `maps` is [N, 8, 12], `start` [N, 3], and a point's pixel is (X, Y) / depth + offset.
    """

    offset: Float32  # [N, 2]

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, weight row, camera, and what the view drew at random."""
        return {"label": self.label, "weight_row": self.weight_row, **self.view}


@dataclass(frozen=True)
class Ifs3dFormula:
    """Categories x weight rows x cameras, with a fresh walk a sample.

    A published program skips the images of (category, weight row) whose walk diverges; here a
    sample's row is drawn among those that do not.

    Args:
        table: The categories.
        views: "equator12": one of the 12 published cameras, all on the equator. "random": a uniform
            rotation, as ExFractalDB's paper describes its views.
        jitter: How far a camera on the equator turns: by up to pi "degrees" as published, by up to
            pi "radians" as its program means, or "none".
        walks: "fresh": walk and jitter are drawn anew for each sample. "fixed": one walk for each
            (category, weight row), and one jitter for each of its cameras, as stored images have.
        drawing: White points as published, or anything that `IfsFormula` draws.
        num_points: Points an image at least; rounded up to whole steps of all walks.
        num_walks: Walks an image, stepped together; a power of two in [128, 4096].
        burn_in: Steps of each walk before its points count; even.
        num_categories: Draw only the first so many categories of the table; None for all.
        num_weights: Weight rows of a smaller published table: 121, 97, 73, 49, 25 (factors of 0.9
            and 1.1) or 1 (the category's own parameters); None for those of the table.

    Raises:
        ValueError: A setting is out of range.
    """

    table: Ifs3dTable
    views: Views = "random"
    jitter: Jitter = "degrees"
    walks: Walks = "fresh"
    drawing: Drawing = "point_white"
    num_points: int = NUM_POINTS
    num_walks: int = 128
    burn_in: int = 16
    num_categories: int | None = None
    num_weights: int | None = None

    target: ClassVar[Target] = "class"
    module: ClassVar[str] = "ifs3d"
    draws_views: ClassVar[bool] = True
    published_size: ClassVar[int] = 224

    def __post_init__(self) -> None:
        for name, options in _CHOICES.items():
            choices = get_args(options)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if not 1 <= self.num_points <= 2**27:
            raise ValueError(f"num_points must be in [1, {2**27}], got {self.num_points}")
        if self.num_walks not in (128, 256, 512, 1024, 2048, 4096):
            raise ValueError(
                f"num_walks must be a power of two in [128, 4096], got {self.num_walks}"
            )
        if self.burn_in < 0 or self.burn_in % 2:
            raise ValueError(f"burn_in must be even and not negative, got {self.burn_in}")
        total = len(self.table.maps)
        if self.num_categories is not None and not 1 <= self.num_categories <= total:
            raise ValueError(
                f"num_categories must be in [1, {total}] or left out, got {self.num_categories}"
            )
        if self.num_weights is not None:
            weight_row_numbers(self.num_weights)
            if not np.array_equal(self.table.weights, weight_rows()):
                raise ValueError(
                    f"num_weights={self.num_weights} chooses among the 145 published weight rows, "
                    f"but this data set has {len(self.table.weights)} of its own; leave it out"
                )
        if self.walks == "fixed" and self.views == "random":
            raise ValueError(
                "walks='fixed' stands for stored images, which have 12 views: use "
                "views='equator12' with it, or walks='fresh'"
            )

    @property
    def num_classes(self) -> int:
        """Categories that are drawn."""
        return self.num_categories or len(self.table.maps)

    @cached_property
    def drawn(self) -> Ifs3dTable:
        """The table with the weight rows that are drawn."""
        if self.num_weights is None:
            return self.table
        return self.table.with_rows(weight_row_numbers(self.num_weights))

    @property
    def num_steps(self) -> int:
        """Steps of each walk after the burn-in."""
        return -(-self.num_points // self.num_walks)

    @property
    def channels(self) -> int:
        """3 for the coloured drawings, 1 for the others."""
        return 3 if self.drawing.endswith("color") else 1

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> Ifs3dInstance:
        """Label, weight row, camera, maps as it sees them, and keys of each sample."""
        table, count = self.drawn, len(indices)
        label = balanced_labels(indices, seed, self.num_classes)
        words = philox(seed, indices, 0, np.array([[Purpose.INSTANCE], [Purpose.PATCH]]))
        rows, counts = table.rows
        weight_row = rows[label, below(words[0, 0], counts[label])]
        walk_index, turn_words = indices, words[1:, 0]
        camera = below(words[1, 0], NUM_VIEWS)
        if self.walks == "fixed":
            geometry = (label * len(table.weights) + weight_row).astype(np.uint64)
            walk_index = np.uint64(WALK_INDEX) + geometry
            stored = np.uint64(WALK_INDEX) + geometry * np.uint64(NUM_VIEWS)
            turn_words = philox(seed, stored + camera.astype(np.uint64), 0, Purpose.INSTANCE)[1:]
        if self.views == "random":
            rotation = random_rotations(words[1:, 0])
            described: dict[str, NDArray[Any]] = {"camera_rotation": rotation}
        else:
            rotation, degrees = equator(camera, turn_words[1], self.jitter)
            described = {"camera": camera, "camera_jitter": degrees}
        placed = view.place(indices, seed, np.zeros(count, np.int32))
        maps, start, offset = seen(
            table.padded_maps[label] * table.weights[weight_row][:, None],
            table.frames[label, weight_row],
            rotation,
            view.canvas,
            placed.affine,
        )
        return Ifs3dInstance(
            index=indices,
            label=label,
            weight_row=weight_row,
            turn=np.zeros(count, np.int64),
            turns="flips",
            num_maps=table.num_maps[label],
            maps=maps,
            thresholds=table.thresholds[label],
            start=start,
            offset=offset,
            walk_index=walk_index,
            patch_key=np.ascontiguousarray(words[:2, 1].T),
            orientation=placed.orientation,
            corner=placed.corner,
            seed=seed,
            canvas_size=placed.canvas_size,
            image_size=view.image_size,
            num_walks=self.num_walks,
            num_steps=self.num_steps,
            burn_in=self.burn_in,
            drawing=self.drawing,
            mask="per_point",
            view=described | placed.described,
        )

    def draw_numpy(self, instance: Ifs3dInstance, images: NDArray[np.uint8]) -> None:
        """Walk, project, splat and shade one sample after another into images [N, C, H, W]."""
        for sample, image in enumerate(images):
            column, row = project(*walk(instance, sample), instance.offset[sample])
            order = splat(column, row, instance.canvas_size)
            image[:] = place(shade(order, instance, sample), instance, sample)


def walk(instance: Ifs3dInstance, sample: int) -> tuple[Float32, Float32, Float32]:
    """The points of one sample: X, Y and depth, float32 [num_steps, num_walks]."""
    walks = np.arange(instance.num_walks, dtype=np.uint32)
    x, y, z = (np.full(instance.num_walks, start) for start in instance.start[sample])
    points = []
    with np.errstate(all="ignore"):  # a divergent system overflows, as published
        for multiplier, offset in zip(*walk_words(instance, sample), strict=True):
            word = walks * multiplier + offset
            chosen = (instance.thresholds[sample][:, None] <= word).sum(0)
            a, b, c, d, e, f, g, h, i, j, k, m = instance.maps[sample, chosen].T
            x, y, z = (
                ((a * x + b * y) + c * z) + j,
                ((d * x + e * y) + f * z) + k,
                ((g * x + h * y) + i * z) + m,
            )
            points.append((x, y, z))
    xs, ys, zs = np.array(points[instance.burn_in :]).swapaxes(0, 1)
    return xs, ys, zs


def project(x: Float32, y: Float32, depth: Float32, offset: Float32) -> tuple[Float32, Float32]:
    """Column and row of each point; outside of every canvas where the camera does not see it."""
    with np.errstate(all="ignore"):
        inverse = np.float32(1) / depth
        column, row = x * inverse + offset[0], y * inverse + offset[1]
        seen = (depth >= NEAR) & (depth <= FAR)
    return np.where(seen, column, np.float32(-1)), row
