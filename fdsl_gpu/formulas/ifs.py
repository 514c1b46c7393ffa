"""2D iterated function systems: FractalDB and its relatives.

A category is a set of affine maps; an instance weights their coefficients; a chaos game of
thousands of walks hits pixels; each hit pastes a 3x3 patch over what lies below. Pasting 200,000
patches in order gives the same image as keeping, per pixel, the largest order among its neighbours
and looking up that one patch, which is what is done here: walk -> splat (maximum of the order) ->
resolve (maximum over the neighbourhood) -> shade.

Source: Kataoka et al., Pre-training without Natural Images, IJCV 2022, section 3; the published
renderer (FractalDB-Pretrained-ResNet-PyTorch, ifs_function.py) where the paper is silent.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.ifs_instances import continuous_weights, published_instances
from fdsl_gpu.formulas.ifs_table import IfsTable, to_float32, to_pixel_space
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import Purpose, below, mix, philox

__all__ = ["IfsFormula", "IfsInstance", "lit_value", "palette"]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
UInt64 = NDArray[np.uint64]
Drawing = Literal[
    "patch_gray", "patch_color", "point_gray", "point_color", "patch_white", "point_white"
]
Mask = Literal["per_point", "per_image", "full"]
Instances = Literal["fresh", "published", "continuous"]
Turns = Literal["flips", "rotations"]

_CHOICES: Final = {"drawing": Drawing, "mask": Mask, "instances": Instances, "turns": Turns}
MAX_POINTS: Final = 2**27
"""Points an image may have: an order and its patch cell share one int32."""
GRAY: Final = 127
"""Value of a lit pixel of a gray drawing, as published; 3D systems are drawn in white."""
NUM_HUES: Final = 128
"""Colours that the published renderer cycles through, one a point."""
# Orientation codes (see IfsInstance) of the turns. The published renderer flips every canvas
# top-bottom first; a rotation counts quarter turns against the clock after that.
ORIENTATIONS: Final = {"flips": (1, 0, 3, 2), "rotations": (1, 7, 2, 4)}


def lit_value(drawing: str) -> int:
    """Value of the lit pixels of a drawing without colour."""
    return 255 if drawing.endswith("white") else GRAY


def palette() -> NDArray[np.uint8]:
    """The published colours, [128, 3]: a turn of hue, S = V = 0.75; red and blue are swapped."""
    rgb = [colorsys.hsv_to_rgb(hue / NUM_HUES, 0.75, 0.75) for hue in range(NUM_HUES)]
    return (np.array(rgb)[:, ::-1] * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class IfsInstance:
    """N samples of a 2D IFS, ready to be drawn; maps act on (column, row) of the canvas."""

    index: NDArray[np.uint64]  # [N]
    label: NDArray[np.int64]  # [N]
    weight_row: NDArray[np.int64]  # [N]
    # [N] after the published renderer's own flip: 0 none, 1 top-bottom, 2 left-right, 3 both; or
    # quarter turns against the clock
    turn: NDArray[np.int64]
    turns: Turns
    num_maps: NDArray[np.int32]  # [N]
    maps: Float32  # [N, 8, 6] a, b, c, d, e, f; the last map repeated
    thresholds: NDArray[np.uint32]  # [N, 7]
    start: Float32  # [N, 2] x, y that every walk starts from
    walk_index: NDArray[np.uint64]  # [N] the Philox index of the walk words
    patch_key: NDArray[np.uint32]  # [N, 2]
    # [N] from canvas to image: 4 transposes, then 1 flips rows and 2 flips columns
    orientation: NDArray[np.int32]
    corner: NDArray[np.int32]  # [N, 2] top row and left column of the image in the oriented canvas
    seed: int
    canvas_size: int
    image_size: int
    num_walks: int
    num_steps: int
    burn_in: int
    drawing: Drawing
    mask: Mask
    # what was drawn at random beside weight row and turn, for describe()
    view: dict[str, NDArray[Any]] = field(default_factory=dict)
    # not None: maps and start are still in the formula's space, the frame is the extent of the walk
    # itself, spread over a canvas of this side, and frame_affine [N, 6] comes after it; see framed
    frame_size: int | None = None
    frame_affine: NDArray[np.float64] | None = None

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, weight row or weights, flip or rotation, and what the view drew at random."""
        turn = {"flips": "flip", "rotations": "rotation"}[self.turns]
        own = {"label": self.label, "weight_row": self.weight_row, turn: self.turn}
        if self.frame_size is not None:
            del own["weight_row"]
        return {**own, **self.view}


