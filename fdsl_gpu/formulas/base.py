"""What a formula is: who sample i is (`instance`), and what it looks like (`draw_numpy`).

A formula may also bring faster drawings of the same pixels; `fdsl_gpu.backends` finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.view import View

__all__ = ["Formula", "Instance", "PlainInstance", "Target", "View"]

Target = Literal["class", "multi_hot", "mask"]


class Instance(Protocol):
    """All that a drawing needs to know of N samples: arrays of length N and plain settings.

    With multi-hot targets it also has `multi_hot`, float32 [N, K].
    """

    @property
    def index(self) -> NDArray[np.uint64]:
        """Sample indices, shape [N]; those of the validation split start at 2**63."""

    @property
    def label(self) -> NDArray[np.int64]:
        """Class labels, shape [N]."""

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""

    def describe(self) -> dict[str, NDArray[Any]]:
        """What was drawn, in the words of the paper: one array of length N a name."""


class Formula(Protocol):
    """One way to draw labelled images from integers; frozen, its settings never change."""

    @property
    def num_classes(self) -> int:
        """K: labels are in [0, K)."""

    @property
    def target(self) -> Target:
        """What a sample's target is: a label, a multi-hot vector [K], or a mask [H, W]."""

    @property
    def channels(self) -> int:
        """1 for gray drawings, which may be repeated into 3 channels; 3 where there is colour."""

    # optional: published_size, the side of the published images in pixels, where it is not 362

    def instance(self, indices: NDArray[np.uint64], seed: int, view: View) -> Any:
        """The samples with these indices: labels, shapes, placement and keys, but no pixels.

        A formula with `draws_views = True` draws through any view; others only at a size. One with
        `check_view(view)` raises a ValueError there for views that ask too much of it.
        """

    def draw_numpy(self, instance: Any, images: NDArray[np.uint8]) -> None:
        """Draw into images [N, C, H, W]: the definition that every other drawing equals.

        With mask targets, a drawing has a third argument: masks uint8 [N, H, W].
        """


@dataclass(frozen=True, eq=False)
class PlainInstance:
    """An instance for formulas that need no more: what is drawn, by name.

    Args:
        index: Sample indices, [N].
        label: Class labels, [N].
        image_size: Side of the images in pixels.
        values: Arrays of length N that the drawing reads and `describe` shows.
    """

    index: NDArray[np.uint64]
    label: NDArray[np.int64]
    image_size: int
    values: dict[str, NDArray[Any]]

    def describe(self) -> dict[str, NDArray[Any]]:
        """The label, and every value by its name."""
        return {"label": self.label, **self.values}
