"""Sigma-factor fractals: contractive systems in graded colours before a background.

An image holds one fractal (wacv-1k) or several, each with a class of its own (wacv-1k-multi). What
a sample is stands here; how it is drawn, in `fdsl_gpu.formulas.graded_drawing`.

The published label is sample // num_classes, which is right only where a class has as many samples
as there are classes; here the label is the category, balanced as everywhere else.

Source: Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, sections 3 and 4; its
program (fractal-pretraining: generator.py, ifs.py) where the paper is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas import diamond_square
from fdsl_gpu.formulas.base import Target, View
from fdsl_gpu.formulas.blur import blur_weights
from fdsl_gpu.formulas.graded_drawing import MAX_FRACTALS, Background, GradedInstance, draw_image
from fdsl_gpu.formulas.ifs_table import MAX_MAPS, thresholds
from fdsl_gpu.formulas.jitter import DRAWS, NUM_TRIES, Jitter, jittered
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.formulas.sigma_factor import sample_system
from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["GradedIfsFormula"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
Window = Literal["random", "whole"]

_CHOICES: Final = {"jitter": Jitter, "window": Window, "background": Background}
# Philox draws of Purpose.INSTANCE of each fractal of a sample: what it is and where, its window,
# its colours, its turn; then the tries of the jitter
_FIXED_DRAWS: Final = 4
_FRACTAL_DRAWS: Final = _FIXED_DRAWS + DRAWS * NUM_TRIES


@dataclass(frozen=True)
class GradedIfsFormula:
    """Categories x jitter x window x turn x colours, one or several to an image.

    Args:
        num_categories: K. Categories depend on `category_seed` and their number alone.
        min_maps: Fewest maps of a system.
        max_maps: Most, at most 8; 4 as published.
        category_seed: Seed of the categories.
        fractals: Least and most fractals of an image, their number uniform. (1, 1) gives labels,
            anything else multi-hot targets.
        min_size: Least side of a fractal, as a share of the image's, where there are several.
        max_size: Largest.
        jitter: How a system is varied: see `fdsl_gpu.formulas.jitter`.
        window: Of an image with one fractal: "random" moves the frame by up to a fifth of the
            fractal and scales it by 0.5 to 2 on each axis, as published; "whole" shows all of it.
        background: "diamond_square" as published, or "black".
        blur: Share of the images that are blurred, with a sigma of 0.5 to 1: what the published
            blur_p says, which its program ignores, so that 0.5 is what it does. Left to
            augmentation by default.
        num_points: Points of a fractal at least; rounded up to whole steps of all walks.
        num_walks: Walks of a fractal, stepped together; a power of two in [128, 4096].
        burn_in: Steps of each walk before its points count; even.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> GradedIfsFormula(num_categories=10, fractals=(1, 5)).target
        'multi_hot'
    """

    num_categories: int = 1000
    min_maps: int = 2
    max_maps: int = 4
    category_seed: int = 0
    fractals: tuple[int, int] = (1, 1)
    min_size: float = 0.15
    max_size: float = 0.6
    jitter: Jitter = "one_map"
    window: Window = "random"
    background: Background = "diamond_square"
    blur: float = 0.0
    num_points: int = 100_000
    num_walks: int = 256
    burn_in: int = 16

    module: ClassVar[str] = "graded_ifs"
    published_size: ClassVar[int] = 224
    channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        for name, options in _CHOICES.items():
            choices = get_args(options)
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        least, most = self.fractals
        rules = [
            ("num_categories", 1 <= self.num_categories <= 2**20, "in [1, 2**20]"),
            ("min_maps", 2 <= self.min_maps <= self.max_maps, "at least 2 and at most max_maps"),
            ("max_maps", self.max_maps <= MAX_MAPS, f"at most {MAX_MAPS}"),
            ("category_seed", 0 <= self.category_seed < 2**64, "in [0, 2**64)"),
            ("fractals", 1 <= least <= most <= MAX_FRACTALS, f"least, most in [1, {MAX_FRACTALS}]"),
            ("min_size", 0 < self.min_size <= self.max_size, "above 0 and at most max_size"),
            ("max_size", self.max_size <= 1, "at most 1"),
            ("blur", 0 <= self.blur <= 1, "in [0, 1]"),
            # counts of a patch stay exact in float32
            ("num_points", 1 <= self.num_points <= 2**20, "in [1, 2**20]"),
            (
                "num_walks",
                self.num_walks in (128, 256, 512, 1024, 2048, 4096),
                "a power of two in [128, 4096]",
            ),
            ("burn_in", self.burn_in >= 0 and self.burn_in % 2 == 0, "even and not negative"),
        ]
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}")

    @property
    def num_classes(self) -> int:
        """Categories."""
        return self.num_categories

    @property
    def target(self) -> Target:
        """A class, or which classes are there where an image may hold several."""
        return "class" if self.fractals == (1, 1) else "multi_hot"

    @property
    def num_steps(self) -> int:
        """Steps of each walk after the burn-in."""
        return -(-self.num_points // self.num_walks)

    @cached_property
    def categories(self) -> tuple[Float64, Int64]:
        """The maps of each category, the last repeated, [K, max_maps, 6]; and how many, [K]."""
        return _categories(self.category_seed, self.num_categories, self.min_maps, self.max_maps)

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> GradedInstance:
        """Categories, maps, places, colours and keys of each sample."""
        size = view.image_size
        least, most = self.fractals
        draws = np.arange(most)[:, None] * _FRACTAL_DRAWS + np.arange(_FIXED_DRAWS)
        words = philox(seed, indices[:, None, None], draws, Purpose.INSTANCE)  # [4, N, F, 4]
        place, window, look, turn = np.moveaxis(words, 3, 0)
        num_fractals = least + below(turn[1, :, 0], most - least + 1)
        category = below(place[0], self.num_categories)
        label = balanced_labels(indices, seed, self.num_categories)
        category[:, 0] = label
        category[np.arange(most) >= num_fractals[:, None]] = -1
        maps, num_maps = self._systems(category, seed, indices)
        maps = _turned(maps, below(turn[0], 8))
        noise = philox(seed, indices, np.arange(3)[:, None], Purpose.NOISE)  # [4, 3, N]
        sides, corner = self._places(place, size)
        return GradedInstance(
            index=indices,
            label=label,
            category=category,
            num_classes=self.num_categories,
            num_maps=num_maps.astype(np.int32),
            maps=maps.astype(np.float32) + np.float32(0),
            thresholds=_thresholds(maps, num_maps),
            start=_fixed_point(maps[:, :, 0]),
            window=self._windows(window, sides),
            patch=(1 + below(look[3], 511)).astype(np.int32),
            color=_colors(look),
            size=np.where(category < 0, 0, sides).astype(np.int32),
            corner=corner.astype(np.int32),
            noise_key=np.ascontiguousarray(noise[:2, 0].T),
            amplitude=diamond_square.amplitudes(noise[2, 0], size),
            noise_color=diamond_square.colors(np.concatenate([noise[:, 1], noise[:2, 2]])),
            blur=blur_weights(noise[2:, 2], self.blur),
            seed=seed,
            image_size=size,
            num_walks=self.num_walks,
            num_steps=self.num_steps,
            burn_in=self.burn_in,
            background=self.background,
        )

    def _systems(
        self, category: Int64, seed: int, indices: NDArray[np.uint64]
    ) -> tuple[Float64, Int64]:
        """Jittered maps [N, F, 8, 6], the last repeated, and how many, [N, F]."""
        maps, counts = self.categories
        shape = category.shape
        flat = np.maximum(category, 0).ravel()
        first = np.tile(np.arange(shape[1]) * _FRACTAL_DRAWS + _FIXED_DRAWS, shape[0])
        varied = jittered(
            maps[flat], counts[flat], self.jitter, seed, np.repeat(indices, shape[1]), first
        )
        rows = np.minimum(np.arange(MAX_MAPS), counts[flat][:, None] - 1)
        padded = np.take_along_axis(varied, rows[:, :, None], 1)
        return padded.reshape(*shape, MAX_MAPS, 6), counts[flat].reshape(shape)

    def _places(self, words: UInt32, size: int) -> tuple[Int64, Int64]:
        """Sides of the fractals [N, F] and their top left corners [N, F, 2], in pixels."""
        if self.target == "class":
            sides = np.full(words.shape[1:], size)
            return sides, np.zeros((*sides.shape, 2), np.int64)
        share = uniform(words[1], self.min_size, self.max_size)
        sides = np.maximum((share * size).astype(np.int64), 3)
        # up to half of it may lie outside
        corner = below(words[2:], size) - sides // 2
        return sides, np.moveaxis(corner, 0, 2)

    def _windows(self, words: UInt32, sides: Int64) -> NDArray[np.float32]:
        """Left and top as shares of the fractal's extent, and pixels of an extent: [N, F, 4]."""
        shift, scale = np.zeros((2, *sides.shape)), np.ones((2, *sides.shape))
        if self.target == "class" and self.window == "random":
            shift, scale = uniform(words[:2], -0.2, 0.2), uniform(words[2:], 0.5, 2)
        corner = 0.5 + shift - scale / 2
        return np.moveaxis(np.concatenate([corner, (sides - 1) / scale]), 0, 2).astype(np.float32)

    def draw_numpy(self, instance: GradedInstance, images: NDArray[np.uint8]) -> None:
        """Draw one sample after another into images [N, 3, H, W]."""
        for sample, image in enumerate(images):
            image[:] = draw_image(instance, sample)


