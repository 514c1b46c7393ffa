"""The loader that timm's training loop gets where whole batches are drawn on the device."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import torch
from timm.data import FastCollateMixup, Mixup
from timm.data.constants import DEFAULT_CROP_PCT
from torch import Tensor

from fdsl_gpu.formulas.view import View
from fdsl_gpu.indices import rank_and_world_size
from fdsl_gpu.loader import FormulaLoader, MixupFn
from fdsl_gpu.stream import FormulaDataset, FormulaStream

__all__ = ["StreamLoader", "device_loader", "refuse"]

FLAGS: Final = {
    "auto_augment": "--aa",
    "input_size_choices": "--train-img-sizes",
    "num_aug_repeats": "--aug-repeats",
    "num_aug_splits": "--aug-splits",
    "num_batches": "--train-batches-per-epoch",
    "re_prob": "--reprob",
}
"""train.py's names of options that are not those of `create_loader` with dashes."""
HOST: Final = "leave it out, or let workers draw on the CPU: --dataset 'fdsl/NAME?pipeline=host'"
MOOT: Final = {
    # nothing is resampled, and there are no workers
    *("interpolation", "num_workers", "pin_memory", "persistent_workers", "worker_seeding"),
    # without a prefetcher train.py moves and mixes batches by itself, which is as good
    "use_prefetcher",
    # details of options that are refused
    *("re_mode", "re_count", "re_split", "color_jitter_prob", "batch_size_choices"),
    *("batch_choice_weights", "batch_choice_seed", "batch_choice_schedule"),
    *("batch_schedule_epochs", "batch_schedule_spread", "batch_schedule_random_mix"),
}
"""Keywords of timm's `create_loader` that change no batch here."""
COLOURS: Final = ("color_jitter", "grayscale_prob", "gaussian_blur_prob", "auto_augment", "re_prob")

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
        return bool(getattr(self.loader.mixup_fn, "mixup_enabled", False))

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if self.loader.mixup_fn is not None:
            self.loader.mixup_fn.mixup_enabled = enabled  # type: ignore[attr-defined]


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
        refuse("num_aug_splits", type(dataset).__name__, HOST)
    if size[-1] != size[-2]:
        refuse("input_size", size, f"images are drawn square on the device; {HOST}")
    options = {name: value for name, value in options.items() if name not in MOOT}
    renderer = dataset.renderer
    view = _view(renderer.view.image_size, size[-1], is_training, options)
    dtype = torch.float16 if options.pop("fp16") else options.pop("img_dtype") or torch.float32
    mean, std = options.pop("mean"), options.pop("std")
    mixup_fn = _mixup_fn(options.pop("collate_fn"), batch_size)
    # train.py's own word decides whether this is one of several ranks
    alone = not options.pop("distributed")
    rank, world_size = rank_and_world_size(*((0, 1) if alone else (None, None)))
    device = options.pop("device")
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
    for name, value in options.items():
        if value:
            refuse(name, value, HOST)
    if rank == 0:
        _log.info(
            "whole batches are drawn on %s, one ahead, without workers", stream.renderer.device
        )
    loader = FormulaLoader(stream, mean=mean, std=std, dtype=dtype, mixup_fn=mixup_fn)
    return StreamLoader(dataset, loader)


def refuse(name: str, value: object, cure: str) -> NoReturn:
    """Raise the ValueError for an option of timm's that cannot be followed."""
    flag = FLAGS.get(name, "--" + name.replace("_", "-"))
    raise ValueError(
        f"{flag} (create_loader's {name}={value!r}) does not go with drawn images: {cure}"
    )


def _view(canvas: int, size: int, is_training: bool, options: dict[str, Any]) -> View:
    """The window that timm's transforms would cut out of a drawing, drawn at the size wanted."""
    no_aug, crop_pct = options.pop("no_aug"), options.pop("crop_pct") or DEFAULT_CROP_PCT
    mode, scale, ratio = (options.pop(name) for name in ("train_crop_mode", "scale", "ratio"))
    hflip, vflip = options.pop("hflip"), options.pop("vflip")
    if not is_training or no_aug:
        for name in COLOURS:  # as in timm
            options.pop(name)
    if not is_training:
        if options.pop("crop_mode") not in (None, "center"):
            refuse("crop_mode", "squash or border", HOST)
        return View(size, canvas_size=math.floor(size / crop_pct), crop="center")
    options.pop("crop_mode")
    if no_aug:
        return View(size)
    if mode not in (None, "rrc"):
        refuse("train_crop_mode", mode, HOST)
    return View(
        size,
        canvas_size=canvas,
        crop="resized",
        scale=tuple(scale or (0.08, 1.0)),
        ratio=tuple(ratio or (3 / 4, 4 / 3)),
        hflip=hflip,
        vflip=vflip,
    )


def _mixup_fn(collate: Any, batch_size: int) -> MixupFn | None:
    """Mixup of whole batches on the device, in place of timm's mixing of collated samples."""
    if collate is None:
        return None
    if not isinstance(collate, FastCollateMixup):
        refuse("collate_fn", collate, HOST)
    if collate.mode == "half":
        refuse("mixup_mode", "half", HOST)
    if batch_size % 2:
        raise ValueError(
            f"Mixup and CutMix pair images: --batch-size must be even, got {batch_size}"
        )
    mixup: MixupFn = Mixup(
        mixup_alpha=collate.mixup_alpha,
        cutmix_alpha=collate.cutmix_alpha,
        cutmix_minmax=collate.cutmix_minmax,
        prob=collate.mix_prob,
        switch_prob=collate.switch_prob,
        mode=collate.mode,
        correct_lam=collate.correct_lam,
        label_smoothing=collate.label_smoothing,
        num_classes=collate.num_classes,
    )
    return mixup
