"""Contours: concentric polygons whose vertices wander outward. RCDB, VisualAtom and SegRCDB.

A category is a number of vertices and orbits, a noise, a growth, a radius, an ellipse and two
frequencies. The polygon of orbit k is that of orbit k - 1 with every vertex moved along its own
direction, by the growth, the waves and a noise of its own in x and in y; it is drawn one pixel wide
in a random gray over the ones before.

Lengths are those of the published canvas of 512 pixels, scaled to the image; a line stays one pixel
wide.

Source: Kataoka et al., Replacing Labeled Real-image Datasets with Auto-generated Contours, CVPR
2022 (RCDB); Takashima et al., Visual Atoms: Pre-training Vision Transformers with Sinusoidal
Waves, CVPR 2023; Shinoda et al., SegRCDB: Semantic Segmentation via Formula-Driven Supervised
Learning, ICCV 2023; their published programs where the papers are silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.contour_drawing import (
    CANVAS,
    MAX_INSTANCES,
    MAX_ORBITS,
    MAX_VERTICES,
    ContourInstance,
    Mask,
    draw_lines,
    mask_fills,
    mask_lines,
)
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["RCDB", "SEG_RCDB", "VISUAL_ATOM", "ContourFormula"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]

MAX_ENLARGED: Final = 2**17
"""Side of the canvas where a window is enlarged to the image, in pixels. Vertices lie within 2,048
sides of it, so that differences of coordinates stay below 2**30."""
# the range that each setting must lie in: coordinates stay below 2**24 at 8,192 pixels
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "num_categories": (1, 2**24),
    "min_vertices": (3, MAX_VERTICES),
    "max_vertices": (3, MAX_VERTICES),
    "max_orbits": (1, MAX_ORBITS),
    "min_noise": (0, 64),
    "max_noise": (0, 64),
    "noise_factor": (0, 8),
    "max_growth": (0, 64),
    "min_radius": (0, 1024),
    "max_radius": (0, 1024),
    "max_ellipse": (1, 16),
    "max_frequency": (0, MAX_VERTICES),
    "max_shift": (0, 4096),
    "max_gray": (0, 256),
    "background": (0, 255),
    "num_instances": (1, MAX_INSTANCES),
    "category_seed": (0, 2**64 - 1),
}


@dataclass(frozen=True)
class ContourFormula:
    """RCDB and its relatives; the defaults are those of RCDB-1k.

    Categories depend on `category_seed` and their number alone: those of a set of 1,000 are the
    first 1,000 of a set of 21,000.

    Args:
        num_categories: Categories; class labels are 0 .. num_categories - 1, mask values 1 ..
            num_categories, with 0 for the background.
        min_vertices: Fewest vertices of a polygon, at least 3.
        max_vertices: Most vertices, at most 1,024.
        mean_vertices: Their number is floor(exponential) of this mean, drawn until it lies between
            the two; None for a uniform number.
        max_orbits: Polygons of a category are uniform in 1 .. max_orbits.
        min_noise: Smallest Perlin coefficient, which is also the main part of an orbit's growth.
        max_noise: Largest.
        noise_factor: The noise is multiplied by coefficient and factor: 2 in RCDB, 1 in VisualAtom.
        max_growth: A category's constant growth an orbit is uniform in [0, max_growth); published
            as line width.
        min_radius: Smallest radius that the orbits start from, a whole number of pixels.
        max_radius: Largest.
        max_ellipse: The radius is stretched by factors uniform in [1, max_ellipse), in x and in y.
        max_frequency: Two different frequencies in 0 .. max_frequency, or both 0; 0 for no waves.
        max_shift: The centre is (512 + a whole number in -max_shift .. max_shift) / 2.
        max_gray: Grays are uniform in 0 .. max_gray; 256 is drawn as 255, as published.
        background: Gray of pixels without a line.
        shape_per_image: Whether radius and ellipse are drawn for each image rather than category.
        num_instances: Contours an image, 1 .. 32; more than one needs a mask.
        mask: None for class labels; "M1" the lines in their category's value, "M2" the ring between
            first and last polygon, "M3" the last polygon filled.
        category_seed: Seed of the categories.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> VISUAL_ATOM.num_classes, SEG_RCDB.target
        (1000, 'mask')
    """

    num_categories: int = 1000
    min_vertices: int = 3
    max_vertices: int = 200
    mean_vertices: float | None = 100.0
    max_orbits: int = 200
    min_noise: float = 0.0
    max_noise: float = 4.0
    noise_factor: float = 2.0
    max_growth: float = 0.1
    min_radius: int = 0
    max_radius: int = 100
    max_ellipse: float = 2.0
    max_frequency: int = 0
    max_shift: int = 400
    max_gray: int = 256
    background: int = 255
    shape_per_image: bool = True
    num_instances: int = 1
    mask: Mask | None = None
    category_seed: int = 0

    module: ClassVar[str] = "contours"
    channels: ClassVar[int] = 1
    draws_views: ClassVar[bool] = True
    published_size: ClassVar[int] = CANVAS

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")
        for name in ("vertices", "noise", "radius"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} must be at most max_{name}, got {low} and {high}")
        if self.mean_vertices is not None and not self.mean_vertices > 0:
            raise ValueError(f"mean_vertices must be positive or None, got {self.mean_vertices}")
        if self.mask not in (None, *get_args(Mask)):
            raise ValueError(f"mask must be None or one of {get_args(Mask)}, got {self.mask!r}")
        if self.mask is None and self.num_instances > 1:
            raise ValueError(
                f"num_instances must be 1 where an image has one class, got {self.num_instances}; "
                "choose a mask for several"
            )
        if self.mask is not None and self.num_categories > 255:
            raise ValueError(
                f"num_categories must be at most 255 with a mask, whose pixels are bytes, "
                f"got {self.num_categories}"
            )

    @property
    def num_classes(self) -> int:
        """Categories, and the background where the target is a mask."""
        return self.num_categories + (self.mask is not None)

    @property
    def target(self) -> Target:
        """A class, or a mask."""
        return "class" if self.mask is None else "mask"

    @cached_property
    def categories(self) -> Float64:  # [K, 9]
        """The shape of each category: the columns of SHAPE, in pixels of the 512 canvas."""
        numbers = np.arange(self.num_categories)
        words = philox(self.category_seed, numbers, np.arange(3)[:, None], Purpose.CATEGORY)
        orbits, noise, growth, vertices = words[:, 0]
        radius, ellipse_x, ellipse_y, frequency = words[:, 1]
        first = below(frequency, self.max_frequency + 1)
        # the second is any other number; 0 and 0 may go together
        others = below(words[0, 2], self.max_frequency + (first == 0))
        second = others + ((first > 0) & (others >= first))
        columns = [
            self._vertices(vertices),
            1 + below(orbits, self.max_orbits),
            uniform(noise, self.min_noise, self.max_noise),
            uniform(growth, 0, self.max_growth),
            *self._radius(radius, ellipse_x, ellipse_y),
            first,
            second,
        ]
        return np.stack([np.asarray(column, np.float64) for column in columns], 1)

    def _vertices(self, words: UInt32) -> Int64:
        """Numbers of vertices: uniform, or an exponential's whole part within the range."""
        count = self.max_vertices - self.min_vertices + 1
        if self.mean_vertices is None:
            return self.min_vertices + below(words, count)
        # the exponential's last bit differs between machines, but is far below a word's 2**-32
        rest = np.exp(-np.arange(1, count + 1) / self.mean_vertices)
        cumulative = (1 - rest) / (1 - rest[-1])
        return self.min_vertices + np.searchsorted(cumulative[:-1], uniform(words), "right")

    def _radius(self, radius: UInt32, x: UInt32, y: UInt32) -> tuple[Int64, Float64, Float64]:
        """Radius, and its factors in x and y."""
        return (
            self.min_radius + below(radius, self.max_radius - self.min_radius + 1),
            uniform(x, 1, self.max_ellipse),
            uniform(y, 1, self.max_ellipse),
        )

    def check_view(self, view: View) -> None:
        """Refuse windows that are enlarged too much.

        Raises:
            ValueError: A window may be too small to be drawn at the image's size.
        """
        low, high = view.ratio
        # the least side of a window, or of the longest one of a ratio, as a share of the canvas's
        least = min(math.sqrt(view.scale[0] * min(low, 1 / high)), high, 1 / low)
        if view.crop == "resized" and view.image_size > MAX_ENLARGED * least:
            raise ValueError(
                f"contours in so small a window lie too far apart to be drawn: the whole canvas, "
                f"enlarged alike, must have a side of at most {MAX_ENLARGED} pixels, got "
                f"{view.image_size / least:.0f}; raise the least scale of {view.scale}, or keep "
                f"the ratio {view.ratio} nearer to 1"
            )

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> ContourInstance:
        """Categories, shapes, centres and keys of each sample."""
        affine, turn, described = _placed(view, indices, seed)
        draws = np.arange(3)[:, None] + 3 * np.arange(self.num_instances)  # [3, I]
        words = philox(seed, indices[:, None, None], draws, Purpose.INSTANCE)
        place, look, key = np.moveaxis(words, 2, 0)  # each [4, N, I]
        if self.mask is None:
            label = balanced_labels(indices, seed, self.num_categories)
            category = label[:, None]
        else:
            category = below(place[2], self.num_categories)
            label = category[:, -1] + 1
        shape = self.categories[category]  # [N, I, 9]
        if self.shape_per_image:
            shape[..., 4:7] = np.stack(self._radius(*look[:3]), 2)
        scale = view.canvas / CANVAS
        shift = below(place[:2], 2 * self.max_shift + 1) - self.max_shift
        noise, growth = shape[..., 2], shape[..., 3]
        return ContourInstance(
            index=indices,
            label=label,
            category=category,
            shape=shape,
            center=(np.moveaxis(CANVAS + shift, 0, 2) * (0.5 * scale)).astype(np.float32),
            num_vertices=shape[..., 0].astype(np.int32),
            num_orbits=shape[..., 1].astype(np.int32),
            frequency=shape[..., 7:9].astype(np.int32),
            radius=(shape[..., 4:5] * shape[..., 5:7] * scale).astype(np.float32),
            step=((noise + growth) * scale).astype(np.float32),
            # 0.4 is the factor that Perlin's noise ends with
            amplitude=(noise * (0.4 * self.noise_factor * scale)).astype(np.float32),
            key=np.ascontiguousarray(np.moveaxis(key, 0, 2)),
            wave=np.float32(0.5 * scale),
            scale=scale,
            affine=affine,
            turn=turn,
            view=described,
            image_size=view.image_size,
            max_gray=self.max_gray,
            background=self.background,
            mask=self.mask,
        )

    def draw_numpy(
        self,
        instance: ContourInstance,
        images: NDArray[np.uint8],
        masks: NDArray[np.uint8] | None = None,
    ) -> None:
        """Draw one sample after another into images [N, C, H, W] and masks [N, H, W]."""
        for sample, image in enumerate(images):
            canvas = draw_lines(instance, sample)
            image[:] = np.where(canvas, canvas & 255, instance.background)
            if masks is not None and instance.mask == "M1":
                masks[sample] = mask_lines(instance, sample, canvas)
            elif masks is not None:
                masks[sample] = mask_fills(instance, sample)


