"""Mixtures: several formulas in one stream, their labels side by side, with exact quotas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.base import Formula, Target
from fdsl_gpu.formulas.labels import keyed_order
from fdsl_gpu.formulas.view import View
from fdsl_gpu.rng import VALIDATION_INDEX, Purpose

__all__ = ["MixtureFormula", "MixtureInstance"]


@dataclass(frozen=True, eq=False)
class MixtureInstance:
    """N samples of a mixture, each part's ready to be drawn by that part."""

    index: NDArray[np.uint64]  # [N]
    label: NDArray[np.int64]  # [N]
    image_size: int
    part: NDArray[np.int64]  # [N] which formula draws it
    part_index: NDArray[np.uint64]  # [N] which of that formula's samples it is
    places: tuple[NDArray[np.intp], ...]  # for each part, the samples [n] that are its own
    instances: tuple[Any, ...]  # for each part, the instance of those

    def describe(self) -> dict[str, NDArray[Any]]:
        """Label, part and index within the part of each sample."""
        return {"label": self.label, "part": self.part, "part_index": self.part_index}


@dataclass(frozen=True)
class MixtureFormula:
    """Blocks of quota_1 + quota_2 + ... samples, in which each part has its quota, in keyed order.

    Each part's samples are its own samples 0, 1, 2, ... in turn, so they are balanced over its
    categories as they are without the others.

    Args:
        parts: The formulas; their targets must be classes.
        quotas: Samples of each part in a block, at least 1.

    Raises:
        ValueError: There are fewer than two parts, a quota is below 1, or a target is no class.
    """

    parts: tuple[Formula, ...]
    quotas: tuple[int, ...]

    target: ClassVar[Target] = "class"

    def __post_init__(self) -> None:
        if len(self.parts) < 2 or len(self.parts) != len(self.quotas):
            raise ValueError(
                f"a mixture needs two or more parts with a quota each, got {len(self.parts)} parts "
                f"and {len(self.quotas)} quotas"
            )
        for quota in self.quotas:
            if not isinstance(quota, int) or not 1 <= quota <= 2**16:
                raise ValueError(f"quotas must be integers in [1, 65536], got {quota!r}")
        for part in self.parts:
            if part.target != "class":
                raise ValueError(
                    f"only data sets with class labels can be mixed, got target {part.target!r}"
                )

    @property
    def num_classes(self) -> int:
        """Classes of all parts; those of the second follow those of the first, and so on."""
        return sum(part.num_classes for part in self.parts)

    @property
    def channels(self) -> int:
        """3 if any part has colour."""
        return max(part.channels for part in self.parts)

    @property
    def draws_views(self) -> bool:
        """Whether all parts can be drawn through any view."""
        return all(getattr(part, "draws_views", False) for part in self.parts)

    def check_view(self, view: View) -> None:
        """Refuse what one of the parts refuses.

        Raises:
            ValueError: A part cannot be drawn through the view.
        """
        for part in self.parts:
            if hasattr(part, "check_view"):
                part.check_view(view)

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> MixtureInstance:
        """Which part and which of its samples each index is, and the parts' instances of them."""
        split = indices & np.uint64(VALIDATION_INDEX)
        size = sum(self.quotas)
        block, position = np.divmod(indices - split, np.uint64(size))
        slot = keyed_order(position, block | split, seed, Purpose.MIXTURE, size)
        firsts = np.concatenate([[0], np.cumsum(self.quotas)])
        part = np.searchsorted(firsts, slot, "right") - 1
        quota = np.array(self.quotas, np.uint64)[part]
        part_index = block * quota + (slot - firsts[part]).astype(np.uint64) | split
        label = np.empty(len(indices), np.int64)
        places, instances, first_class = [], [], 0
        for number, formula in enumerate(self.parts):
            places.append(np.flatnonzero(part == number))
            instances.append(formula.instance(part_index[places[-1]], seed, view))
            label[places[-1]] = first_class + instances[-1].label
            first_class += formula.num_classes
        return MixtureInstance(
            index=indices,
            label=label,
            image_size=instances[0].image_size,
            part=part,
            part_index=part_index,
            places=tuple(places),
            instances=tuple(instances),
        )

    def draw_numpy(self, instance: MixtureInstance, images: NDArray[np.uint8]) -> None:
        """Each part draws its own samples into images [N, C, H, W]."""
        for part, places, own in zip(self.parts, instance.places, instance.instances, strict=True):
            drawn = images[places]
            part.draw_numpy(own, drawn)
            images[places] = drawn
