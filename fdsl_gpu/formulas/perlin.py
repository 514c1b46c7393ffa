"""Perlin noise: categories are pairs of frequencies, instances fresh gradients and phases.

A field: every pixel is a function of its place, and no point is emitted. On a lattice of cells,
each corner has a unit gradient; a pixel blends the four ramps of its cell's corners. The blend is
taken along the columns first, so that a row of pixels needs two numbers a column of corners.

Source: Inoue, Yamagata and Kataoka, Initialization Using Perlin Noise for Training Networks with a
Limited Amount of Data, ICPR 2020, section III; Perlin, Improving Noise, SIGGRAPH 2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Target
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.formulas.view import View
from fdsl_gpu.rng import Purpose, mix, philox

__all__ = ["PerlinFormula", "PerlinInstance", "frequencies", "gradients"]

Float32 = NDArray[np.float32]
UInt32 = NDArray[np.uint32]

NUM_GRADIENTS: Final = 16
MAX_OCTAVES: Final = 8
CORNER_MULTIPLIER: Final = 0x9E3779B1
"""A corner's number is column + row * this, modulo 2**32: an odd constant spreads the rows."""
GRAY_MIDDLE: Final = np.float32(128)
GRAY_SCALE: Final = np.float32(180)
"""Gray levels a unit of noise: an octave stays within +-0.7071, which is +-127 of the middle."""


@lru_cache(maxsize=1)
def gradients() -> tuple[Float32, Float32]:
    """Sixteen unit vectors at equal angles, x and y; of square roots, the same everywhere."""
    small, large = np.sqrt(2 - np.sqrt(2.0)) / 2, np.sqrt(2 + np.sqrt(2.0)) / 2
    quarter = [0.0, small, np.sqrt(0.5), large]
    sine = np.array([*quarter, 1.0, *quarter[:0:-1]] * 2)
    sine[8:] *= -1
    return np.roll(sine, -4).astype(np.float32), sine.astype(np.float32)


def frequencies(low: float, high: float, count: int) -> NDArray[np.float64]:
    """Cells a side of each frequency: a geometric sequence, in steps of 2**-10.

    Example:
        >>> frequencies(2, 32, 5).tolist()
        [2.0, 4.0, 8.0, 16.0, 32.0]
    """
    steps = [low * (high / low) ** (k / max(count - 1, 1)) for k in range(count)]
    # coarse steps: the last bit of a power may differ between C libraries
    return np.array([round(step * 1024) / 1024 for step in steps])