@lru_cache(maxsize=8)
def _categories(seed: int, count: int, min_maps: int, max_maps: int) -> tuple[Float64, Int64]:
    words = philox(seed, np.arange(count), 0, Purpose.INSTANCE)
    num_maps = min_maps + below(words[0], max_maps - min_maps + 1)
    factors = uniform(words[1], 0, 0.5) + (5 + num_maps) / 2
    maps = np.empty((count, max_maps, 6))
    for number, (own, factor) in enumerate(zip(num_maps.tolist(), factors.tolist(), strict=True)):
        system = sample_system(own, factor, seed, number)
        maps[number] = system[np.minimum(np.arange(max_maps), own - 1)]
    return maps, num_maps


def _turned(maps: Float64, turn: Int64) -> Float64:
    """Maps of the plane transposed (4), then mirrored in x (2) and y (1): exact."""
    swap = (turn & 4 > 0)[:, :, None]
    sign_x = np.where(turn & 2, -1.0, 1.0)[:, :, None]
    sign_y = np.where(turn & 1, -1.0, 1.0)[:, :, None]
    a, b, c, d, e, f = np.moveaxis(maps, 3, 0)
    a, b, c, d = (np.where(swap, *pair) for pair in ((d, a), (c, b), (b, c), (a, d)))
    e, f = np.where(swap, f, e), np.where(swap, e, f)
    both = sign_x * sign_y
    return np.stack([a, both * b, both * c, d, sign_x * e, sign_y * f], 3)


