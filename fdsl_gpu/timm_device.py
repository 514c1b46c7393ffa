"""The loader that timm's training loop gets where whole batches are drawn on the device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from fdsl_gpu.augment import Augmenter
from fdsl_gpu.indices import rank_and_world_size
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.stream import FormulaDataset, FormulaStream
from fdsl_gpu.timm_recipe import HOST, MixingSwitch, refuse, take_recipe, take_view

__all__ = ["StreamLoader", "device_loader"]

MOOT: Final = {
    # nothing is resampled, and there are no workers
    *("interpolation", "num_workers", "pin_memory", "persistent_workers", "worker_seeding"),
    # without a prefetcher train.py moves and mixes batches by itself, which is as good
    "use_prefetcher",
    # details of --train-img-sizes, which is refused
    *("batch_size_choices", "batch_choice_weights", "batch_choice_seed", "batch_choice_schedule"),
    *("batch_schedule_epochs", "batch_schedule_spread", "batch_schedule_random_mix"),
}
"""Keywords of timm's `create_loader` that change no batch here."""
_log: Final = logging.getLogger("fdsl_gpu")


class StreamLoader:
    """A `FormulaLoader` with what timm's training loop asks of a loader.

    Each iteration is the epoch that the data set was last set to, from its start.

    Args:
        dataset: Says how long an epoch is, and which one is next.
        loader: Draws it.
    """

    sampler = None
    batch_sampler = None

    def __init__(self, dataset: FormulaDataset, loader: FormulaLoader) -> None:
        self.dataset = dataset
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        start = self.dataset.epoch * len(self.dataset)
        self.loader.load_state_dict({**self.loader.state_dict(), "position": start})
        return iter(self.loader)

    @property
    def mixup_enabled(self) -> bool:
        """Whether Mixup or CutMix is on; train.py turns it off towards the end."""
        return isinstance(self.loader.augment, MixingSwitch) and self.loader.augment.enabled

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if isinstance(self.loader.augment, MixingSwitch):
            self.loader.augment.enabled = enabled


def device_loader(
    dataset: Any, size: tuple[int, ...], batch_size: int, is_training: bool, options: dict[str, Any]
) -> StreamLoader:
    """Draw, augment and normalise whole batches on the device, one ahead.

    Args:
        dataset: A `FormulaDataset`.
        size: Size of the images: ([channels,] height, width).
        batch_size: Images a rank and step.
        is_training: Whether to augment, and to leave out an incomplete last batch.
        options: All keywords of timm's `create_loader`.

    Raises:
        ValueError: An option cannot be followed here.
    """
    if not isinstance(dataset, FormulaDataset):
        refuse("num_aug_splits", options["num_aug_splits"], HOST)
    if size[-1] != size[-2]:
        refuse("input_size", size, f"images are drawn square on the device; {HOST}")
    if not dataset.renderer.view.is_plain:
        raise ValueError(
            "create_loader makes the view from timm's options of crops and flips; make the data "
            f"set with an integer image_size, not {dataset.renderer.view}"
        )
    options = {name: value for name, value in options.items() if name not in MOOT}
    renderer, mixup = dataset.renderer, options["collate_fn"]
    view = take_view(renderer.view.image_size, size[-1], is_training, options)
    recipe = take_recipe(is_training, options)
    mean, std, device = (options.pop(name) for name in ("mean", "std", "device"))
    dtype = torch.float16 if options.pop("fp16") else options.pop("img_dtype") or torch.float32
    # train.py's own word decides whether this is one of several ranks
    alone = not options.pop("distributed")
    rank, world_size = rank_and_world_size(*((0, 1) if alone else (None, None)))
    for name, value in options.items():
        if value:
            refuse(name, value, HOST)
    stream = FormulaStream(
        renderer.dataset,
        batch_size,
        image_size=view,
        seed=renderer.seed,
        split=renderer.split,
        num_samples=len(dataset),
        drop_last=is_training,
        channels=renderer.channels,
        rank=rank,
        world_size=world_size,
        device=device,
    )
    recipe.check_batches(stream.sharding)
    num_classes = renderer.dataset.num_classes if mixup is None else mixup.num_classes
    augmenter = MixingSwitch if recipe.mixes else Augmenter
    augment = augmenter(recipe, num_classes, seed=renderer.seed, mean=mean, std=std, device=device)
    if rank == 0:
        _log.info("whole batches are drawn on %s, one ahead; --workers is not needed", device)
        if recipe.mixes:
            _log.info("Mixup and CutMix have parameters of their own for each pair of samples")
    loader = FormulaLoader(stream, mean=mean, std=std, dtype=dtype, augment=augment)
    return StreamLoader(dataset, loader)
