"""timm's data sets and loaders, drawn instead of stored. Importing this changes nothing in timm.

An unmodified script that uses timm, such as its train.py, is run by

    python -m fdsl_gpu.timm train.py --dataset fdsl/fractaldb-1k ...

which imports `fdsl_gpu.timm_plugin` first. It works under torchrun too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import os
import runpy
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import torch
from timm.data import AugMixDataset, FastCollateMixup
from timm.data import create_loader as timm_create_loader
from timm.data.loader import adapt_to_chs
from torch import distributed

from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.indices import rank_and_world_size
from fdsl_gpu.render import DatasetLike, Split
from fdsl_gpu.stream import FormulaDataset
from fdsl_gpu.timm_device import device_loader
from fdsl_gpu.timm_recipe import refuse

__all__ = ["Pipeline", "TimmDataset", "create_dataset", "create_loader"]

Pipeline = Literal["auto", "host", "device"]
"""Who draws: DataLoader workers ("host"), or the process that trains, whole batches ("device")."""

CANVAS_SIZE: Final = 362
"""Side of the published images, which timm's transforms crop and resize."""
IMAGES_PER_CLASS: Final[dict[Split, int]] = {"train": 1000, "val": 10}
"""Length of an epoch for a category where none is given; 1,000 as published."""
SPLITS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation"), "val"),
}
MODES: Final = {"RGB": 3, "L": 1}
FLAGS: Final = {
    "root": "--data-dir",
    "class_map": "--class-map",
    "download": "--dataset-download",
    "repeats": "--epoch-repeats",
    "input_key": "--input-key",
    "target_key": "--target-key",
    "trust_remote_code": "--dataset-trust-remote-code",
}
"""What train.py calls the options of `create_dataset` that are about stored images."""
HINTS: Final = {"batch_size", "search_split"}

_log: Final = logging.getLogger("fdsl_gpu")


class TimmDataset(FormulaDataset):
    """The map-style view that `create_dataset` makes, and who is to draw it."""

    pipeline: Pipeline = "auto"


class _AugMixDataset(AugMixDataset):  # type: ignore[misc]
    """timm's AugMixDataset hides `set_epoch`: each epoch would show the same samples."""

    def set_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)


def create_dataset(
    name: DatasetLike,
    root: None = None,
    split: str = "validation",
    is_training: bool = False,
    num_samples: int | None = None,
    seed: int = 42,
    input_img_mode: str = "RGB",
    **options: Any,
) -> TimmDataset:
    """A drawn data set for timm's pipeline, with the arguments of timm's `create_dataset`.

    Item i of epoch e is sample e * num_samples + i, so that each epoch shows new images.

    Args:
        name: A name from `list_datasets()`, a folder of category files, or a spec. A name may have
            settings after a question mark: "fractaldb-1k?num_points=50000&image_size=256". Besides
            the data set's own settings these are `image_size`, the side of the drawn images, and
            `pipeline`: "host" has them drawn by DataLoader workers, "device" in whole batches where
            the model trains, "auto" the latter on CUDA.
        root: Nothing is stored: must be None.
        split: "train" or "validation", whose samples never occur in training.
        is_training: Taken from the split; here because timm has it.
        num_samples: Images of an epoch over all ranks; by default 1,000 a category, or 10 for
            validation.
        seed: Seed of everything random.
        input_img_mode: "RGB" or "L".
        **options: timm's other options, which have no meaning here and must have no value.

    Raises:
        ValueError: An argument is unknown, out of range or has no meaning for drawn images.

    Example:
        >>> dataset = create_dataset("fractaldb-1k?image_size=64", split="train", num_samples=500)
        >>> len(dataset), dataset[0][0].shape
        (500, torch.Size([3, 64, 64]))
    """
    for option, value in {"root": root, **options}.items():
        if value and option not in HINTS:
            cure = "pass --train-num-samples instead" if option == "repeats" else "leave it out"
            raise ValueError(
                f"{FLAGS.get(option, option)} is for stored images, and those of {name} are drawn: "
                f"{cure} (got {value!r})"
            )
    if split not in SPLITS:
        raise ValueError(f"split must be one of {sorted(SPLITS)}, got {split!r}")
    if input_img_mode not in MODES:
        raise ValueError(
            f"--input-img-mode must be one of {sorted(MODES)} for drawn images, got "
            f"{input_img_mode!r}"
        )
    spec, image_size, pipeline = _parsed(name)
    if spec.target != "class":
        raise ValueError(
            f"timm's pipeline is for class labels, and the targets of {spec.name!r} are of kind "
            f"{spec.target!r}; use a FormulaStream, as examples/segmentation.py does for masks, or "
            "`fdsl-gpu pretrain` for several categories"
        )
    if num_samples is None:
        num_samples = IMAGES_PER_CLASS[SPLITS[split]] * spec.num_classes
    dataset = TimmDataset(
        spec,
        image_size=image_size,
        num_samples=num_samples,
        seed=seed,
        split=SPLITS[split],
        channels=MODES[input_img_mode],
    )
    dataset.pipeline = pipeline
    if rank_and_world_size(None, None)[0] == 0:
        _log.info(
            "%s, split %s: %d classes, %d images of %d px an epoch, seed %d",
            *(spec.name, SPLITS[split], spec.num_classes, num_samples, image_size, seed),
        )
    return dataset