def _placed(
    view: View, indices: NDArray[np.uint64], seed: int
) -> tuple[Float32 | None, Int32 | None, dict[str, NDArray[Any]]]:
    """How the canvas becomes the image: an affine map, then a turn of whole pixels."""
    if view.is_plain:
        return None, None, {}
    count = len(indices)
    placed = view.place(indices, seed, np.zeros(count, np.int32))
    affine = np.array([1.0, 0, 0, 1, 0, 0]) if placed.affine is None else placed.affine
    # the canvas is transposed, then its columns and rows are flipped, then it is cut
    swap, left, top = placed.orientation >> np.array([[2], [1], [0]]) & 1
    columns, rows = 1 - 2 * left, 1 - 2 * top
    last = placed.canvas_size - 1
    across, down = left * last - placed.corner[:, 1], top * last - placed.corner[:, 0]
    stay = 1 - swap
    turn = np.stack([columns * stay, columns * swap, rows * swap, rows * stay, across, down], 1)
    return (
        np.broadcast_to(affine, (count, 6)).astype(np.float32),
        turn.astype(np.int32),
        placed.described,
    )


RCDB: Final = ContourFormula()
VISUAL_ATOM: Final = ContourFormula(
    min_vertices=200,
    max_vertices=1000,
    mean_vertices=None,
    noise_factor=1.0,
    min_radius=10,
    max_radius=60,
    max_frequency=20,
    max_shift=512,
    max_gray=255,
    background=0,
    shape_per_image=False,
)
"""With the parameters of the published shell script, which made the released images."""
SEG_RCDB: Final = ContourFormula(
    num_categories=254,
    max_vertices=500,
    max_orbits=50,
    max_radius=50,
    max_shift=512,
    max_gray=255,
    background=0,
    shape_per_image=False,
    num_instances=32,
    mask="M1",
)
