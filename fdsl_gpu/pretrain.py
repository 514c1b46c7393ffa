"""Pre-train a timm model on images that are drawn while it trains; a run lives in one folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import nn

from fdsl_gpu.checkpoints import LAST, load_checkpoint, save_checkpoint, save_weights
from fdsl_gpu.filters import draw_filters
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.ranks import Ranks, joined_ranks
from fdsl_gpu.runs import CsvLog, check_same_run, open_run
from fdsl_gpu.settings import plain_settings
from fdsl_gpu.trainer import Trainer

__all__ = ["PretrainConfig", "Progress", "Report", "Speed", "pretrain"]

_log: Final = logging.getLogger("fdsl_gpu")

_LEARNED: Final = ("update", "epoch", "images", "lr", "loss")
_SPEED: Final = ("update", "seconds", "img_s", "draw_share", "wait_share")


@dataclass(frozen=True)
class Speed:
    """How fast it went, validation and checkpoints left out.

    Args:
        images: Images trained on, over all ranks.
        seconds: Time that took.
        draw_seconds: Time that drawing took, most of it beside the training.
        wait_seconds: Time that the training waited for a batch.
    """

    images: int = 0
    seconds: float = 0.0
    draw_seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def img_s(self) -> float:
        """Images a second."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def draw_share(self) -> float:
        """Drawing time over training time."""
        return self.draw_seconds / self.seconds if self.seconds else 0.0

    @property
    def wait_share(self) -> float:
        """Share of the training time that went by waiting for a batch."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    def since(self, earlier: Speed) -> Speed:
        """What has come on top since an earlier moment."""
        return Speed(
            self.images - earlier.images,
            self.seconds - earlier.seconds,
            self.draw_seconds - earlier.draw_seconds,
            self.wait_seconds - earlier.wait_seconds,
        )


@dataclass(frozen=True)
class Progress:
    """Where a run is, on the first rank.

    Args:
        update: Updates done.
        num_updates: Updates of the whole run.
        num_classes: Categories; chance is one in as many.
        learned: The newest value in each column of log.csv that has one.
        speed: How fast this process is; its first update, when compilers run, left out.
    """

    update: int
    num_updates: int
    num_classes: int
    learned: dict[str, float]
    speed: Speed


Report = Callable[[Progress], None]


def pretrain(config: PretrainConfig, report: Report | None = None) -> Progress:
    """Run, or resume, a pre-training run.

    The folder `config.output` gets run.toml, log.csv, speed.csv, the checkpoints last.pt and
    previous.pt, and at the end model.safetensors (model_ema.safetensors) and filters.png. Killed at
    any moment and resumed, a run on a CPU ends with the log.csv and the weights of one left alone,
    bit for bit.

    Args:
        config: Settings of the run.
        report: Called after each update, on the first rank.

    Returns:
        Where the run is at its end.

    Raises:
        ValueError: A setting is unknown or out of range, or the folder holds another run.
        RuntimeError: A device is missing, a file cannot be written, or the loss is not finite.

    Example:
        >>> import tempfile
        >>> config = PretrainConfig(
        ...     output=Path(tempfile.mkdtemp()), model="test_resnet", model_settings={},
        ...     image_size=32, batch_size=16, epochs=1, epoch_size=32, val_size=16, warmup_epochs=0,
        ... )
        >>> pretrain(config).update
        2
    """
    config.validate()
    with joined_ranks(config.device) as ranks, closing(Trainer(config, ranks)) as trainer:
        if ranks.is_first:
            open_run(config.output, config, resume=config.resume)
        ranks.wait()
        if config.resume:
            state = ranks.first_before_others(lambda: load_checkpoint(config.output))
            if state is not None:
                check_same_run(state["settings"], config, config.output / LAST)
                trainer.load_state_dict(state)
            if trainer.update_number == config.num_updates and ranks.is_first:
                _log.info("the run in %s was at its end: nothing is left to draw", config.output)
        run = _Run(config, ranks, trainer)
        while trainer.update_number < config.num_updates:
            run.advance()
            if report is not None and ranks.is_first:
                report(run.progress())
        run.finish()
        return run.progress()


class _Run:
    """A trainer in the folder of its run: what is logged and saved, and when."""

    def __init__(self, config: PretrainConfig, ranks: Ranks, trainer: Trainer) -> None:
        self.config, self.ranks, self.trainer = config, ranks, trainer
        self.models: dict[str, nn.Module] = {"": trainer.model}
        if trainer.ema is not None:
            self.models["_ema"] = trainer.ema.module
        self.learned: CsvLog | None = None
        has_label = trainer.spec.target == "class"
        self.scores = ("val_loss", "val_top1" if has_label else "val_map")
        self.board: Any = None
        if ranks.is_first:
            update = trainer.update_number
            scores = [f"{score}{name}" for name in self.models for score in self.scores]
            columns = (*_LEARNED, *scores)
            self.learned = CsvLog(config.output / "log.csv", columns, update)
            self.speed_log = CsvLog(config.output / "speed.csv", _SPEED, update)
            if config.tensorboard:
                self.board = _tensorboard(config.output / "tensorboard", update)
        self.images, self.seconds = 0, 0.0
        # what had come together after the first update, and when the last row was written
        self.started = self.logged = Speed()

    def _speed(self) -> Speed:
        loader = self.trainer.loader
        return Speed(self.images, self.seconds, loader.draw_seconds, loader.wait_seconds)

    def progress(self) -> Progress:
        """Where the run is."""
        return Progress(
            update=self.trainer.update_number,
            num_updates=self.config.num_updates,
            num_classes=self.trainer.spec.num_classes,
            learned={} if self.learned is None else dict(self.learned.newest),
            speed=self._speed().since(self.started),
        )

    def advance(self) -> None:
        """One update, and the row and the checkpoint that are due after it."""
        config, trainer = self.config, self.trainer
        lr, began = trainer.lr, time.perf_counter()
        trainer.update()
        update = trainer.update_number
        epoch, into_epoch = divmod(update, config.updates_per_epoch)
        row_is_due = into_epoch == 0 or update % config.log_interval == 0
        # on a GPU, asking for the loss waits for the updates: part of their time
        loss = trainer.take_loss() if row_is_due else 0.0
        self.seconds += time.perf_counter() - began
        self.images += config.batch_size
        if self.images == config.batch_size:
            self.started = self.logged = self._speed()
        if not math.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss} at update {update}: lower --lr, raise --warmup-epochs or set "
                f"--clip-grad; log and checkpoints before it are whole in {config.output}"
            )
        if row_is_due:
            row = {"update": update, "epoch": epoch + (into_epoch > 0), "lr": lr, "loss": loss}
            row["images"] = update * config.batch_size
            if into_epoch == 0 and (epoch % config.val_interval == 0 or epoch == config.epochs):
                row |= self._validate()
            self._write_row(row)
        if into_epoch == 0 or update % config.checkpoint_interval == 0:
            state = trainer.state_dict() | {"settings": plain_settings(config)}
            if self.ranks.is_first:
                save_checkpoint(config.output, state)

    def _validate(self) -> dict[str, float]:
        row: dict[str, float] = {}
        if self.trainer.val_loader is not None:
            for name, model in self.models.items():
                loss, score = self.trainer.validate(model)
                row |= dict(zip((s + name for s in self.scores), (loss, score), strict=True))
        return row

    def _write_row(self, row: dict[str, float]) -> None:
        if self.learned is None:
            return
        now = self._speed()
        lately, self.logged = now.since(self.logged), now
        speed = {name: round(getattr(lately, name), 4) for name in _SPEED[1:]}
        # the row of a checkpoint is on the disk before the checkpoint is
        self.learned.append(row)
        self.speed_log.append(speed | {"update": row["update"]})
        if self.board is not None:
            for name, value in (row | speed).items():
                self.board.add_scalar(name, value, int(row["update"]))

    def finish(self) -> None:
        """Write what a run leaves behind: weights and a picture of the first layer."""
        if not self.ranks.is_first:
            return
        config = self.config
        about = {
            "arch": config.model,
            "dataset": config.dataset,
            "updates": config.num_updates,
            "image_size": config.image_size,
            "channels": config.channels,
            "mean": config.mean,
            "std": config.std,
        }
        for name, model in self.models.items():
            save_weights(config.output / f"model{name}.safetensors", model, about)
        gray = self.trainer.spec.formula.channels == 1
        draw_filters(self.trainer.model, config.output / "filters.png", gray=gray)
        if self.board is not None:
            self.board.close()


def _tensorboard(folder: Path, update: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RuntimeError(
            "tensorboard is not installed; pip install 'fdsl-gpu[plots]' or leave --tensorboard out"
        ) from error
    return SummaryWriter(str(folder), purge_step=update + 1)