def create_loader(
    dataset: DatasetLike | FormulaDataset,
    input_size: int | Sequence[int],
    batch_size: int,
    is_training: bool = False,
    **options: Any,
) -> Any:
    """A loader of drawn batches with the keywords and the behaviour of timm's `create_loader`.

    Where the model trains on a GPU, whole batches are drawn there, augmented and normalised, one
    ahead. On a CPU it is timm's own loader over the map-style view. A keyword that the loader
    cannot follow is refused.

    Args:
        dataset: What `create_dataset` made; or a name, a path or a spec, with `num_samples`, `seed`
            and `split` among the options. An AugMixDataset around one works as well.
        input_size: Size of the images that the model gets: a side, or (channels, height, width).
        batch_size: Images a rank and step.
        is_training: Whether to shuffle, augment, and leave out an incomplete last batch.
        **options: timm's keywords. Unlike timm's, `device` is a CPU if there is no GPU.

    Returns:
        A loader as timm's train.py needs it: with a length, `dataset`, `sampler` and
        `mixup_enabled`, which yields images on the device and their labels.

    Raises:
        ValueError: An option cannot be followed, or contradicts the data set.
        TypeError: timm's `create_loader` has no such keyword.

    Example:
        >>> loader = create_loader(
        ...     "fractaldb-1k", 32, 4, is_training=True, num_samples=8, num_workers=0, device="cpu"
        ... )
        >>> [images.shape for images, labels in loader]
        [torch.Size([4, 3, 32, 32]), torch.Size([4, 3, 32, 32])]
    """
    size = (3, input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if not isinstance(dataset, (FormulaDataset, AugMixDataset)):
        own = {key: options.pop(key) for key in ("num_samples", "seed", "split") if key in options}
        own.setdefault("split", "train" if is_training else "validation")
        mode = "L" if len(size) == 3 and size[0] == 1 else "RGB"
        dataset = create_dataset(dataset, input_img_mode=mode, **own)
    device = options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {**_timm_defaults(), **options, "device": torch.device(device)}
    view = dataset.dataset if isinstance(dataset, AugMixDataset) else dataset
    check_fits(view, size, options)
    for statistic in ("mean", "std"):  # without a prefetcher timm would fail on one channel
        options[statistic] = adapt_to_chs(options[statistic], view.renderer.channels)
    pipeline = getattr(view, "pipeline", "auto")
    if pipeline == "auto":
        pipeline = "device" if options["device"].type == "cuda" else "host"
    if pipeline == "device":
        return device_loader(dataset, size, batch_size, is_training, options)
    return _host_loader(dataset, size, batch_size, is_training, options)


def check_fits(view: FormulaDataset, size: tuple[int, ...], options: dict[str, Any]) -> None:
    """Refuse a model that cannot take these images or labels.

    Raises:
        ValueError: The channels differ, or Mixup has too few classes.
    """
    channels = view.renderer.channels
    if len(size) == 3 and size[0] != channels:
        raise ValueError(
            f"the model takes {size[0]} channels and the images are drawn with {channels}: pass "
            "--in-chans 3 (--input-img-mode RGB) or --in-chans 1 (--input-img-mode L)"
        )
    mixup = options["collate_fn"]
    if isinstance(mixup, FastCollateMixup):
        check_num_classes(view.renderer.dataset, mixup.num_classes)


def check_num_classes(spec: DatasetSpec, num_classes: int) -> None:
    """Refuse a model with fewer outputs than there are labels.

    Raises:
        ValueError: It has fewer.
    """
    if num_classes < spec.num_classes:
        raise ValueError(
            f"--num-classes must be at least {spec.num_classes}, the classes of {spec.name!r}, got "
            f"{num_classes}"
        )


def _host_loader(
    dataset: Any, size: tuple[int, ...], batch_size: int, is_training: bool, options: dict[str, Any]
) -> Any:
    """The loader of timm itself, refused where it would repeat samples in silence."""
    if options["use_multi_epochs_loader"]:
        # its workers begin the next epoch before they are told its number
        refuse("use_multi_epochs_loader", True, "leave it out, the workers persist anyway")
    if options["num_aug_repeats"] and not options["distributed"]:
        refuse(
            "num_aug_repeats",
            options["num_aug_repeats"],
            "leave it out, timm has it for torchrun only",
        )
    if isinstance(dataset, AugMixDataset) and not isinstance(dataset, _AugMixDataset):
        dataset.__class__ = _AugMixDataset
    persistent = options["persistent_workers"] and options["num_workers"] > 0
    loader = timm_create_loader(
        dataset, size, batch_size, is_training, **{**options, "persistent_workers": persistent}
    )
    check_length(loader, dataset, batch_size)
    return loader


def check_length(loader: Any, dataset: Any, batch_size: int) -> None:
    """Refuse an epoch without a batch, and say so if ranks will repeat samples.

    Raises:
        ValueError: There is no batch.
    """
    num_samples, world_size = len(dataset), 1
    if distributed.is_available() and distributed.is_initialized():
        world_size = distributed.get_world_size()
    if len(loader) == 0:
        raise ValueError(
            f"an epoch of {num_samples} samples has no batch of {batch_size} on {world_size} "
            "rank(s); raise --train-num-samples"
        )
    if num_samples % world_size and distributed.get_rank() == 0:
        _log.warning(
            "timm's sampler repeats %d of the %d samples of an epoch, to have as many on each of "
            "%d ranks; choose --train-num-samples and --val-num-samples divisible by the ranks",
            *(-num_samples % world_size, num_samples, world_size),
        )


def _timm_defaults() -> dict[str, Any]:
    """Keywords of the installed timm's `create_loader` and what they are by default."""
    parameters = inspect.signature(timm_create_loader).parameters
    return {
        name: each.default
        for name, each in list(parameters.items())[4:]  # after those that have names here too
    }


def _parsed(name: DatasetLike) -> tuple[DatasetSpec, int, Pipeline]:
    """The data set, image size and pipeline that a name with settings stands for."""
    if isinstance(name, DatasetSpec):
        return name, _published_size(name), "auto"
    plain, _, query = os.fspath(name).partition("?")
    settings = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                f"settings are written NAME?key=value&key=value, got {part!r} in {name!r}"
            )
        settings[key] = _literal(value)
    image_size = settings.pop("image_size", None)
    if not isinstance(image_size, int | None):
        raise ValueError(f"image_size must be a number of pixels, got {image_size!r} in {name!r}")
    pipeline = settings.pop("pipeline", "auto")
    if pipeline not in get_args(Pipeline):
        raise ValueError(
            f"pipeline must be one of {get_args(Pipeline)}, got {pipeline!r} in {name!r}"
        )
    spec = get_dataset(plain).replace(**settings)
    return spec, _published_size(spec) if image_size is None else image_size, pipeline


def _published_size(spec: DatasetSpec) -> int:
    """Side of the images that were published, or of FractalDB's where there are none."""
    size: int = getattr(spec.formula, "published_size", CANVAS_SIZE)
    return size


def _literal(text: str) -> Any:
    """A number or tuple as Python writes it, or else the text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main(arguments: Sequence[str]) -> None:
    """Run a script as `python SCRIPT ...` would, with drawn data sets plugged into timm."""
    if not arguments or arguments[0].startswith("-"):
        sys.exit("usage: python -m fdsl_gpu.timm SCRIPT [ARGUMENTS of the script]")
    # the plug-in imports this module, by its own name
    importlib.import_module("fdsl_gpu.timm_plugin")
    sys.argv = list(arguments)
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