@dataclass(frozen=True, eq=False)
class PerlinInstance:
    """N samples of Perlin noise, ready to be drawn."""

    index: NDArray[np.uint64]  # [N]
    label: NDArray[np.int64]  # [N]
    frequency: NDArray[np.float64]  # [N, 2] cells a side, x and y
    step: Float32  # [N, 2] cells a pixel, x and y, of the first octave
    phase: Float32  # [N, 2] cells, in [0, 1)
    key: UInt32  # [N, 2] what the gradients are hashed with
    image_size: int
    num_octaves: int
    persistence: float

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, frequencies and phases of each sample."""
        return {"label": self.label, "frequency": self.frequency, "phase": self.phase}


@dataclass(frozen=True)
class PerlinFormula:
    """Perlin noise by pairs of frequencies.

    Args:
        num_frequencies: Frequencies of an axis; categories are pairs of them.
        num_categories: The first so many pairs; None for all.
        min_frequency: Cells a side of the coarsest frequency, at least 1.
        max_frequency: Cells a side of the finest.
        num_octaves: Octaves added up, each of twice the frequency of the one before, in [1, 8].
        persistence: Amplitude of an octave over that of the one before, in (0, 1].

    Raises:
        ValueError: A setting is out of range.
    """

    num_frequencies: int = 10
    num_categories: int | None = None
    min_frequency: float = 2.0
    max_frequency: float = 32.0
    num_octaves: int = 1
    persistence: float = 0.5

    target: ClassVar[Target] = "class"
    channels: ClassVar[int] = 1
    module: ClassVar[str] = "perlin"

    def __post_init__(self) -> None:
        if not 1 <= self.num_frequencies <= 256:
            raise ValueError(f"num_frequencies must be in [1, 256], got {self.num_frequencies}")
        pairs = self.num_frequencies**2
        if self.num_categories is not None and not 1 <= self.num_categories <= pairs:
            raise ValueError(
                f"num_categories must be in [1, {pairs}] or left out, got {self.num_categories}"
            )
        if not 1 <= self.min_frequency <= self.max_frequency <= 1024:
            raise ValueError(
                "frequencies must be 1 <= min_frequency <= max_frequency <= 1024, got "
                f"{self.min_frequency} and {self.max_frequency}"
            )
        if not 1 <= self.num_octaves <= MAX_OCTAVES:
            raise ValueError(f"num_octaves must be in [1, {MAX_OCTAVES}], got {self.num_octaves}")
        if not 0 < self.persistence <= 1:
            raise ValueError(f"persistence must be in (0, 1], got {self.persistence}")

    @property
    def num_classes(self) -> int:
        """Pairs of frequencies that are drawn."""
        return self.num_categories or self.num_frequencies**2

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> PerlinInstance:
        """Label, frequencies, phases and gradient keys of each sample."""
        label = balanced_labels(indices, seed, self.num_classes)
        words = philox(seed, indices, 0, Purpose.NOISE)
        cells = frequencies(self.min_frequency, self.max_frequency, self.num_frequencies)
        frequency = cells[np.stack(np.divmod(label, self.num_frequencies), 1)]
        return PerlinInstance(
            index=indices,
            label=label,
            frequency=frequency,
            step=(frequency / view.image_size).astype(np.float32),
            # 24 bits, which a float32 holds
            phase=((words[:2] >> np.uint32(8)) * np.float32(2.0**-24)).T.astype(np.float32),
            key=np.ascontiguousarray(words[2:].T),
            image_size=view.image_size,
            num_octaves=self.num_octaves,
            persistence=self.persistence,
        )

    def draw_numpy(self, instance: PerlinInstance, images: NDArray[np.uint8]) -> None:
        """Draw one sample after another into images [N, C, H, W]."""
        for sample, image in enumerate(images):
            image[:] = gray(noise(instance, sample))


def amplitudes(num_octaves: int, persistence: float) -> Float32:
    """Amplitude of each octave; they sum to 1, so that the gray levels stay in range."""
    powers = np.cumprod([1.0, *[persistence] * (num_octaves - 1)])
    return (powers / powers.sum()).astype(np.float32)


def noise(instance: PerlinInstance, sample: int) -> Float32:  # [S, S]
    """The noise of each pixel: its octaves added up, the coarsest first."""
    size = instance.image_size
    total = np.zeros((size, size), np.float32)
    for octave, amplitude in enumerate(amplitudes(instance.num_octaves, instance.persistence)):
        total = total + amplitude * _octave(instance, sample, octave)
    return total


def _octave(instance: PerlinInstance, sample: int, octave: int) -> Float32:  # [S, S]
    """Blend the ramps of the four corners of each pixel's cell; all in float32, in this order."""
    times, half, one = np.float32(2**octave), np.float32(0.5), np.float32(1)
    pixels = np.arange(instance.image_size, dtype=np.float32)
    x, y = (
        ((pixels + half) * instance.step[sample, axis] + instance.phase[sample, axis]) * times
        for axis in (0, 1)
    )
    column, row = np.floor(x), np.floor(y)
    tx, ty = x - column, (y - row)[:, None]
    fade_x, fade_y = fade(tx), fade(ty)
    left, top = column.astype(np.int64), row.astype(np.int64)[:, None]
    ramps = []
    for right in (0, 1):
        upper = _gradient(instance, sample, octave, left + right, top)
        lower = _gradient(instance, sample, octave, left + right, top + 1)
        # a column of corners, blended between its upper and its lower one: a slope along x and a
        # height
        slope = upper[0] + fade_y * (lower[0] - upper[0])
        height = upper[1] * ty + fade_y * (lower[1] * (ty - one) - upper[1] * ty)
        ramps.append(slope * (tx - np.float32(right)) + height)
    return ramps[0] + fade_x * (ramps[1] - ramps[0])


def fade(t: Float32) -> Float32:
    """Perlin's blend 6t^5 - 15t^4 + 10t^3: flat to the second derivative at both ends."""
    return t * t * t * (t * (t * np.float32(6) - np.float32(15)) + np.float32(10))


def _gradient(
    instance: PerlinInstance, sample: int, octave: int, column: Any, row: Any
) -> tuple[Float32, Float32]:
    """Unit gradient at each corner, x and y, by the top bits of its hash."""
    corner = (column + row * CORNER_MULTIPLIER).astype(np.uint32)
    key0, key1 = instance.key[sample]
    number = mix(corner, key0, key1 + np.uint32(octave)) >> np.uint32(28)
    x, y = gradients()
    return x[number], y[number]


def gray(values: Float32) -> NDArray[np.uint8]:
    """Gray levels of noise values, truncated and held to [0, 255]."""
    levels = GRAY_MIDDLE + GRAY_SCALE * values
    return np.minimum(np.maximum(levels, np.float32(0)), np.float32(255)).astype(np.uint8)
