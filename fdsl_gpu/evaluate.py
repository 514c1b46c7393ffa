"""How often a model is right: on fractals that it never saw, or on real images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from fdsl_gpu.backends import Backend
from fdsl_gpu.finetune_config import FinetuneConfig
from fdsl_gpu.fitting import Pictures, bare_model, top1
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.ranks import Ranks
from fdsl_gpu.runs import SETTINGS
from fdsl_gpu.settings import NamedSettings, load_settings
from fdsl_gpu.targets import load_target
from fdsl_gpu.trainer import Trainer
from fdsl_gpu.weights import WeightsFile, load_weights, read_weights

__all__ = ["EvaluateConfig", "Evaluation", "Precision", "evaluate", "wilson_interval"]

Z: Final = 1.959963984540054
"""Two-sided 95 % of a normal distribution."""
ASKED: Final = (
    "dataset",
    "dataset_settings",
    "seed",
    "model",
    "model_settings",
    "image_size",
    "supersample",
)
TOLD: Final = ("image_size", "channels", "mean", "std")


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a model's accuracy: on held-out fractals, or on the test images of a target.

    What is left out is as in the run that made the weights, where they lie in its folder.
    """

    checkpoint: Path
    """Weights: a run's folder or file, a timm checkpoint, an author's file."""
    dataset: str | None = None
    """Formula-driven data set; its validation split is drawn, which training never sees."""
    target: str | None = None
    """Real images instead: a folder with train/CLASS and val/CLASS, mnist-5k, digits or animals."""
    dataset_settings: NamedSettings | None = None
    """Settings of the formula to change, as NAME VALUE pairs."""
    num_samples: int = 10_000
    """Held-out fractals."""
    seed: int | None = None
    """Seed of the fractals; by default that of pre-training, or else 0."""
    model: str | None = None
    """Name of a timm model; by default what the checkpoint says."""
    model_settings: NamedSettings | None = None
    """Keyword arguments of the model, as NAME VALUE pairs."""
    image_size: int | None = None
    """Side of the images in pixels; by default what the checkpoint says, or else 224."""
    supersample: int | None = None
    """Draw fractals at this many times the size, then average; by default as in pre-training."""
    batch_size: int = 256
    """Images at once."""
    backend: Backend = "auto"
    """Who draws."""


