"""Views: which part of a formula's canvas becomes the image, how it is turned, and at which size.

A view acts on the finished canvas as an augmentation of stored images would: first the canvas is
turned (the drawing's own flips, then quarter turns and mirrors), then a window is cut out of it.
But nothing is resampled. A crop of canvas pixels is a cut of the drawing; any other window is an
affine map, which a formula folds into its own maps in float64 and draws sharp at any scale.

Everything here is + - * / and square roots in float64, which IEEE 754 rounds alike on every
machine. Sines and powers come from tables made of square roots: the library functions differ in
the last bit from one CPU or libm to the next, and an image must not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["MARGIN", "TURN_STEPS", "Placement", "View", "circle", "ratios"]

Float64 = NDArray[np.float64]
Crop = Literal["none", "center", "random", "resized"]

MAX_SIZE: Final = 8192
MARGIN: Final = 3
"""Rows and columns drawn beyond a window's edge, since patches from there reach into it."""
# Philox draws of Purpose.AUGMENTATION: 0 and 1 here, then one a try of a resized window; below 16
PLACE_DRAW: Final = 0
TURN_DRAW: Final = 1
SIZE_DRAW: Final = 2
NUM_TRIES: Final = 10
TURN_STEPS: Final = 2**14
"""Directions that a table of turns has."""
RATIO_STEPS: Final = 2**12
# orientation codes of 0, 1, 2 and 3 quarter turns counterclockwise: 4 transposes, then 1 flips rows
# and 2 flips columns
_QUARTER_TURNS: Final = np.array([0, 5, 3, 6])


