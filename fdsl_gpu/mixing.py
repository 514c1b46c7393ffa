"""Mixup and CutMix of the samples 2j and 2j + 1, whatever batch they come in."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["Mixing", "check_pairs", "draw_mixing", "mix_images", "mix_targets"]

Float64 = NDArray[np.float64]
UInt64 = NDArray[np.uint64]
Mixing = tuple[Float64, NDArray[np.int64]]
"""Share that each sample keeps of itself, [P], and the box that its partner fills: top, bottom,
left and right, [P, 4], all 0 for Mixup; one row a pair."""

MIX_DRAW: Final = 80  # and 81: Philox draws of Purpose.AUGMENTATION at the even index of a pair
QUANTILES: Final = 4096


def check_pairs(indices: UInt64) -> None:
    """Raise a ValueError unless the samples of a batch are the pairs 2j and 2j + 1, in order."""
    even = indices[0::2]
    if len(indices) % 2 or (even % 2).any() or (indices[1::2] != even + np.uint64(1)).any():
        shown = ", ".join(map(str, indices[:4].tolist() + ["..."] * (len(indices) > 4)))
        raise ValueError(
            "Mixup and CutMix pair the samples 2j and 2j + 1: a batch has to start at an even "
            f"index and hold whole pairs, got {len(indices)} samples [{shown}]; use an even "
            "batch_size and num_samples"
        )


def draw_mixing(
    indices: UInt64,
    seed: int,
    *,
    mixup_alpha: float,
    cutmix_alpha: float,
    prob: float,
    switch_prob: float,
    image_size: tuple[int, int],
) -> Mixing:
    """How the pairs of a batch are mixed: as timm's Mixup mixes them, with parameters a pair.

    Args:
        indices: Sample indices, [2P]; the pairs 2j, 2j + 1.
        seed: Seed of everything random.
        mixup_alpha: Of the Beta(alpha, alpha) distribution of Mixup's share; 0 for no Mixup.
        cutmix_alpha: The same for CutMix.
        prob: Probability that a pair is mixed.
        switch_prob: Probability of CutMix where both are on.
        image_size: Height and width of the images.

    Source:
        Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.
    """
    draws = np.array([[MIX_DRAW], [MIX_DRAW + 1]])
    first, second = np.moveaxis(philox(seed, indices[0::2], draws, Purpose.AUGMENTATION), 1, 0)
    height, width = image_size
    mixed = uniform(first[0]) < prob
    switch = float(not mixup_alpha) if not (mixup_alpha and cutmix_alpha) else switch_prob
    cuts = mixed & (uniform(first[1]) < switch)
    kept = np.ones(len(mixed))
    for alpha, chosen in ((mixup_alpha, mixed & ~cuts), (cutmix_alpha, cuts)):
        if chosen.any():
            kept[chosen] = _beta(alpha, uniform(first[2, chosen]))
    # the box has the share 1 - kept of the area, less what lies outside the image
    side = np.sqrt(1 - kept)
    boxes = np.zeros((len(kept), 4), np.int64)
    for axis, length in enumerate((height, width)):
        cut = np.trunc(length * side).astype(np.int64)
        centre = below(second[axis], length)
        boxes[:, 2 * axis] = np.maximum(centre - cut // 2, 0)
        boxes[:, 2 * axis + 1] = np.minimum(centre + (cut + 1) // 2, length)
    boxes[~cuts] = 0
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    return np.where(cuts, 1 - area / (height * width), kept), boxes


def mix_images(images: Tensor, mixing: Mixing) -> Tensor:
    """Each image [2P, C, H, W] mixed with its partner's."""
    kept, boxes = mixing
    device, (height, width) = images.device, images.shape[-2:]
    is_cut = torch.from_numpy(boxes.any(1)).to(device).view(-1, 1, 1, 1, 1)
    top, bottom, left, right = torch.from_numpy(boxes).to(device).T.view(4, -1, 1, 1, 1, 1)
    y = torch.arange(height, device=device).view(-1, 1)
    x = torch.arange(width, device=device)
    outside = (y < top) | (y >= bottom) | (x < left) | (x >= right)
    share = torch.from_numpy(kept.astype(np.float32)).to(device).view(-1, 1, 1, 1, 1)
    weight = torch.where(is_cut, outside.float(), share).to(images.dtype)
    pairs = images.reshape(-1, 2, *images.shape[1:])
    return torch.lerp(pairs.flip(1), pairs, weight).flatten(0, 1)


def mix_targets(target: Tensor, mixing: Mixing, num_classes: int, smoothing: float) -> Tensor:
    """Labels [2P] or multi-hot vectors [2P, K] as mixed, smoothed vectors [2P, K]."""
    if target.ndim == 1:
        vectors = one_hot(target, num_classes) * (1 - smoothing) + smoothing / num_classes
    else:
        vectors = target * (1 - smoothing) + smoothing / 2
    kept = torch.from_numpy(mixing[0].astype(np.float32)).to(target.device).view(-1, 1, 1)
    pairs = vectors.reshape(-1, 2, vectors.shape[1])
    return torch.lerp(pairs.flip(1), pairs, kept.to(pairs.dtype)).flatten(0, 1)


def _beta(alpha: float, positions: Float64) -> Float64:
    """Quantiles of Beta(alpha, alpha) at positions in [0, 1), from a table of the lower half."""
    if alpha == 1:
        return positions
    shares, values = _beta_table(alpha)
    half = np.interp(np.minimum(positions, 1 - positions), shares, values)
    return np.where(positions < 0.5, half, 1 - half)


@lru_cache(maxsize=8)
def _beta_table(alpha: float) -> tuple[Float64, Float64]:
    """Cumulative shares and values up to 1/2.

    With x = s**(1 / p) the density x**(alpha - 1) (1 - x)**(alpha - 1) dx is, but for a constant,
    x**(alpha - p) (1 - x)**(alpha - 1) ds. It is bounded for p = alpha below 1, and for p = 1
    above; trapezoids of it add up.
    """
    p = min(alpha, 1.0)
    values = np.linspace(0, 0.5**p, QUANTILES + 1) ** (1 / p)
    density = values ** (alpha - p) * (1 - values) ** (alpha - 1)
    shares = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return shares * (0.5 / shares[-1]), values