@dataclass(frozen=True)
class Precision:
    """Mean average precision of a model on images of several categories, with its 95 % interval.

    Args:
        images: What was looked at.
        num_images: How many.
        mean: Mean over the images, per cent.
        low: Lower end of the interval, per cent.
        high: Upper end.
        chance: What a ranking at random has, per cent.
    """

    images: str
    num_images: int
    mean: float
    low: float
    high: float
    chance: float

    def __str__(self) -> str:
        """A sentence."""
        return (
            f"mean average precision {self.mean:.2f} % of {self.num_images:,} {self.images} "
            f"(95 % interval {self.low:.2f} to {self.high:.2f}; a ranking at random has "
            f"{self.chance:.2f} %)"
        )


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of a model, with its 95 % confidence interval (Wilson's).

    Args:
        images: What was looked at.
        num_images: How many.
        num_classes: Chance is one in as many.
        top1: Per cent.
        low: Lower end of the interval, per cent.
        high: Upper end.
    """

    images: str
    num_images: int
    num_classes: int
    top1: float
    low: float
    high: float

    def __str__(self) -> str:
        """A sentence."""
        return (
            f"top-1 {self.top1:.2f} % of {self.num_images:,} {self.images} "
            f"(95 % interval {self.low:.2f} to {self.high:.2f}; chance is "
            f"{100 / self.num_classes:.2g} %)"
        )


def evaluate(config: EvaluateConfig) -> Evaluation | Precision:
    """Measure a model's accuracy, or its precision where images have several categories.

    Args:
        config: Weights, and what to try them on.

    Raises:
        ValueError: The settings contradict each other, or the weights do not fit.
        RuntimeError: A package is missing.
    """
    if config.dataset is not None and config.target is not None:
        raise ValueError("give either --dataset or --target")
    for name in ("num_samples", "batch_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    weights = read_weights(config.checkpoint)
    if config.model is None and weights.arch is None:
        raise ValueError(f"name the --model; {weights.path} does not say")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    target = config.target
    if config.dataset is None and target is None:
        target = weights.about.get("target")
    if target is not None:
        return _on_target(config, weights, target, device)
    return _on_fractals(_pretraining(config, weights), weights, device)


def _pretraining(config: EvaluateConfig, weights: WeightsFile) -> PretrainConfig:
    """The settings of the run that made the weights, where they are known, changed as asked."""
    path = weights.path.parent / SETTINGS
    if path.is_file() and "target" not in weights.about:
        run = load_settings(PretrainConfig, path)
    elif config.dataset is None:
        raise ValueError(f"give --dataset or --target: no {SETTINGS} lies beside {weights.path}")
    else:
        told = {name: weights.about[name] for name in TOLD if name in weights.about}
        run = PretrainConfig(model=weights.arch or "", model_settings={}, **told)
    asked = {name: value for name in ASKED if (value := getattr(config, name)) is not None}
    if asked.get("dataset", run.dataset) != run.dataset:
        asked.setdefault("dataset_settings", {})  # those of the run are for its own data set
    return replace(
        run,
        **asked,
        val_size=config.num_samples,
        batch_size=config.batch_size,
        epoch_size=config.batch_size,
        grad_accum=1,
        mixup=0.0,
        cutmix=0.0,
        smoothing=0.0,
        ema_decay=None,
        backend=config.backend,
    )


def _on_fractals(
    run: PretrainConfig, weights: WeightsFile, device: torch.device
) -> Evaluation | Precision:
    run.validate()
    trainer = Trainer(run, Ranks(0, 1, device))
    load_weights(trainer.model, weights, new_head=False)
    images, num_classes = f"held-out images of {run.dataset}", trainer.spec.num_classes
    if trainer.spec.target == "multi_hot":
        return _precision(images, *trainer.precisions(trainer.model))
    _, percent = trainer.validate(trainer.model)
    return _evaluation(images, run.val_size, num_classes, percent)


def _on_target(
    config: EvaluateConfig, weights: WeightsFile, name: str, device: torch.device
) -> Evaluation:
    settings = FinetuneConfig(
        target=name,
        checkpoint=config.checkpoint,
        model=config.model,
        model_settings=config.model_settings or {},
        image_size=config.image_size,
        batch_size=config.batch_size,
        steps=1,
    )
    settings.validate()
    settings = settings.with_defaults(weights)
    target = load_target(name)
    classes = weights.about.get("classes")
    if classes is not None and list(classes) != list(target.classes):
        raise ValueError(
            f"{weights.path} tells {len(classes)} classes apart that are not those of {name}: "
            f"{', '.join(classes[:5])} there, {', '.join(target.classes[:5])} here"
        )
    model = bare_model(settings, len(target.classes))
    load_weights(model, weights, new_head=False)
    pictures = Pictures(target, settings, training=False)
    percent = top1(model.to(device), pictures, target.test, settings, device)
    return _evaluation(f"test images of {name}", len(target.test), len(target.classes), percent)


def _precision(images: str, precisions: Tensor, chance: float) -> Precision:
    count, mean = len(precisions), 100 * float(precisions.mean())
    spread = 100 * Z * float(precisions.std()) / math.sqrt(count) if count > 1 else math.nan
    return Precision(images, count, mean, mean - spread, mean + spread, 100 * chance)


def _evaluation(images: str, count: int, num_classes: int, percent: float) -> Evaluation:
    low, high = wilson_interval(percent / 100, count)
    return Evaluation(images, count, num_classes, percent, 100 * low, 100 * high)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % confidence interval of a share of so many trials."""
    total = 1 + Z**2 / count
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    high = (share + Z**2 / (2 * count) + spread) / total
    # the ends are roots of a quadratic, whose product has no difference that rounds to below 0
    return share**2 / (total * high), high
