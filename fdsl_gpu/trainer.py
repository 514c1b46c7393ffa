"""One update of pre-training after another: a timm model, its optimiser and schedule, and the data.

All noise of an update (dropout, drop-path, Mixup) is seeded by its number, and the images depend on
their index alone. So the state of a run is its weights, the optimiser's averages and one number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn.functional import cross_entropy

from fdsl_gpu.loader import FormulaLoader, MixupFn
from fdsl_gpu.multi_hot import average_precisions, multi_hot_losses, ranked_at_random
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.ranks import Ranks
from fdsl_gpu.render import Split
from fdsl_gpu.stream import FormulaStream

__all__ = ["Trainer", "make_mixup", "make_model"]


class Trainer:
    """Everything that trains, and how to save and restore it.

    Args:
        config: Settings of the run, already validated.
        ranks: This process among those of the run.

    Raises:
        ValueError: The model does not fit the images, or the batch cannot be shared out.
    """

    def __init__(self, config: PretrainConfig, ranks: Ranks) -> None:
        from timm.optim import create_optimizer_v2
        from timm.scheduler import create_scheduler_v2
        from timm.utils import ModelEmaV3

        self.config, self.ranks = config, ranks
        self.update_number = 0
        self.spec = config.spec()
        self.loader = self._make_loader("train", None)
        self.val_loader = self._make_loader("val", config.val_size) if config.val_size else None
        torch.manual_seed(config.seed)
        self.model = make_model(config, self.spec.num_classes).to(ranks.device)
        if config.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = create_optimizer_v2(
            self.model,
            opt=config.opt,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
        )
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer,
            sched=config.sched,
            num_epochs=config.epochs,
            warmup_epochs=config.warmup_epochs,
            warmup_lr=config.warmup_lr,
            min_lr=config.min_lr,
            decay_epochs=config.decay_epochs,
            decay_rate=config.decay_rate,
            step_on_epochs=False,
            updates_per_epoch=config.updates_per_epoch,
        )
        self.ema = None
        if config.ema_decay is not None:
            self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True)
        self._amp_type = mixed_precision(config.precision, ranks.device)
        # without fp16 the scaler does nothing
        self._scaler = torch.amp.GradScaler(
            ranks.device.type, enabled=self._amp_type == torch.float16
        )
        self._parallel = ranks.wrap(self.model)
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None
        # sum and number of the losses since they were last asked for
        self._losses = torch.zeros(2, dtype=torch.float64, device=ranks.device)

    def _make_loader(self, split: Split, num_samples: int | None) -> FormulaLoader:
        config, ranks = self.config, self.ranks
        shares = ranks.world_size * config.grad_accum
        if config.batch_size % shares:
            raise ValueError(
                f"batch_size must be a multiple of ranks x grad_accum, got {config.batch_size} and "
                f"{ranks.world_size} x {config.grad_accum}"
            )
        if (config.mixup or config.cutmix) and config.batch_size // shares % 2:
            raise ValueError(
                f"Mixup and CutMix pair images: each rank's step must have an even number, got "
                f"{config.batch_size // shares}; choose another batch_size, or mixup 0 and cutmix 0"
            )
        stream = FormulaStream(
            self.spec,
            config.batch_size // shares,
            image_size=config.view(split),
            seed=config.seed,
            split=split,
            num_samples=num_samples,
            drop_last=False,
            channels=config.channels,
            rank=ranks.rank,
            world_size=ranks.world_size,
            device=ranks.device,
            backend=config.backend,
        )
        return FormulaLoader(
            stream,
            mean=(config.mean,) * config.channels,
            std=(config.std,) * config.channels,
            channels_last=config.channels_last,
            augment=config.augmentation() if split == "train" else None,
            mixup_fn=make_mixup(config, self.spec.num_classes) if split == "train" else None,
        )

    @property
    def lr(self) -> float:
        """Learning rate of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self) -> None:
        """Draw a batch, follow its gradient, and set the next learning rate."""
        config = self.config
        self._seed_noise()
        self._batches = self._batches or iter(self.loader)
        self._parallel.train()
        for step in range(config.grad_accum):
            images, target = next(self._batches)
            is_last = step == config.grad_accum - 1
            with nullcontext() if is_last or self.ranks.world_size == 1 else self._unshared():
                with self._autocast():
                    loss = self._loss(self._parallel(images), target)
                backward(self._scaler.scale(loss / config.grad_accum))
            self._losses += torch.stack([loss.detach().double(), loss.new_ones(()).double()])
        if config.clip_grad is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_grad)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self.update_number += 1
        if self.ema is not None:
            self.ema.update(self.model, step=self.update_number)
        self.scheduler.step_update(self.update_number)

    def _seed_noise(self) -> None:
        """The same noise in an update whenever it is run; ranks differ."""
        key = (self.config.seed, self.update_number, self.ranks.rank)
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)

    def _unshared(self) -> Any:
        parallel: Any = self._parallel
        return parallel.no_sync()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.ranks.device.type, self._amp_type, enabled=self._amp_type is not None
        )

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.spec.target == "multi_hot":
            return multi_hot_losses(logits.float(), target).mean()
        # a target of Mixup has its smoothing inside
        smoothing = self.config.smoothing if target.ndim == 1 else 0.0
        return cross_entropy(logits.float(), target, label_smoothing=smoothing)

    def take_loss(self) -> float:
        """Mean loss over all ranks since this was last asked for."""
        total, count = self.ranks.total(self._losses.clone()).tolist()
        self._losses.zero_()
        return float(total / count)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> tuple[float, float]:
        """Mean loss and score on the held-out images, over all ranks.

        The score is top-1 in per cent, or the mean average precision where an image has several
        categories.
        """
        seen = 0
        sums = torch.zeros(2, dtype=torch.float64, device=self.ranks.device)
        for logits, labels in self._held_out(model):
            if self.spec.target == "multi_hot":
                loss = multi_hot_losses(logits, labels).sum()
                score = average_precisions(logits, labels).sum()
            else:
                loss = cross_entropy(logits, labels, reduction="sum")
                score = (logits.argmax(1) == labels).sum()
            sums += torch.stack([loss.double(), score.double()])
            seen += len(labels)
        totals = self.ranks.total(torch.cat([sums, sums.new_tensor([seen])]))
        total_loss, total_score, num_seen = totals.tolist()
        return total_loss / num_seen, 100 * total_score / num_seen

    @torch.no_grad()
    def precisions(self, model: nn.Module) -> tuple[Tensor, float]:
        """Average precision of each held-out image of several categories, and a random ranking's.

        On one rank; [val_size], and the mean of the other, in [0, 1].
        """
        found, labels = [], []
        for logits, target in self._held_out(model):
            found.append(average_precisions(logits, target))
            labels.append(target)
        return torch.cat(found), ranked_at_random(torch.cat(labels), self.config.seed)

    def _held_out(self, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and targets of this rank's held-out images, batch by batch."""
        if self.val_loader is None:
            raise ValueError("val_size is 0: there are no held-out images to validate on")
        model.eval()
        self.val_loader.set_epoch(0)
        for images, target in self.val_loader:
            with self._autocast():
                logits = model(images).float()
            yield logits, target

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly; the names are timm's where it has one.

        Every rank must ask for it at the same time; the first rank's is the one to save.
        """
        state = {
            "arch": self.config.model,
            "update": self.update_number,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "amp_scaler": self._scaler.state_dict(),
            "stream": self.loader.state_dict(),
            # each rank takes an equal part back, whatever their number is then
            "losses": self.ranks.total(self._losses.clone()).cpu(),
        }
        if self.ema is not None:
            state["state_dict_ema"] = self.ema.module.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: It is of other images or of another model.
        """
        self.loader.load_state_dict(state["stream"])
        try:
            self.model.load_state_dict(state["state_dict"])
            if self.ema is not None:
                self.ema.module.load_state_dict(state["state_dict_ema"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"the checkpoint does not fit {self.config.model}: {error}") from error
        self._scaler.load_state_dict(state["amp_scaler"])
        self._losses.copy_(state["losses"] / self.ranks.world_size)
        self.update_number = state["update"]
        self.scheduler.step_update(self.update_number)

    def close(self) -> None:
        """Stop drawing ahead."""
        batches: Any = self._batches
        if batches is not None:
            batches.close()
        self._batches = None


def make_model(config: PretrainConfig, num_classes: int) -> nn.Module:
    """The timm model with fresh weights, tried on one empty image.

    Raises:
        ValueError: It cannot be made with these settings, or does not fit the images.
    """
    import timm

    arguments: dict[str, Any] = dict(config.model_settings)
    cfg = timm.get_pretrained_cfg(config.model)
    if cfg is not None and cfg.fixed_input_size:
        arguments.setdefault("img_size", config.image_size)
    try:
        model: nn.Module = timm.create_model(
            config.model, num_classes=num_classes, in_chans=config.channels, **arguments
        )
        image = torch.zeros(1, config.channels, config.image_size, config.image_size)
        with torch.no_grad():
            shape = tuple(model.eval()(image).shape)
    except (AssertionError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ValueError(
            f"model {config.model!r} cannot take {config.channels}-channel images of "
            f"{config.image_size} pixels with model_settings {config.model_settings}: {error}"
        ) from error
    if shape != (1, num_classes):
        raise ValueError(
            f"model {config.model!r} is no classifier: it gives outputs of shape {shape} where "
            f"(1, {num_classes}) is wanted"
        )
    return model


def make_mixup(config: PretrainConfig, num_classes: int) -> MixupFn | None:
    """Mixup and CutMix as the settings want them, or None for neither."""
    if not config.mixup and not config.cutmix:
        return None
    from timm.data import Mixup

    mixup: MixupFn = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        label_smoothing=config.smoothing,
        num_classes=num_classes,
    )
    return mixup


def mixed_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that autocast computes in, or None for float32 throughout."""
    if precision == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