@dataclass(frozen=True)
class IfsFormula:
    """FractalDB: categories x weight rows x flips, with a fresh walk and patches a sample.

    Args:
        table: The categories.
        drawing: The published renderer's `patch_gray`, `patch_color`, `point_gray` or
            `point_color`; or `patch_white`, `point_white`.
        mask: 3x3 mask of a patch: random for each point as published, random for each image, or
            full.
        num_points: Points an image at least; rounded up to whole steps of all walks.
        num_walks: Walks an image, stepped together; a power of two in [128, 4096].
        burn_in: Steps of each walk before its points count; even, since one Philox call serves two
            steps.
        num_categories: Draw only the first so many categories of the table; None for all.
        instances: "fresh": weight row, turn, walk and patches are drawn anew for every sample.
            "published": the published images and no others, each exactly once in an epoch of
            K x weight rows x turns x patch draws; one walk for each (category, weight row). The
            validation split then shows the same geometries in another order.
            "continuous": as fresh, but in place of a weight row each of the six coefficients has a
            factor of its own; the frame is then the extent of the sample's own walk.
        turns: What the four images of a drawing are: the published "flips", or "rotations" by
            quarter turns, as the paper words it.
        num_turns: How many of the four, 1, 2 or 4.
        num_patches: Patch draws of each (category, weight row) among the published instances.
        min_coverage: Leave out weight rows whose drawing covers less than this share of the
            canvas; some 5 % of FractalDB-1k is nearly blank. A category without such a row keeps
            its best one. Fresh instances only.
        weight_step: w of the continuous instances, whose factors are in [1 - 2w, 1 + 2w).

    Raises:
        ValueError: A setting is out of range.
    """

    table: IfsTable
    drawing: Drawing = "patch_gray"
    mask: Mask = "per_point"
    num_points: int = 200_000
    num_walks: int = 1024
    burn_in: int = 16
    num_categories: int | None = None
    instances: Instances = "fresh"
    turns: Turns = "flips"
    num_turns: int = 4
    num_patches: int = 10
    min_coverage: float = 0.0
    weight_step: float = 0.4

    target: ClassVar[Target] = "class"
    module: ClassVar[str] = "ifs"
    draws_views: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, options in _CHOICES.items():
            choices = get_args(options)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        if not 1 <= self.num_points <= MAX_POINTS:
            raise ValueError(f"num_points must be in [1, {MAX_POINTS}], got {self.num_points}")
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
        if self.num_turns not in (1, 2, 4):
            raise ValueError(f"num_turns must be 1, 2 or 4, got {self.num_turns}")
        if not 1 <= self.num_patches <= 2**16:
            raise ValueError(f"num_patches must be in [1, 65536], got {self.num_patches}")
        if not 0 <= self.min_coverage < 1:
            raise ValueError(f"min_coverage must be in [0, 1), got {self.min_coverage}")
        if self.min_coverage and self.instances != "fresh":
            raise ValueError(
                f"min_coverage leaves out {self.instances} instances: use instances='fresh' with "
                "it, or min_coverage=0"
            )
        if not 0 < self.weight_step <= 0.5:
            raise ValueError(f"weight_step must be in (0, 0.5], got {self.weight_step}")

    @property
    def num_classes(self) -> int:
        """Categories that are drawn."""
        return self.num_categories or len(self.table.maps)

    @property
    def num_steps(self) -> int:
        """Steps of each walk after the burn-in."""
        return -(-self.num_points // self.num_walks)

    @property
    def channels(self) -> int:
        """1 for the gray drawings, 3 for the coloured ones."""
        return 3 if self.drawing.endswith("color") else 1

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> IfsInstance:
        """Label, weight row, turn, maps in pixel space and keys of each sample."""
        table = self.table
        label = balanced_labels(indices, seed, self.num_classes)
        if self.instances == "published":
            counts = self.num_classes, len(table.weights), self.num_patches, self.num_turns
            chosen = published_instances(indices, label, seed, counts)
            weight_row, turn, walk_index, patch_words = chosen
        else:
            words = philox(seed, indices, 0, np.array([[Purpose.INSTANCE], [Purpose.PATCH]]))
            weight_row = self._weight_row(words[0, 0], label)
            turn = below(words[1, 0], self.num_turns)
            walk_index, patch_words = indices, words[:, 1]
        placed = view.place(indices, seed, np.array(ORIENTATIONS[self.turns], np.int32)[turn])
        described = placed.described
        if self.instances == "continuous":
            weight_row = np.full(len(indices), -1)
            weights = continuous_weights(indices, seed, self.weight_step)
            maps = to_float32(table.padded_maps[label] * weights[:, None])
            start = np.zeros((len(indices), 2), np.float32)
            described = {"weights": weights, **described}
        else:
            maps, start = to_pixel_space(
                table.padded_maps[label] * table.weights[weight_row][:, None],
                table.boxes[label, weight_row],
                view.canvas,
                placed.affine,
            )
        return IfsInstance(
            index=indices,
            label=label,
            weight_row=weight_row,
            turn=turn,
            turns=self.turns,
            num_maps=table.num_maps[label],
            maps=maps,
            thresholds=table.thresholds[label],
            start=start,
            walk_index=walk_index,
            patch_key=np.ascontiguousarray(patch_words[:2].T),
            orientation=placed.orientation,
            corner=placed.corner,
            seed=seed,
            canvas_size=placed.canvas_size,
            image_size=view.image_size,
            num_walks=self.num_walks,
            num_steps=self.num_steps,
            burn_in=self.burn_in,
            drawing=self.drawing,
            mask=self.mask,
            view=described,
            frame_size=view.canvas if self.instances == "continuous" else None,
            frame_affine=placed.affine if self.instances == "continuous" else None,
        )

    def _weight_row(self, words: UInt32, label: Int64) -> Int64:
        """A fresh weight row for each sample, among those that cover enough."""
        if not self.min_coverage:
            return below(words, len(self.table.weights))
        rows, counts = self.table.covering_rows(self.min_coverage)
        return rows[label, below(words, counts[label])]

    def draw_numpy(self, instance: IfsInstance, images: NDArray[np.uint8]) -> None:
        """Walk, splat, resolve and shade one sample after another into images [N, C, H, W]."""
        instance = framed(instance)
        for sample, image in enumerate(images):
            x, y = walk(instance, sample)
            order = splat(x, y, instance.canvas_size)
            image[:] = place(shade(order, instance, sample), instance, sample)


def walk_words(instance: IfsInstance, sample: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(A, B) of each step, burn-in included: walk w uses the word w * A + B.

    One Philox call serves two steps.

    Returns:
        A (always odd) and B, both uint32 [burn_in + num_steps].
    """
    steps = instance.burn_in + instance.num_steps
    words = philox(
        instance.seed, instance.walk_index[sample], np.arange((steps + 1) // 2), Purpose.WALK
    )
    pairs = words.T.reshape(-1, 2)[:steps]
    return pairs[:, 0] | np.uint32(1), pairs[:, 1]


def walk(instance: IfsInstance, sample: int) -> tuple[Float32, Float32]:
    """The points of one sample: x and y, float32 [num_steps, num_walks], in canvas pixels."""
    walks = np.arange(instance.num_walks, dtype=np.uint32)
    x = np.full(instance.num_walks, instance.start[sample, 0])
    y = np.full(instance.num_walks, instance.start[sample, 1])
    xs, ys = [], []
    with np.errstate(all="ignore"):  # a divergent system overflows, as published
        for multiplier, offset in zip(*walk_words(instance, sample), strict=True):
            word = walks * multiplier + offset
            chosen = (instance.thresholds[sample][:, None] <= word).sum(0)
            a, b, c, d, e, f = instance.maps[sample, chosen].T
            x, y = (a * x + b * y) + e, (c * x + d * y) + f
            xs.append(x)
            ys.append(y)
    return np.stack(xs[instance.burn_in :]), np.stack(ys[instance.burn_in :])


def extents(instance: IfsInstance) -> Float32:  # [N, 4]
    """First pass: x min, x max, y min, y max of the points that are finite; NaN where none is."""
    boxes = np.full((len(instance.label), 4), np.nan, np.float32)
    for sample, box in enumerate(boxes):
        x, y = walk(instance, sample)
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            x, y = x[finite], y[finite]
            box[:] = x.min(), x.max(), y.min(), y.max()
    return boxes


def framed(instance: IfsInstance, boxes: Float32 | None = None) -> IfsInstance:
    """Second pass: the samples with maps in pixel space; their frames are the extents, boxes."""
    if instance.frame_size is None:
        return instance
    maps, start = to_pixel_space(
        instance.maps.astype(np.float64),
        (extents(instance) if boxes is None else boxes).astype(np.float64),
        instance.frame_size,
        instance.frame_affine,
    )
    return replace(instance, maps=maps, start=start, frame_size=None, frame_affine=None)


def splat(x: Float32, y: Float32, size: int) -> NDArray[np.int32]:  # [S, S]
    """The order of the last point on each pixel, counted from 1; 0 where none fell."""
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    order = np.arange(1, x.size + 1, dtype=np.int32).reshape(x.shape)
    canvas = np.zeros((size, size), np.int32)
    np.maximum.at(canvas, (y[inside].astype(np.int32), x[inside].astype(np.int32)), order[inside])
    return canvas


def resolve(canvas: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The last patch over each pixel: its order, or 0, and which of its nine cells lies there.

    A point at (row, column) pastes its patch over row + 1 .. row + 3 and column + 1 .. column + 3,
    as published.
    """
    size = len(canvas)
    order = np.zeros_like(canvas)
    cell = np.zeros_like(canvas)
    for number in range(9):
        down, right = number // 3 + 1, number % 3 + 1
        moved = np.zeros_like(canvas)
        moved[down:, right:] = canvas[: size - down, : size - right]
        cell[moved > order] = number
        order = np.maximum(order, moved)
    return order, cell


def shade(
    canvas: NDArray[np.int32], instance: IfsInstance, sample: int
) -> NDArray[np.uint8]:  # [1 or 3, S, S]
    """Values of the canvas: the patch's mask bit, in gray or in the hue of the point's number."""
    if instance.drawing.startswith("point"):
        order, lit = canvas, canvas > 0
    else:
        order, cell = resolve(canvas)
        # nine bits in row-major order, the most significant first
        lit = (order > 0) & ((patch_mask(order, instance, sample) >> (8 - cell)) & 1 == 1)
    if instance.drawing.endswith("color"):
        return np.moveaxis(palette()[(order - 1) % NUM_HUES] * lit[:, :, None], 2, 0)
    return np.where(lit, np.uint8(lit_value(instance.drawing)), np.uint8(0))[None]


def patch_mask(order: NDArray[np.int32], instance: IfsInstance, sample: int) -> NDArray[np.int64]:
    """The 3x3 mask of the point with this order: nine bits, 1..511, never empty."""
    if instance.mask == "full":
        return np.full(order.shape, 511)
    if instance.mask == "per_image":
        order = np.zeros_like(order)
    key0, key1 = instance.patch_key[sample]
    return 1 + below(mix(order.astype(np.uint32), key0, key1), 511)


def place(canvas: NDArray[np.uint8], instance: IfsInstance, sample: int) -> NDArray[np.uint8]:
    """Turn the canvas [C, S, S] and cut the image [C, H, W] out of it."""
    orientation = instance.orientation[sample]
    if orientation & 4:
        canvas = canvas.transpose(0, 2, 1)
    if orientation & 1:
        canvas = canvas[:, ::-1]
    if orientation & 2:
        canvas = canvas[:, :, ::-1]
    top, left = instance.corner[sample]
    size = instance.image_size
    return canvas[:, top : top + size, left : left + size]
