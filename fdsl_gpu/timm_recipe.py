"""What timm's options of augmentation are where whole batches are drawn: a view and a recipe.

Each function takes the options that it follows out of the dictionary; what is left over at the end
is refused by the caller.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final, NoReturn

import numpy as np
from timm.data import FastCollateMixup
from timm.data.constants import DEFAULT_CROP_PCT
from torch import Tensor

from fdsl_gpu.augment import Augmentation, Augmenter
from fdsl_gpu.formulas.view import View
from fdsl_gpu.mixing import mix_targets

__all__ = ["HOST", "MixingSwitch", "refuse", "take_recipe", "take_view"]

FLAGS: Final = {
    "auto_augment": "--aa",
    "input_size_choices": "--train-img-sizes",
    "num_aug_repeats": "--aug-repeats",
    "num_aug_splits": "--aug-splits",
    "num_batches": "--train-batches-per-epoch",
    "re_count": "--recount",
    "re_mode": "--remode",
    "re_prob": "--reprob",
    "re_split": "--resplit",
}
"""train.py's names of options that are not those of `create_loader` with dashes."""
HOST: Final = "leave it out, or let workers draw on the CPU: --dataset 'fdsl/NAME?pipeline=host'"


def refuse(name: str, value: object, cure: str) -> NoReturn:
    """Raise the ValueError for an option of timm's that cannot be followed."""
    flag = FLAGS.get(name, "--" + name.replace("_", "-"))
    raise ValueError(
        f"{flag} (create_loader's {name}={value!r}) does not go with drawn images: {cure}"
    )


def take_view(canvas_size: int, size: int, is_training: bool, options: dict[str, Any]) -> View:
    """The window that timm's transforms would cut out of a stored image, drawn at the size wanted.

    Args:
        canvas_size: Side of what would be stored.
        size: Side of the images.
        is_training: Whether windows are random, or the centre.
        options: Keywords of timm's `create_loader`; those followed are taken out.

    Raises:
        ValueError: One cannot be followed.
    """
    crop_pct, crop_mode = options.pop("crop_pct") or DEFAULT_CROP_PCT, options.pop("crop_mode")
    mode, scale, ratio = (options.pop(name) for name in ("train_crop_mode", "scale", "ratio"))
    hflip, vflip = options.pop("hflip"), options.pop("vflip")
    if not is_training:
        if crop_mode not in (None, "center"):
            refuse("crop_mode", crop_mode, HOST)
        return View(size, canvas_size=math.floor(size / crop_pct), crop="center")
    if options["no_aug"]:
        return View(size)
    if mode not in (None, "rrc"):
        refuse("train_crop_mode", mode, HOST)
    return View(
        size,
        canvas_size=canvas_size,
        crop="resized",
        scale=tuple(scale or (0.08, 1.0)),
        ratio=tuple(ratio or (3 / 4, 4 / 3)),
        hflip=hflip,
        vflip=vflip,
    )


def take_recipe(is_training: bool, options: dict[str, Any]) -> Augmentation:
    """RandAugment or colour jitter, erasing, Mixup and CutMix as the options want them.

    Args:
        is_training: Whether anything but Mixup and CutMix is done.
        options: Keywords of timm's `create_loader`; those followed are taken out.

    Raises:
        ValueError: One cannot be followed.
    """
    mixing = _mixing(options.pop("collate_fn"))
    auto_augment, jitter, jitter_prob, erase_prob, erase_mode, erase_count, erase_split = (
        options.pop(name)
        for name in (
            *("auto_augment", "color_jitter", "color_jitter_prob"),
            *("re_prob", "re_mode", "re_count", "re_split"),
        )
    )
    grayscale, blur = options.pop("grayscale_prob", 0), options.pop("gaussian_blur_prob", 0)
    if options.pop("no_aug") or not is_training:
        return Augmentation(**mixing)
    for name, value in (("grayscale_prob", grayscale), ("gaussian_blur_prob", blur)):
        if value:
            refuse(name, value, HOST)
    if auto_augment and not auto_augment.startswith("rand"):
        refuse("auto_augment", auto_augment, HOST)
    jitter = 0.0 if auto_augment else jitter or 0.0  # as timm
    if jitter and jitter_prob is not None:
        refuse("color_jitter_prob", jitter_prob, HOST)
    if isinstance(jitter, (tuple, list)):
        refuse("color_jitter", jitter, HOST)
    if erase_prob and erase_count != 1:
        refuse("re_count", erase_count, HOST)
    if erase_prob and erase_split:
        refuse("re_split", erase_split, HOST)
    return Augmentation(
        rand_augment=auto_augment or None,
        color_jitter=jitter,
        erase_prob=erase_prob,
        erase_mode=erase_mode,
        **mixing,
    )


def _mixing(collate: Any) -> dict[str, Any]:
    """Settings of Mixup and CutMix, in place of timm's mixing of collated samples."""
    if collate is None:
        return {}
    if not isinstance(collate, FastCollateMixup):
        refuse("collate_fn", collate, HOST)
    if collate.mode not in ("batch", "pair"):
        refuse("mixup_mode", collate.mode, HOST)
    if collate.cutmix_minmax is not None:
        refuse("cutmix_minmax", collate.cutmix_minmax, HOST)
    return {
        "mixup_alpha": collate.mixup_alpha,
        "cutmix_alpha": collate.cutmix_alpha,
        "mix_prob": collate.mix_prob,
        "switch_prob": collate.switch_prob,
        "label_smoothing": collate.label_smoothing,
    }


class MixingSwitch:
    """An augmentation with Mixup that train.py can turn off; targets are vectors all the same.

    Args:
        recipe: What is done while it is on.
        num_classes: Length of the targets.
        settings: Of `Augmenter`.
    """

    def __init__(self, recipe: Augmentation, num_classes: int, **settings: Any) -> None:
        self.enabled = True
        plain = replace(recipe, mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0)
        self._mixing = Augmenter(recipe, num_classes, **settings)
        self._plain = Augmenter(plain, num_classes, **settings)

    def __call__(self, images: Tensor, target: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch, as an `Augmenter` does."""
        if self.enabled:
            return self._mixing(images, target, indices)
        images, target = self._plain(images, target, indices)
        pairs = len(target) // 2
        unmixed = np.ones(pairs), np.zeros((pairs, 4), np.int64)
        recipe, num_classes = self._mixing.recipe, self._mixing.num_classes
        return images, mix_targets(target, unmixed, num_classes, recipe.label_smoothing)
