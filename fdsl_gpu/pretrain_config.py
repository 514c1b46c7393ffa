"""Settings of a pre-training run, and every check that can be made before work starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from fdsl_gpu.augment import Augmentation
from fdsl_gpu.backends import Backend
from fdsl_gpu.datasets import DatasetSpec, did_you_mean, get_dataset
from fdsl_gpu.formulas.view import Crop, View
from fdsl_gpu.render import Split, check_view
from fdsl_gpu.settings import NamedSettings, check_choices

__all__ = ["PretrainConfig"]

_AT_LEAST_ONE: Final = (
    "image_size",
    "supersample",
    "epochs",
    "epoch_size",
    "batch_size",
    "grad_accum",
    "val_interval",
    "log_interval",
    "checkpoint_interval",
)
_NOT_NEGATIVE: Final = (
    "val_size",
    "weight_decay",
    "momentum",
    "warmup_epochs",
    "warmup_lr",
    "min_lr",
    "mixup",
    "cutmix",
)
_POSITIVE: Final = ("lr", "std", "decay_epochs", "decay_rate")


@dataclass(frozen=True)
class PretrainConfig:
    """Pre-train a timm model on a formula-driven data set, drawn while it trains.

    The defaults follow the published recipe of DeiT-Tiny on FractalDB, less its augmentation by
    RandAugment and erasing; `--recipe NAME` starts from a published recipe as a whole. Counts of
    images are over all ranks: under torchrun any number of ranks sees the same batches.
    """

    output: Path = Path("runs/pretrain")
    """Folder of the run: settings, logs, checkpoints, final weights. It must not hold another."""
    resume: bool = False
    """Go on from the last checkpoint in `output`; without one, start at the beginning."""

    dataset: str = "fractaldb-1k"
    """Name of a data set, or a folder of category files."""
    dataset_settings: NamedSettings = field(default_factory=dict)
    """Settings of its formula to change, as NAME VALUE pairs: num_points 50000."""
    image_size: int = 224
    """Side of the images that the model sees, in pixels."""
    supersample: int = 1
    """Draw at this many times the image size, then average down: smoother small images."""
    canvas_size: int | None = None
    """Side of the canvas that a crop is cut from; by default image_size."""
    crop: Crop = "none"
    """What of the canvas is seen: all, image_size pixels at random, or a resized window of it."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Range of a resized window's share of the canvas's area."""
    hflip: float = 0.0
    """Probability of a left-right mirror image, on top of the drawing's own turns."""
    vflip: float = 0.0
    """Probability of a top-bottom mirror image."""
    channels: Literal[1, 3] = 3
    """Channels of the images."""
    mean: float = 0.5
    """Subtracted from the pixels, which are in [0, 1]."""
    std: float = 0.5
    """What they are divided by then."""
    seed: int = 0
    """Seed of the images, the initial weights and all noise."""
    backend: Backend = "auto"
    """Who draws."""

    model: str = "deit_tiny_patch16_224"
    """Name of a timm model."""
    model_settings: NamedSettings = field(default_factory=lambda: {"drop_path_rate": 0.1})
    """Keyword arguments of the model, as NAME VALUE pairs."""
    ema_decay: float | None = None
    """Also keep an exponential moving average of the weights, with this decay: 0.9998."""

    epochs: int = 300
    """Epochs."""
    epoch_size: int = 1_000_000
    """Images of an epoch, rounded down to whole batches; the next epoch draws new ones."""
    val_size: int = 10_000
    """Held-out images that top-1 is measured on after an epoch; 0 for none."""
    val_interval: int = 1
    """Epochs from one validation to the next; the last epoch always has one."""
    batch_size: int = 1024
    """Images of an update, over all ranks and accumulation steps."""
    grad_accum: int = 1
    """Steps that each rank's share of an update is split into, to save memory."""

    opt: str = "adamw"
    """Name of a timm optimiser."""
    lr: float = 1e-3
    """Learning rate after the warm-up."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    momentum: float = 0.9
    """Momentum of the optimisers that have it."""
    clip_grad: float | None = None
    """Largest norm of the gradients."""
    sched: Literal["cosine", "step", "poly"] = "cosine"
    """Schedule of the learning rate, set anew at every update."""
    warmup_epochs: float = 10.0
    """Epochs of linear warm-up; fractions are allowed."""
    warmup_lr: float = 1e-6
    """Learning rate at the start of the warm-up."""
    min_lr: float = 1e-5
    """Where the cosine schedule ends."""
    decay_epochs: float = 30.0
    """Epochs between two decays of the step schedule."""
    decay_rate: float = 0.1
    """Factor of each decay of the step schedule."""

    rand_augment: str | None = None
    """RandAugment in timm's notation: rand-m9-mstd0.5-inc1."""
    color_jitter: float = 0.0
    """Strength of brightness, contrast and colour jitter; 0 for none."""
    erase_prob: float = 0.0
    """Probability that a rectangle of an image is erased."""
    smoothing: float = 0.1
    """Label smoothing."""
    mixup: float = 0.8
    """Alpha of Mixup; 0 for none."""
    cutmix: float = 1.0
    """Alpha of CutMix; 0 for none."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model trains; auto is the GPU if there is one. Under torchrun a GPU a rank."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Mixed precision; auto is fp32 on a CPU, and on a GPU bf16, or fp16 where it has no bf16."""
    channels_last: bool = False
    """Keep images and weights channels last; faster for most convolutional networks."""

    log_interval: int = 50
    """Updates from one row of log.csv to the next; the end of an epoch has one too."""
    checkpoint_interval: int = 1000
    """Updates from one checkpoint to the next; the end of an epoch has one too."""
    tensorboard: bool = False
    """Also log for TensorBoard, which pip install 'fdsl-gpu[plots]' brings."""

    @property
    def updates_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.epoch_size // self.batch_size

    @property
    def num_updates(self) -> int:
        """Updates of the whole run."""
        return self.epochs * self.updates_per_epoch

    def spec(self) -> DatasetSpec:
        """The data set with its changed settings."""
        return get_dataset(self.dataset).replace(**self.dataset_settings)

    def view(self, split: Split) -> View:
        """What of the canvas is seen: in validation the middle of it, without noise.

        Raises:
            ValueError: A setting of it is out of range, or contradicts another.
        """
        training = View(
            self.image_size,
            self.canvas_size,
            self.crop,
            self.crop_scale,
            hflip=self.hflip,
            vflip=self.vflip,
            supersample=self.supersample,
        )
        if split == "train":
            return training
        if self.crop == "resized":
            return View(self.image_size, supersample=self.supersample)
        crop: Crop = "none" if self.crop == "none" else "center"
        return replace(training, crop=crop, hflip=0.0, vflip=0.0)

    def augmentation(self) -> Augmentation | None:
        """Augmentation of the training images but Mixup and CutMix, or None for none.

        Raises:
            ValueError: A setting of it is out of range.
        """
        recipe = Augmentation(
            rand_augment=self.rand_augment,
            color_jitter=self.color_jitter,
            erase_prob=self.erase_prob,
        )
        return None if recipe == Augmentation() else recipe

    def validate(self) -> None:
        """Check all that can be checked without starting.

        Raises:
            ValueError: A setting is unknown or out of range.
            RuntimeError: The device asked for is not there.
        """
        check_choices(self)
        self._check_ranges()
        self.augmentation()
        self._check_names()
        self._check_device()
        spec = self.spec()
        if spec.target == "mask":
            raise ValueError(
                f"pre-training needs labels; data set {self.dataset!r} has {spec.target} targets: "
                "examples/segmentation.py trains a backbone on masks"
            )
        blended = {name: getattr(self, name) for name in ("mixup", "cutmix", "smoothing")}
        if spec.target == "multi_hot" and any(blended.values()):
            flags = " ".join(f"--{name} 0" for name, value in blended.items() if value)
            raise ValueError(
                f"images of {self.dataset!r} have several categories, which are neither mixed nor "
                f"smoothed: pass {flags}"
            )
        check_view(spec, self.view("train"))

    def _check_ranges(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must not be negative, got {value}")
        for name in _POSITIVE:
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise ValueError(f"clip_grad must be positive or left out, got {self.clip_grad}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1) or left out, got {self.ema_decay}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {self.smoothing}")
        if self.batch_size > self.epoch_size:
            raise ValueError(
                f"an epoch must hold at least one batch, got epoch_size {self.epoch_size} and "
                f"batch_size {self.batch_size}"
            )
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs must be at most epochs, got {self.warmup_epochs} and {self.epochs}"
            )

    def _check_names(self) -> None:
        import timm
        from timm.optim import list_optimizers

        if not timm.is_model(self.model):
            raise ValueError(
                f"unknown model {self.model!r}; {did_you_mean(self.model, timm.list_models())}"
                "timm.list_models() has all names"
            )
        if self.opt not in list_optimizers():
            raise ValueError(
                f"unknown optimiser {self.opt!r}; {did_you_mean(self.opt, list_optimizers())}"
                "timm.optim.list_optimizers() has all names"
            )

    def _check_device(self) -> None:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("device 'cuda' needs a GPU and torch sees none; use device='cpu'")
        on_cpu = self.device == "cpu" or not torch.cuda.is_available()
        if on_cpu and self.precision == "fp16":
            raise ValueError("precision 'fp16' needs a GPU; a CPU takes 'fp32' or 'bf16'")