@dataclass(frozen=True, eq=False)
class Placement:
    """How N samples are drawn on a canvas and their images cut out of it.

    Args:
        canvas_size: Side of the canvas that is drawn.
        orientation: [N] from canvas to image: 4 transposes, then 1 flips rows and 2 flips columns.
        corner: [N, 2] top row and left column of the image in the oriented canvas.
        affine: [N, 6] a, b, c, d, e, f of what becomes of a point of the view's canvas, in its
            pixels, on the canvas that is drawn; None where the two are the same.
        described: What was drawn at random, for `describe`: view_turn [N], an orientation code;
            view_window [N, 4], left, top, width and height in pixels of the turned canvas;
            view_degrees [N], counterclockwise; view_corner [N, 2], top and left.
    """

    canvas_size: int
    orientation: NDArray[np.int32]
    corner: NDArray[np.int32]
    affine: Float64 | None
    described: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class View:
    """What of a canvas becomes the image. With `image_size` alone: all of it, drawn at that size.

    The canvas is turned first: as the drawing itself has it, then by `rot90`, `hflip` and `vflip`.
    A window is cut out of the turned canvas. What is random is a function of (seed, index) alone.

    Args:
        image_size: Side of the square image in pixels, in [3, 8192].
        canvas_size: Side of the canvas in pixels: the unit of windows; by default image_size.
            362 and "random" with 224 is the published recipe.
        crop: "none" shows the whole canvas; "center" and "random" cut image_size pixels of it;
            "resized" draws a random window of it at image_size, as torchvision's RandomResizedCrop
            would cut and resize it.
        scale: Range of a resized window's share of the canvas's area. Above 1 it zooms out.
        ratio: Range of a resized window's width over height, uniform in the logarithm.
        rotation: Range in degrees by which what a window shows is turned about its centre,
            counterclockwise. What lies outside the canvas is drawn where it comes into view.
        hflip: Probability of a left-right mirror image, on top of the drawing's own turns.
        vflip: Probability of a top-bottom mirror image.
        rot90: Whether the canvas is turned by a random number of quarter turns.
        supersample: Draw at so many times the size and average: thin drawings stay visible at
            small sizes, and learning from them gets easier.

    Raises:
        ValueError: A setting is out of range, or contradicts another.

    Source:
        The windows: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, section 6, as
        torchvision's RandomResizedCrop has it.

    Example:
        >>> View(224, canvas_size=362, crop="random").is_plain
        False
    """

    image_size: int
    canvas_size: int | None = None
    crop: Crop = "none"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    rotation: tuple[float, float] = (0.0, 0.0)
    hflip: float = 0.0
    vflip: float = 0.0
    rot90: bool = False
    supersample: int = 1

    def __post_init__(self) -> None:
        for name, size in (("image_size", self.image_size), ("canvas_size", self.canvas)):
            if not 3 <= size <= MAX_SIZE:
                raise ValueError(
                    f"{name} must be in [3, {MAX_SIZE}] (3: one 3x3 patch), got {size}"
                )
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be one of {get_args(Crop)}, got {self.crop!r}")
        if self.crop in ("center", "random") and self.canvas < self.image_size:
            raise ValueError(
                f"crop={self.crop!r} cuts image_size={self.image_size} pixels out of the canvas, "
                f"which has {self.canvas}; pass a larger canvas_size"
            )
        if self.crop == "none" and self.canvas != self.image_size:
            raise ValueError(
                f"canvas_size={self.canvas} needs a crop ('center', 'random' or 'resized'); "
                f"without one the canvas is the image, and image_size is {self.image_size}"
            )
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 100:
                raise ValueError(f"{name} must be 0 < low <= high <= 100, got {low}, {high}")
        low, high = self.rotation
        if not -360 <= low <= high <= 360:
            raise ValueError(f"rotation must be -360 <= low <= high <= 360, got {low}, {high}")
        if not 1 <= self.supersample <= MAX_SIZE // self.canvas:
            raise ValueError(
                f"supersample must be in [1, {MAX_SIZE // self.canvas}] for a canvas of "
                f"{self.canvas} pixels, got {self.supersample}"
            )
        for name in ("hflip", "vflip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")

    @classmethod
    def of(cls, image_size: int | View) -> View:
        """A view as it is, or the plain view of this size."""
        return image_size if isinstance(image_size, View) else cls(image_size)

    @property
    def drawn(self) -> View:
        """The view that is drawn, before it is averaged down."""
        times = self.supersample
        if times == 1:
            return self
        canvas_size = self.canvas_size and self.canvas_size * times
        return replace(
            self, image_size=self.image_size * times, canvas_size=canvas_size, supersample=1
        )

    @property
    def canvas(self) -> int:
        """Side of the canvas, in whose pixels a formula places its drawing."""
        return self.image_size if self.canvas_size is None else self.canvas_size

    @property
    def is_plain(self) -> bool:
        """Whether the image is the whole canvas, turned by the drawing's own turns alone."""
        return self.crop == "none" and not (self.turns or any(self.rotation))

    @property
    def turns(self) -> bool:
        """Whether the canvas may be turned beyond the drawing's own turns."""
        return bool(self.hflip or self.vflip or self.rot90)

    def place(
        self,
        indices: NDArray[np.uint64],  # [N]
        seed: int,
        orientation: NDArray[np.int32],  # [N]
    ) -> Placement:
        """How the samples with these indices are drawn.

        Args:
            indices: Sample indices.
            seed: Seed of everything random.
            orientation: The drawing's own turns, as in `Placement`.
        """
        count, canvas = len(indices), self.canvas
        if self.is_plain:
            return Placement(canvas, orientation, np.zeros((count, 2), np.int32), None, {})
        words = philox(seed, indices, np.array([[PLACE_DRAW], [TURN_DRAW]]), Purpose.AUGMENTATION)
        described: dict[str, NDArray[Any]] = {}
        if self.turns:
            turn = self._turn(words[:, 1])
            orientation = then(orientation, turn)
            described["view_turn"] = turn
        if self.crop == "resized" or any(self.rotation):
            width, height = self._window_size(indices, seed)
            across, down = (0.5, 0.5) if self.crop == "center" else uniform(words[:2, 0])
            left, top = across * (canvas - width), down * (canvas - height)
            window = np.stack([left, top, width, height], 1)
            cos, sin, degrees = self._rotation(words[2, 0])
            affine = self._affine(window, cos, sin, orientation)
            described["view_window"], described["view_degrees"] = window, degrees
            # the margin lies above and to the left of the window, unless the canvas is flipped
            sides = np.stack([orientation & 1, orientation >> 1 & 1], 1)
            corner = MARGIN * (1 - sides)
            return Placement(
                self.image_size + MARGIN, orientation, corner.astype(np.int32), affine, described
            )
        room = canvas - self.image_size
        corner = np.full((count, 2), room // 2)
        if self.crop == "random":
            corner[:, 0], corner[:, 1] = below(words[1, 0], room + 1), below(words[0, 0], room + 1)
        if self.crop != "none":
            described["view_corner"] = corner
        return Placement(canvas, orientation, corner.astype(np.int32), None, described)

    def _turn(self, words: NDArray[np.uint32]) -> NDArray[np.int32]:  # [4, N] -> [N]
        """Orientation codes of the quarter turns and mirrors of each sample."""
        turn = _QUARTER_TURNS[below(words[2], 4)] if self.rot90 else np.zeros(words.shape[1:], int)
        mirrored = 2 * (uniform(words[0]) < self.hflip) + (uniform(words[1]) < self.vflip)
        return (turn ^ mirrored).astype(np.int32)

    def _window_size(
        self, indices: NDArray[np.uint64], seed: int
    ) -> tuple[Float64, Float64]:  # [N], [N] canvas pixels
        """Width and height: drawn again, up to ten times, while one is longer than the canvas."""
        canvas = float(self.canvas)
        if self.crop != "resized":
            side = canvas if self.crop == "none" else float(self.image_size)
            return np.full(len(indices), side), np.full(len(indices), side)
        # if no try fits, the longest window of the nearest ratio that does
        low, high = self.ratio
        longest = canvas * np.sqrt(max(1.0, self.scale[1]))
        width = np.full(len(indices), longest * min(1.0, high))
        height = np.full(len(indices), longest * min(1.0, 1 / low))
        missing = np.arange(len(indices))
        for number in range(NUM_TRIES):
            words = philox(seed, indices[missing], SIZE_DRAW + number, Purpose.AUGMENTATION)
            scale = uniform(words[0], *self.scale)
            ratio = ratios(low, high)[below(words[1], RATIO_STEPS)]
            w, h = canvas * np.sqrt(scale * ratio), canvas * np.sqrt(scale / ratio)
            fits = (w <= longest) & (h <= longest)
            width[missing[fits]], height[missing[fits]] = w[fits], h[fits]
            missing = missing[~fits]
            if not missing.size:
                break
        return width, height

    def _rotation(
        self, words: NDArray[np.uint32]
    ) -> tuple[Float64, Float64, Float64]:  # [N], [N], [N]
        """Cosine, sine and degrees: whole steps of 1/16,384 of a turn."""
        low, high = (round(degrees / 360 * TURN_STEPS) for degrees in self.rotation)
        steps = low + below(words, high - low + 1)
        cos, sin = circle()
        step = steps % TURN_STEPS
        return cos[step], sin[step], steps.astype(np.float64) * (360 / TURN_STEPS)

    def _affine(
        self,
        window: Float64,  # [N, 4] left, top, width, height
        cos: Float64,
        sin: Float64,
        orientation: NDArray[np.int32],
    ) -> Float64:  # [N, 6]
        """From pixels of the view's canvas to pixels of the canvas that is drawn.

        Between the turned canvas and the image this is stretch * rotation about the window's
        centre. The drawing is turned after it is drawn, so the same turn is undone here on either
        side: a turn is a signed permutation L about the centres, and L^-1 V L is taken entry by
        entry.
        """
        size, middle = self.image_size, self.canvas / 2
        left, top, width, height = window.T
        across, down = size / width, size / height
        a, b, c, d = across * cos, across * sin, -down * sin, down * cos
        x, y = middle - (left + width / 2), middle - (top + height / 2)
        e, f = a * x + b * y, c * x + d * y
        sign_x = np.where(orientation & 2, -1.0, 1.0)
        sign_y = np.where(orientation & 1, -1.0, 1.0)
        b, c, e, f = sign_x * sign_y * b, sign_x * sign_y * c, sign_x * e, sign_y * f
        swap = (orientation & 4).astype(bool)
        a, b, c, d = (np.where(swap, *pair) for pair in ((d, a), (c, b), (b, c), (a, d)))
        e, f = np.where(swap, f, e), np.where(swap, e, f)
        e += MARGIN + size / 2 - (a + b) * middle
        f += MARGIN + size / 2 - (c + d) * middle
        return np.stack([a, b, c, d, e, f], 1)


def then(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32]:
    """The orientation code of one orientation and then another.

    Example:
        >>> then(np.array([1, 1]), np.array([2, 5])).tolist()  # a transpose swaps rows and columns
        [3, 7]
    """
    swapped = (first & 4) | (first & 1) << 1 | (first >> 1 & 1)
    flips = np.where(second & 4, swapped, first)
    return (flips & 3) ^ (second & 3) | (first ^ second) & 4


@lru_cache(maxsize=1)
def circle() -> tuple[Float64, Float64]:  # [TURN_STEPS], [TURN_STEPS]
    """Cosine and sine of each step of a turn, by halving angles."""
    cos, sin = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])
    half_cos, half_sin = 0.0, 1.0
    while len(cos) < TURN_STEPS:
        half_cos, previous = np.sqrt((1 + half_cos) / 2), half_sin
        half_sin = previous / (2 * half_cos)
        cos, sin = (
            np.stack([cos, cos * half_cos - sin * half_sin], 1).ravel(),
            np.stack([sin, sin * half_cos + cos * half_sin], 1).ravel(),
        )
    return cos, sin


@lru_cache(maxsize=16)
def ratios(low: float, high: float) -> Float64:  # [RATIO_STEPS]
    """Ratios from low up to high, evenly spaced in the logarithm, by square roots."""
    ratios, factor = np.array([low]), high / low
    while len(ratios) < RATIO_STEPS:
        factor = np.sqrt(factor)
        ratios = np.stack([ratios, ratios * factor], 1).ravel()
    return ratios