def _thresholds(maps: Float64, num_maps: Int64) -> UInt32:  # [N, F, 7]
    """Maps are chosen in proportion to their |determinant|, after the jitter."""
    a, b, c, d = np.moveaxis(maps[..., :4], 3, 0)
    areas = np.where(np.arange(MAX_MAPS) < num_maps[:, :, None], np.abs(a * d - b * c), 0)
    inside = np.arange(MAX_MAPS - 1) < num_maps[:, :, None] - 1
    return np.where(inside, thresholds(areas), np.uint32(2**32 - 1))


def _fixed_point(first: Float64) -> NDArray[np.float32]:  # [N, F, 6] -> [N, F, 2]
    """Where the first map leaves a point: on the attractor, so that walks have no way to go."""
    a, b, c, d, e, f = np.moveaxis(first, 2, 0)
    area = (1 - a) * (1 - d) - b * c
    with np.errstate(all="ignore"):
        point = np.stack([((1 - d) * e + b * f) / area, ((1 - a) * f + c * e) / area], 2)
    return point.astype(np.float32) + np.float32(0)


def _colors(words: UInt32) -> NDArray[np.int32]:  # [4, N, F] -> [N, F, 3]
    """Hue of density 0, saturation in [0.3, 1) and value in [0.5, 1), all as bytes."""
    hue, saturation, value = below(words[0], 255), uniform(words[1], 76.5, 255), words[2]
    columns = [hue, saturation, uniform(value, 127.5, 255)]
    return np.stack([column.astype(np.int32) for column in columns], 2)
