"""Training augmentation of whole batches: each sample's own, from its index, on any device.

The order is timm's: RandAugment or colour jitter on bytes, random erasing, then Mixup and CutMix.
Crops, zoom, flips and turns are not here: a `View` has them drawn.

Every parameter is a function of (seed, index), so a sample is augmented alike in any batch, on any
rank and in any run. Parameters are drawn on the host and applied to a batch at once, by plain
PyTorch; no operation waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.erasing import EraseMode, draw_rectangles, erase
from fdsl_gpu.indices import Sharding
from fdsl_gpu.mixing import check_pairs, draw_mixing, mix_images, mix_targets
from fdsl_gpu.pixel_ops import apply_ops
from fdsl_gpu.rand_augment import RandAugment, draw_color_jitter

__all__ = ["Augmentation", "Augmenter", "deit_augment"]

MAX_ALPHA: Final = 100.0


@dataclass(frozen=True)
class Augmentation:
    """A recipe; give it to a `FormulaLoader`, which knows the seed, the mean and the deviation.

    Args:
        rand_augment: RandAugment in timm's notation, as "rand-m9-mstd0.5-inc1"; None for none.
        color_jitter: Strength s of brightness, contrast and colour, whose factors are uniform in
            [1 - s, 1 + s]; 0 for none. Together with RandAugment it comes after it.
        erase_prob: Probability that a rectangle is erased.
        erase_mode: What replaces it after normalisation: normal noise a "pixel", one normal value a
            channel ("rand"), or 0 ("const").
        erase_area: Range of the rectangle's share of the image.
        erase_ratio: Range of its height over its width.
        mixup_alpha: Of Mixup's Beta distribution; 0 for no Mixup.
        cutmix_alpha: Of CutMix's; 0 for no CutMix.
        mix_prob: Probability that a pair of samples, 2j and 2j + 1, is mixed.
        switch_prob: Probability of CutMix where both are on.
        label_smoothing: Share of a mixed target that is spread over all classes. Without mixing,
            smooth in the loss.

    Raises:
        ValueError: A setting is out of range.

    Source:
        Touvron et al., Training data-efficient image transformers, ICML 2021, table 9.

    Example:
        >>> Augmentation(rand_augment="rand-m9-mstd0.5-inc1", erase_prob=0.25).mixes
        False
    """

    rand_augment: str | None = None
    color_jitter: float = 0.0
    erase_prob: float = 0.0
    erase_mode: EraseMode = "pixel"
    erase_area: tuple[float, float] = (0.02, 1 / 3)
    erase_ratio: tuple[float, float] = (0.3, 1 / 0.3)
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_prob: float = 1.0
    switch_prob: float = 0.5
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("color_jitter", "erase_prob", "mix_prob", "switch_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("mixup_alpha", "cutmix_alpha"):
            if not 0 <= getattr(self, name) <= MAX_ALPHA:
                raise ValueError(f"{name} must be in [0, {MAX_ALPHA}], got {getattr(self, name)}")
        if self.erase_mode not in get_args(EraseMode):
            raise ValueError(
                f"erase_mode must be one of {get_args(EraseMode)}, got {self.erase_mode!r}"
            )
        low, high = self.erase_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"erase_area must be 0 < low <= high <= 1, got {low}, {high}")
        low, high = self.erase_ratio
        if not 0 < low <= high:
            raise ValueError(f"erase_ratio must be 0 < low <= high, got {low}, {high}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.label_smoothing and not self.mixes:
            raise ValueError(
                f"label_smoothing={self.label_smoothing} smooths the targets that Mixup and CutMix "
                "make, and both are off; use a smoothing loss"
            )
        if self.rand_augment is not None:
            RandAugment.parse(self.rand_augment)

    @property
    def mixes(self) -> bool:
        """Whether pairs of samples are mixed."""
        return bool(self.mixup_alpha or self.cutmix_alpha) and self.mix_prob > 0

    def check_batches(self, sharding: Sharding) -> None:
        """Raise a ValueError if some batch would split a pair that is to be mixed."""
        if not self.mixes:
            return
        num_samples = sharding.num_samples or 0
        for name, count in (("batch_size", sharding.batch_size), ("num_samples", num_samples)):
            if count % 2:
                raise ValueError(
                    f"Mixup and CutMix pair samples 2j and 2j + 1: {name} must be even, got {count}"
                )
        rest = 0 if sharding.drop_last else num_samples % sharding.global_batch_size
        if rest % (2 * sharding.world_size):
            raise ValueError(
                f"Mixup and CutMix pair samples 2j and 2j + 1: {sharding.world_size} ranks cannot "
                f"share the last {rest} of {num_samples} samples in pairs; use drop_last=True"
            )


def deit_augment(**changes: Any) -> Augmentation:
    """The published recipe of DeiT, which FDSL's pre-training took over.

    RandAugment rand-m9-mstd0.5-inc1, erasing of pixels with probability 0.25, Mixup 0.8, CutMix
    1.0, label smoothing 0.1. (The recipe also names a colour jitter of 0.4, which timm leaves out
    next to RandAugment.) Its random resized crops and flips are a `View`:
    `View(224, crop="resized", hflip=0.5)`.

    Args:
        changes: Settings of `Augmentation` that differ.

    Source:
        Touvron et al., Training data-efficient image transformers, ICML 2021, table 9.

    Example:
        >>> deit_augment(erase_prob=0.5).mixup_alpha
        0.8
    """
    recipe = Augmentation(
        rand_augment="rand-m9-mstd0.5-inc1",
        erase_prob=0.25,
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        label_smoothing=0.1,
    )
    return replace(recipe, **changes)


class Augmenter:
    """An `Augmentation` at work: (images, target, indices) -> (images, target).

    Args:
        recipe: What is done.
        num_classes: Length of a mixed target.
        seed: Seed of everything random, that of the stream.
        mean: Mean of each channel that images will be normalised with, in units of 1 (white):
            geometry brings it into view, and erasing is centred on it.
        std: Standard deviation of each channel, in units of 1.
        device: Where the images are.

    Example:
        >>> augment = Augmenter(deit_augment(), 1000, seed=0, mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> labels, indices = torch.tensor([3, 7]), torch.arange(2)
        >>> images, target = augment(torch.rand(2, 3, 32, 32), labels, indices)
        >>> images.shape, target.shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2, 1000]))
    """

    def __init__(
        self,
        recipe: Augmentation,
        num_classes: int,
        *,
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.num_classes = num_classes
        self.seed = seed
        self._rand_augment = recipe.rand_augment and RandAugment.parse(recipe.rand_augment)
        self._mean = torch.tensor(mean, device=device)
        self._std = torch.tensor(std, device=device)
        self._fill = (255 * self._mean).round().clamp(0, 255).to(torch.uint8)

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] float
        target: Tensor,  # [N] int64 or [N, K] float
        indices: Tensor,  # [N] int64, on the host
    ) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: Levels in [0, 1], left as they are.
            target: Labels or multi-hot vectors.
            indices: Global sample indices; with Mixup or CutMix whole pairs 2j, 2j + 1.

        Returns:
            Images, before normalisation (noise of erased pixels may leave [0, 1]), and the target:
            mixed vectors [N, K] where samples are mixed.

        Raises:
            ValueError: A pair is split, or masks are to be mixed.
        """
        recipe, size = self.recipe, (images.shape[-2], images.shape[-1])
        numbers = indices.cpu().numpy().astype(np.uint64)
        images = self._on_bytes(images, numbers)
        if recipe.erase_prob:
            rectangles = draw_rectangles(
                numbers, self.seed, recipe.erase_prob, recipe.erase_area, recipe.erase_ratio, size
            )
            images = erase(
                images, rectangles, numbers, self.seed, recipe.erase_mode, self._mean, self._std
            )
        if recipe.mixes:
            check_pairs(numbers)
            if target.ndim == 3:
                raise ValueError("Mixup and CutMix do not mix masks; set both alphas to 0")
            mixing = draw_mixing(
                numbers,
                self.seed,
                mixup_alpha=recipe.mixup_alpha,
                cutmix_alpha=recipe.cutmix_alpha,
                prob=recipe.mix_prob,
                switch_prob=recipe.switch_prob,
                image_size=size,
            )
            images = mix_images(images, mixing)
            target = mix_targets(target, mixing, self.num_classes, recipe.label_smoothing)
        return images, target

    def _on_bytes(self, images: Tensor, numbers: NDArray[np.uint64]) -> Tensor:
        """RandAugment, then colour jitter, one layer of operations after another."""
        drawn = []
        if self._rand_augment:
            drawn.append(self._rand_augment.draw(numbers, self.seed))
        if self.recipe.color_jitter:
            drawn.append(draw_color_jitter(numbers, self.seed, self.recipe.color_jitter))
        if not drawn:
            return images
        levels = (images * 255).round().to(torch.uint8)
        for codes, arguments in drawn:
            for layer in range(codes.shape[1]):
                levels = apply_ops(levels, codes[:, layer], arguments[:, layer], self._fill)
        return levels.to(images.dtype) / 255
