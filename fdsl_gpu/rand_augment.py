"""Which operations RandAugment and colour jitter apply to a sample: drawn from its index alone."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.pixel_ops import OPS
from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["RandAugment", "draw_color_jitter"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

# Philox draws of Purpose.AUGMENTATION, two a layer; the view of a sample has those below 16
LAYER_DRAW: Final = 16
MAX_LAYERS: Final = 16
JITTER_DRAW: Final = 48
LEVELS: Final = 10.0
"""Magnitudes count in tenths of the strongest setting."""
_CHOICES: Final = OPS[1:]
_SECTION: Final = re.compile(r"(mstd|mmax|inc|m|n|p)(\d+\.?\d*|inf)")


@dataclass(frozen=True)
class RandAugment:
    """RandAugment as timm has it: of 15 operations, `num_layers` are drawn with replacement.

    Args:
        magnitude: Strength in tenths.
        magnitude_std: Standard deviation of the strength; above 100 it is uniform in
            [0, magnitude] instead.
        num_layers: Operations an image, one after another.
        prob: Probability that a drawn operation is applied.
        max_magnitude: Largest strength.
        increasing: Whether posterize, solarize and the factors of colour, contrast, brightness and
            sharpness grow stronger with the magnitude; else they run from one extreme to the other.

    Raises:
        ValueError: A setting is out of range.

    Source:
        Cubuk et al., RandAugment, NeurIPS 2020, section 3; ranges and the noise of the strength
        from timm (auto_augment.py).
    """

    magnitude: float = LEVELS
    magnitude_std: float = 0.0
    num_layers: int = 2
    prob: float = 0.5
    max_magnitude: float = LEVELS
    increasing: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.magnitude <= 100 and 0 < self.max_magnitude <= 100):
            raise ValueError(
                "magnitude and max_magnitude must be in [0, 100], got "
                f"{self.magnitude} and {self.max_magnitude}"
            )
        if not self.magnitude_std >= 0:
            raise ValueError(f"magnitude_std must not be negative, got {self.magnitude_std}")
        if not 1 <= self.num_layers <= MAX_LAYERS:
            raise ValueError(f"num_layers must be in [1, {MAX_LAYERS}], got {self.num_layers}")
        if not 0 <= self.prob <= 1:
            raise ValueError(f"prob must be in [0, 1], got {self.prob}")

    @classmethod
    def parse(cls, text: str) -> RandAugment:
        """Read timm's notation.

        Args:
            text: "rand", then sections joined by dashes: m magnitude, mstd its deviation, n layers,
                p probability, mmax largest magnitude, inc1 increasing.

        Raises:
            ValueError: A section is unknown or out of range.

        Example:
            >>> RandAugment.parse("rand-m9-mstd0.5-inc1").magnitude
            9.0
        """
        first, *sections = text.split("-")
        values = {}
        for section in sections:
            match = _SECTION.fullmatch(section)
            if match is None:
                raise ValueError(
                    f"auto_augment {text!r} has a section {section!r} that is not one of m, mstd, "
                    "mmax, n, p and inc with a number"
                )
            values[match[1]] = float(match[2])
        if first != "rand":
            raise ValueError(
                f"auto_augment must start with 'rand', as 'rand-m9-mstd0.5-inc1', got {text!r}"
            )
        return cls(
            magnitude=values.get("m", LEVELS),
            magnitude_std=values.get("mstd", 0.0),
            num_layers=int(values.get("n", 2)),
            prob=values.get("p", 0.5),
            max_magnitude=values.get("mmax", LEVELS),
            increasing=bool(values.get("inc", 0)),
        )

    def draw(self, indices: UInt64, seed: int) -> tuple[Int64, Float64]:  # [N, L], [N, L]
        """Codes and arguments of the operations on each sample, as `apply_ops` takes them."""
        draws = LAYER_DRAW + np.arange(2 * self.num_layers)
        words = philox(seed, indices[:, None], draws, Purpose.AUGMENTATION)  # [4, N, 2L]
        first, second = words[..., 0::2], words[..., 1::2]
        applied = uniform(first[1]) < self.prob
        codes = np.where(applied, 1 + below(first[0], len(_CHOICES)), 0)
        if self.magnitude_std > 100:
            magnitude = uniform(first[2], 0, self.magnitude)
        else:
            magnitude = self.magnitude + self.magnitude_std * _normal(first[2], first[3])
        level = np.clip(magnitude, 0, self.max_magnitude) / LEVELS
        sign = np.where(second[0] >> np.uint32(31), -1.0, 1.0)
        arguments = np.zeros(codes.shape)
        for code in np.unique(codes):
            chosen = codes == code
            arguments[chosen] = self._argument(OPS[code], level[chosen], sign[chosen])
        return codes, arguments

    def _argument(self, name: str, level: Float64, sign: Float64) -> Float64:
        """What an operation at this strength, 1 for ten tenths, is given."""
        if name == "rotate":
            return sign * level * 30
        if name.startswith("shear"):
            return sign * level * 0.3
        if name.startswith("translate"):
            return sign * level * 0.45
        if name == "posterize":
            bits = np.trunc(level * 4)
            bits = np.clip(4 - bits if self.increasing else bits, 0, 8)
            return 256 - 2.0 ** (8 - bits)
        if name == "solarize":
            threshold = np.minimum(256, np.trunc(level * 256))
            return 256 - threshold if self.increasing else threshold
        if name == "solarize_add":
            return np.minimum(128, np.trunc(level * 110))
        if name in ("color", "contrast", "brightness", "sharpness"):
            if self.increasing:
                return np.maximum(0.1, 1 + sign * level * 0.9)
            return level * 1.8 + 0.1
        return np.zeros(level.shape)


def draw_color_jitter(
    indices: UInt64, seed: int, strength: float
) -> tuple[Int64, Float64]:  # [N, 3], [N, 3]
    """Brightness, contrast and colour of each sample, in an order of its own.

    Args:
        indices: Sample indices, [N].
        seed: Seed of everything random.
        strength: Factors are uniform in [max(0, 1 - strength), 1 + strength].

    Returns:
        Codes and arguments, as `apply_ops` takes them.

    Source:
        torchvision's ColorJitter, without hue.
    """
    words = philox(seed, indices, JITTER_DRAW, Purpose.AUGMENTATION)
    factors = uniform(words[:3], max(0.0, 1 - strength), 1 + strength)  # [3, N]
    names = ("brightness", "contrast", "color")
    orders = np.array(list(itertools.permutations(range(3))))
    order = orders[below(words[3], len(orders))]  # [N, 3]
    codes = np.array([OPS.index(name) for name in names])[order]
    return codes, np.take_along_axis(factors.T, order, 1)


def _normal(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> Float64:
    """Normal deviates by the method of Box and Muller."""
    radius = np.sqrt(-2 * np.log(uniform(first) + 2.0**-33))
    return radius * np.cos(2 * math.pi * uniform(second))
