"""Settings of fine-tuning on real images, and every check that can be made before work starts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from fdsl_gpu.datasets import did_you_mean
from fdsl_gpu.settings import NamedSettings, check_choices
from fdsl_gpu.weights import WeightsFile

__all__ = ["FinetuneConfig"]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
FEW_STEPS: Final = 1000
"""Below so many steps BatchNorm's running statistics lag behind the weights."""


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune a model on real images: a checkpoint with a new head, or from scratch.

    Several learning rates are tried one after another; the best on validation images, which are
    held out of the training images, is the one whose model is kept and tested, once.
    """

    output: Path = Path("runs/finetune")
    """Folder of the run: settings, log, result, weights. It must not hold another."""
    target: str = "mnist-5k"
    """A folder with train/CLASS and val/CLASS, or mnist-5k, digits or animals."""
    train_per_class: int | None = None
    """Images of each class to learn from; by default all that are not validated on."""
    val_per_class: int = 10
    """Training images of each class that are held out to validate on."""
    test: bool = True
    """Test the chosen model on the test split; leave it out while settings are still sought."""

    checkpoint: Path | None = None
    """Weights to start from: a run's folder or file, a timm checkpoint, an author's file."""
    partial: bool = False
    """Load what fits of the checkpoint and leave the rest, where otherwise all must fit."""
    scratch: bool = False
    """Start from random weights instead."""
    model: str | None = None
    """Name of a timm model; by default what the checkpoint says."""
    model_settings: NamedSettings = field(default_factory=dict)
    """Keyword arguments of the model, as NAME VALUE pairs."""

    image_size: int | None = None
    """Side of the images in pixels; by default that of pre-training, or else 224."""
    channels: Literal[1, 3] | None = None
    """Channels of the images; by default those of pre-training, or else 3."""
    mean: tuple[float, ...] | None = None
    """Subtracted from the pixels; one value or one a channel; by default as in pre-training, or
    else ImageNet's."""
    std: tuple[float, ...] | None = None
    """What they are divided by then."""
    crop_scale: tuple[float, float] | None = None
    """Train on random windows of so much of an image's area: 0.08 1.0; by default on all of it."""
    hflip: float = 0.0
    """Probability of a left-right mirror image in training."""
    rand_augment: str | None = None
    """RandAugment in timm's notation: rand-m9-mstd0.5-inc1."""
    erase_prob: float = 0.0
    """Probability that a rectangle of a training image is erased."""

    steps: int | None = None
    """Updates; or give epochs."""
    epochs: int | None = None
    """Passes over the training images; or give steps."""
    batch_size: int = 64
    """Images of an update."""
    opt: str = "adamw"
    """Name of a timm optimiser."""
    lr: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates to choose from."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it; the head has all of it."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    momentum: float = 0.9
    """Momentum of the optimisers that have it."""
    sched: Literal["cosine", "step", "constant"] = "cosine"
    """Schedule of the learning rate; step: a tenth after each third."""
    warmup_steps: int = 0
    """Updates of linear warm-up."""
    smoothing: float = 0.0
    """Label smoothing."""
    renew_statistics: bool | None = None
    """Estimate BatchNorm's statistics anew on the training images before a model is judged; by
    default below 1,000 steps, where the running ones lag behind the weights."""

    seed: int = 0
    """Seed of the choice of images, their order, the new head and all noise."""
    num_workers: int = 0
    """Processes that read images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model trains; auto is the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Mixed precision; auto is fp32 on a CPU, and on a GPU bf16, or fp16 where it has no bf16."""
    log_interval: int = 50
    """Updates from one row of log.csv to the next."""

    def num_steps(self, num_images: int) -> int:
        """Updates of a run on so many training images."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or 0) * max(1, num_images // self.batch_size)

    def renews(self, num_images: int) -> bool:
        """Whether BatchNorm's statistics are estimated anew."""
        if self.renew_statistics is not None:
            return self.renew_statistics
        return self.num_steps(num_images) < FEW_STEPS

    def with_defaults(self, weights: WeightsFile | None) -> FinetuneConfig:
        """The settings with those left out filled in, as far as may be from the weights' own.

        Raises:
            ValueError: No model is named, here or in the weights.
        """
        about: dict[str, Any] = weights.about if weights is not None else {}
        model = self.model or (weights.arch if weights is not None else None)
        if model is None:
            raise ValueError(
                "name the --model" + ("; the checkpoint does not say" if weights else "")
            )
        channels = self.channels or (1 if about.get("channels") == 1 else 3)
        mean = self.mean or _values(about.get("mean")) or IMAGENET_MEAN[:channels]
        std = self.std or _values(about.get("std")) or IMAGENET_STD[:channels]
        return replace(
            self,
            model=model,
            channels=channels,
            image_size=self.image_size or int(about.get("image_size") or 224),
            mean=mean if len(mean) == channels else mean[:1] * channels,
            std=std if len(std) == channels else std[:1] * channels,
        )

    def validate(self) -> None:
        """Check all that can be checked without reading a file.

        Raises:
            ValueError: A setting is unknown, out of range, or contradicts another.
            RuntimeError: The device asked for is not there.
        """
        self._check_words()
        if self.scratch == (self.checkpoint is not None):
            raise ValueError("give either --checkpoint FILE or --scratch")
        if self.scratch and self.partial:
            raise ValueError("--partial says how a checkpoint is loaded; leave it out of --scratch")
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either --steps or --epochs")
        for name in ("steps", "epochs", "train_per_class", "batch_size", "log_interval"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("val_per_class", "warmup_steps", "weight_decay", "momentum", "num_workers"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must not be negative, got {value}")
        for name in ("hflip", "erase_prob"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        if not self.lr or not all(0 < lr < math.inf for lr in self.lr):
            raise ValueError(f"lr must be positive learning rates, one at least, got {self.lr}")
        if len(self.lr) > 1 and not self.val_per_class:
            raise ValueError(
                f"several learning rates are compared on validation images: val_per_class must be "
                f"at least 1, or lr a single value, got {self.lr}"
            )
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be in (0, 1], got {self.layer_decay}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {self.smoothing}")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(
                f"crop_scale must be 0 < low <= high <= 1, got {tuple(self.crop_scale)}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) not in (1, self.channels or 3):
                raise ValueError(
                    f"{name} needs one value, or one for each of the {self.channels or 3} "
                    f"channels, got {values}"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.image_size is not None and self.image_size < 3:
            raise ValueError(f"image_size must be at least 3, got {self.image_size}")

    def _check_words(self) -> None:
        import timm
        import torch
        from timm.optim import list_optimizers

        check_choices(self)
        if self.model is not None and not timm.is_model(self.model):
            raise ValueError(
                f"unknown model {self.model!r}; {did_you_mean(self.model, timm.list_models())}"
                "timm.list_models() has all names"
            )
        if self.opt not in list_optimizers():
            raise ValueError(
                f"unknown optimiser {self.opt!r}; {did_you_mean(self.opt, list_optimizers())}"
                "timm.optim.list_optimizers() has all names"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("device 'cuda' needs a GPU and torch sees none; use device='cpu'")
        on_cpu = self.device == "cpu" or not torch.cuda.is_available()
        if on_cpu and self.precision == "fp16":
            raise ValueError("precision 'fp16' needs a GPU; a CPU takes 'fp32' or 'bf16'")


def _values(value: Any) -> tuple[float, ...] | None:
    """One number or several, as a tuple."""
    if value is None:
        return None
    return tuple(map(float, value)) if isinstance(value, (list, tuple)) else (float(value),)
