"""Training and judging a model on real images: the loop that fine-tuning and the studies share."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from fdsl_gpu.finetune_config import FinetuneConfig
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.targets import Target
from fdsl_gpu.trainer import make_model, mixed_precision
from fdsl_gpu.weights import WeightsFile, load_weights

__all__ = ["Pictures", "fit", "new_model", "renew_statistics", "top1"]

Int64 = NDArray[np.int64]

MAX_RENEWING_BATCHES = 100


class Pictures(Dataset[tuple[Tensor, int]]):
    """The images of a target as a model sees them: resized, cut, normalised.

    Args:
        target: The images.
        config: Settings with their defaults filled in.
        training: Augment them, as far as the settings say so.
    """

    def __init__(self, target: Target, config: FinetuneConfig, *, training: bool) -> None:
        from timm.data import create_transform

        self.target, self.config = target, config
        noisy = config.crop_scale or config.hflip or config.rand_augment or config.erase_prob
        augmented = training and bool(noisy)
        size = config.image_size
        arguments: dict[str, Any] = {"mean": config.mean, "std": config.std}
        if augmented:
            arguments |= {
                "scale": config.crop_scale or (1.0, 1.0),
                "ratio": (3 / 4, 4 / 3) if config.crop_scale else (1.0, 1.0),
                "hflip": config.hflip,
                "color_jitter": None,
                "auto_augment": config.rand_augment,
                "re_prob": config.erase_prob,
                "re_mode": "pixel",
            }
        self._transform: Any = create_transform(
            (config.channels, size, size),
            is_training=augmented,
            interpolation="bicubic",
            # small images are enlarged whole; large ones lose their border, as in the papers
            crop_pct=224 / 256 if (size or 0) >= 224 else 1.0,
            **arguments,
        )
        # images in memory are few and small: prepared once
        keep = not augmented and isinstance(target.images, np.ndarray)
        self._kept: dict[int, Tensor] | None = {} if keep else None

    def __len__(self) -> int:
        """All images of the target."""
        return len(self.target.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        """An image [C, H, W] and its label."""
        label = int(self.target.labels[place])
        if self._kept is not None and place in self._kept:
            return self._kept[place], label
        picture = self.target.open(place).convert("L" if self.config.channels == 1 else "RGB")
        image: Tensor = self._transform(picture)
        if self._kept is not None:
            self._kept[place] = image
        return image, label

    def batches(
        self, batches: Iterable[Int64], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the images at these places, in this order."""
        loader: Any = DataLoader(
            self,
            batch_sampler=(batch.tolist() for batch in batches),
            num_workers=self.config.num_workers,
            generator=torch.Generator().manual_seed(self.config.seed),
        )
        for images, labels in loader:
            yield images.to(device, non_blocking=True), labels.to(device)


def new_model(
    config: FinetuneConfig, num_classes: int, weights: WeightsFile | None, device: torch.device
) -> nn.Module:
    """The model with a fresh head, and with the weights below it where there are any.

    Raises:
        ValueError: It cannot be made, or the weights do not fit.
    """
    torch.manual_seed(config.seed)
    model = bare_model(config, num_classes)
    if weights is not None:
        load_weights(model, weights, new_head=True, partial=config.partial)
    return model.to(device)


def bare_model(config: FinetuneConfig, num_classes: int) -> nn.Module:
    """The model with random weights.

    Raises:
        ValueError: It cannot be made with these settings, or does not fit the images.
    """
    return make_model(
        PretrainConfig(
            model=config.model or "",
            model_settings=config.model_settings,
            image_size=config.image_size or 0,
            channels=config.channels or 3,
        ),
        num_classes,
    )


def fit(
    model: nn.Module,
    pictures: Pictures,
    places: Int64,  # [N]
    config: FinetuneConfig,
    lr: float,
    device: torch.device,
) -> Iterator[Tensor]:
    """Train a model on the images at these places; the loss of each update, as it comes.

    Args:
        model: The model, on the device.
        pictures: The images, augmented or not.
        places: Which of them to train on.
        config: Settings with their defaults filled in.
        lr: Learning rate.
        device: Where.
    """
    from timm.optim import create_optimizer_v2

    optimizer = create_optimizer_v2(
        model,
        opt=config.opt,
        lr=lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        layer_decay=config.layer_decay if config.layer_decay < 1 else None,
    )
    num_steps = config.num_steps(len(places))
    amp_type = mixed_precision(config.precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_type == torch.float16)
    batches = pictures.batches(shuffled(places, num_steps, config), device)
    torch.manual_seed(config.seed)
    random.seed(config.seed)  # timm's augmentation draws from Python's and NumPy's generators
    np.random.seed(config.seed)
    for step, (images, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * share_of_rate(step, num_steps, config) * group.get("lr_scale", 1.0)
        model.train()
        with torch.autocast(device.type, amp_type, enabled=amp_type is not None):
            logits = model(images)
        loss = cross_entropy(logits.float(), labels, label_smoothing=config.smoothing)
        backward(scaler.scale(loss))
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        yield loss.detach()


def shuffled(places: Int64, num_steps: int, config: FinetuneConfig) -> Iterator[Int64]:
    """Batches of so many updates: passes in orders of their own, the rest of a pass dropped."""
    generator = np.random.default_rng(config.seed)
    per_pass = max(1, len(places) // config.batch_size)
    order = places
    for step in range(num_steps):
        if step % per_pass == 0:
            order = generator.permutation(places)
        start = step % per_pass * config.batch_size
        yield order[start : start + config.batch_size]


def share_of_rate(step: int, num_steps: int, config: FinetuneConfig) -> float:
    """Share of the learning rate at a step."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.sched == "constant":
        return 1.0
    if config.sched == "step":
        return float(0.1 ** (3 * step // num_steps))
    past = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * past))


@torch.no_grad()
def renew_statistics(
    model: nn.Module,
    pictures: Pictures,
    places: Int64,
    config: FinetuneConfig,
    device: torch.device,
) -> None:
    """Estimate BatchNorm's means and variances anew, from one pass over training images.

    The running ones are averages over the last updates; after few of them they are still those of
    other images, or of no image at all, and the model is judged far below its worth.
    """
    norms = [
        layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()  # no dropout: only the statistics are wanted
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
        norm.train()
    order = np.random.default_rng(config.seed).permutation(places)
    # even batches: each counts alike, and none holds a single image
    count = min(MAX_RENEWING_BATCHES, max(1, len(order) // config.batch_size))
    order = order[: count * config.batch_size] if count > 1 else order
    for images, _ in pictures.batches(np.array_split(order, count), device):
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.no_grad()
def top1(
    model: nn.Module,
    pictures: Pictures,
    places: Int64,
    config: FinetuneConfig,
    device: torch.device,
) -> float:
    """Share of the images at these places that the model names rightly, in per cent."""
    model.eval()
    amp_type = mixed_precision(config.precision, device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    size = max(config.batch_size, 64)
    chunks = [places[start : start + size] for start in range(0, len(places), size)]
    for images, labels in pictures.batches(chunks, device):
        with torch.autocast(device.type, amp_type, enabled=amp_type is not None):
            logits = model(images)
        correct += (logits.argmax(1) == labels).sum()
    return 100 * int(correct) / len(places)
