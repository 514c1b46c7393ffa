"""Learning from images of several categories: the loss and the score of multi-hot targets."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["average_precisions", "multi_hot_losses", "ranked_at_random"]


def multi_hot_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of each image, its few categories weighted up against the many others.

    A category that is there counts K / (number that are) times as much as one that is not.

    Args:
        logits: Of each category, [N, K].
        target: 1 for the categories that are there, else 0, [N, K].

    Returns:
        Loss of each image, the mean over all categories, [N].

    Source:
        Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, section 4.2; the weight is
        that of its program (fractal-pretraining, multilabel.py).
    """
    weight = target.shape[1] / target.sum(1, keepdim=True).clamp(min=1)
    losses = binary_cross_entropy_with_logits(
        logits, target, pos_weight=weight.expand_as(target), reduction="none"
    )
    return losses.mean(1)


def average_precisions(logits: Tensor, target: Tensor) -> Tensor:
    """How far up in each image's ranking of all categories those that are there stand.

    Args:
        logits: Of each category, [N, K].
        target: 1 for the categories that are there, at least one, else 0, [N, K].

    Returns:
        In [0, 1], [N]: the mean, over the categories that are there, of the share of them among
        those ranked at least as high.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1, 0.5, 0.3]])
        >>> average_precisions(scores, torch.tensor([[1.0, 0.0, 0.0, 1.0]])).item()
        0.8333333730697632
    """
    order = logits.argsort(dim=1, descending=True, stable=True)
    hits = target.gather(1, order)
    ranks = hits.new_tensor(range(1, hits.shape[1] + 1))
    return (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1)


def ranked_at_random(target: Tensor, seed: int = 0) -> float:
    """Mean average precision of logits that know nothing: what a model's is to be compared with.

    Args:
        target: 1 for the categories that are there, at least one, else 0, [N, K].
        seed: Seed of the ranking.

    Returns:
        In [0, 1].
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(target.shape, generator=generator).to(target.device)
    return float(average_precisions(logits, target).mean())
