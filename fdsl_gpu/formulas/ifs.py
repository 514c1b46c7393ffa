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
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import Purpose, below, mix, philox

__all__ = ["MAX_MAPS", "IfsFormula", "IfsInstance", "IfsTable", "pad_size", "palette", "thresholds"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Drawing = Literal["patch_gray", "patch_color", "point_gray", "point_color"]
Mask = Literal["per_point", "per_image", "full"]

MAX_MAPS: Final = 8
"""Maps a system may have; fewer are padded by repeating the last."""
MAX_POINTS: Final = 2**27
"""Points an image may have: an order and its patch cell share one int32."""
GRAY: Final = 127
"""Value of a lit pixel, as published."""
NUM_HUES: Final = 128
"""Colours that the published renderer cycles through, one a point."""


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


def palette() -> NDArray[np.uint8]:
    """The published colours, [128, 3]: a turn of hue, S = V = 0.75; red and blue are swapped."""
    rgb = [colorsys.hsv_to_rgb(hue / NUM_HUES, 0.75, 0.75) for hue in range(NUM_HUES)]
    return (np.array(rgb)[:, ::-1] * 255).astype(np.uint8)


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
    """

    maps: Float64
    probs: Float64
    weights: Float64
    boxes: Float64

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


@dataclass(frozen=True, eq=False)
class IfsInstance:
    """N samples of a 2D IFS, ready to be drawn; maps act on (column, row) of the canvas."""

    index: NDArray[np.uint64]  # [N]
    label: NDArray[np.int64]  # [N]
    weight_row: NDArray[np.int64]  # [N]
    # [N] 0 none, 1 top-bottom, 2 left-right, 3 both; after the published renderer's own flip
    flip: NDArray[np.int64]
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

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, weight row and flip of each sample."""
        return {"label": self.label, "weight_row": self.weight_row, "flip": self.flip}


@dataclass(frozen=True)
class IfsFormula:
    """FractalDB: categories x weight rows x flips, with a fresh walk and patches a sample.

    Args:
        table: The categories.
        drawing: The published renderer's `patch_gray`, `patch_color`, `point_gray` or
            `point_color`.
        mask: 3x3 mask of a patch: random for each point as published, random for each image, or
            full.
        num_points: Points an image at least; rounded up to whole steps of all walks.
        num_walks: Walks an image, stepped together; a power of two in [128, 4096].
        burn_in: Steps of each walk before its points count; even, since one Philox call serves two
            steps.
        num_categories: Draw only the first so many categories of the table; None for all.

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

    target: ClassVar[Target] = "class"
    module: ClassVar[str] = "ifs"

    def __post_init__(self) -> None:
        for name, choices in (("drawing", get_args(Drawing)), ("mask", get_args(Mask))):
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
        """Label, weight row, flip, maps in pixel space and keys of each sample."""
        table, size = self.table, view.image_size
        label = balanced_labels(indices, seed, self.num_classes)
        words = philox(seed, indices, 0, np.array([[Purpose.INSTANCE], [Purpose.PATCH]]))
        chosen, patch = words[:, 0], words[:, 1]
        weight_row = below(chosen[0], len(table.weights))
        flip = below(chosen[1], 4)
        maps, start = to_pixel_space(
            table.padded_maps[label] * table.weights[weight_row][:, None],
            table.boxes[label, weight_row],
            size,
        )
        return IfsInstance(
            index=indices,
            label=label,
            weight_row=weight_row,
            flip=flip,
            num_maps=table.num_maps[label],
            maps=maps,
            thresholds=table.thresholds[label],
            start=start,
            walk_index=indices,
            patch_key=np.ascontiguousarray(patch[:2].T),
            # the published renderer flips every canvas top-bottom, and the instance's flip comes
            # after it
            orientation=(flip ^ 1).astype(np.int32),
            corner=np.zeros((len(indices), 2), np.int32),
            seed=seed,
            canvas_size=size,
            image_size=size,
            num_walks=self.num_walks,
            num_steps=self.num_steps,
            burn_in=self.burn_in,
            drawing=self.drawing,
            mask=self.mask,
        )

    def draw_numpy(self, instance: IfsInstance, images: NDArray[np.uint8]) -> None:
        """Walk, splat, resolve and shade one sample after another into images [N, C, H, W]."""
        for sample, image in enumerate(images):
            x, y = walk(instance, sample)
            order = splat(x, y, instance.canvas_size)
            image[:] = place(shade(order, instance, sample), instance, sample)


def to_pixel_space(
    maps: Float64,  # [N, M, 6]
    boxes: Float64,  # [N, 4]
    size: int,
) -> tuple[Float32, Float32]:
    """Conjugate maps so that they act on pixels; float64, then rounded once.

    With X = sx x + tx and Y = sy y + ty, the map x' = ax + by + e becomes X' = aX + (b sx/sy)Y +
    (sx e + tx - a tx - (b sx/sy) ty), and alike for Y. Frames without extent give NaN or infinite
    maps, whose points are all dropped.

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
        pixel_maps = np.stack([a, b, c, d, e, f], 2).astype(np.float32)
        start = np.concatenate([shift_x, shift_y], 1).astype(np.float32)
    # -0.0 + 0.0 is 0.0: a backend may then compare the bits of floats as unsigned integers
    return pixel_maps + np.float32(0), start + np.float32(0)


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
    if instance.drawing.endswith("gray"):
        return np.where(lit, np.uint8(GRAY), np.uint8(0))[None]
    return np.moveaxis(palette()[(order - 1) % NUM_HUES] * lit[:, :, None], 2, 0)


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
