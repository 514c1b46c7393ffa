"""Fine-tune a model on real images: choose the learning rate on held-out ones, then test once."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fdsl_gpu.checkpoints import save_weights
from fdsl_gpu.files import replacing
from fdsl_gpu.finetune_config import FinetuneConfig
from fdsl_gpu.fitting import Pictures, fit, new_model, renew_statistics, top1
from fdsl_gpu.runs import CsvLog, open_run
from fdsl_gpu.targets import Target, load_target, pick
from fdsl_gpu.weights import read_weights

__all__ = ["FinetuneConfig", "FinetuneResult", "finetune"]

_log: Final = logging.getLogger("fdsl_gpu")

Report = Callable[[int, int, float], None]
"""(updates done, updates of the run over all learning rates, the loss last logged or NaN)"""


@dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuned model does; also in result.json.

    Args:
        target: The images.
        model: Name of the model.
        checkpoint: What it started from; None for random weights.
        num_train: Images learnt from.
        steps: Updates.
        lr: The learning rate chosen.
        val_top1: Top-1 in per cent on the validation images at each learning rate; None for a rate
            at which the loss became infinite, and everywhere without validation images.
        num_val: Validation images.
        test_top1: Top-1 in per cent on the test split, or None where it was left out.
        num_test: Test images.
    """

    target: str
    model: str
    checkpoint: str | None
    num_train: int
    steps: int
    lr: float
    val_top1: dict[float, float | None]
    num_val: int
    test_top1: float | None
    num_test: int


def finetune(config: FinetuneConfig, report: Report | None = None) -> FinetuneResult:
    """Fine-tune a model on real images.

    The folder `config.output` gets run.toml, log.csv, result.json and model.safetensors.

    Args:
        config: Settings of the run.
        report: Called after each update.

    Returns:
        The learning rate chosen on the validation images, and the top-1 of its model.

    Raises:
        ValueError: A setting, the images or the checkpoint cannot be used.
        RuntimeError: A package or device is missing, a file cannot be written, or the loss became
            infinite at every learning rate.
    """
    config.validate()
    weights = None if config.checkpoint is None else read_weights(config.checkpoint)
    config = config.with_defaults(weights)
    config.validate()
    target = load_target(config.target)
    train, val = pick(target, config.train_per_class, config.val_per_class, config.seed)
    device = torch.device("cuda" if _on_gpu(config) else "cpu")
    # before anything is written: a checkpoint that does not fit ends the run here
    start = new_model(config, len(target.classes), weights, device)
    open_run(config.output, config, resume=False, command="finetune")
    log = CsvLog(config.output / "log.csv", ("update", "lr", "loss", "val_top1"), 0)
    noisy = Pictures(target, config, training=True)
    plain = Pictures(target, config, training=False)
    num_steps = config.num_steps(len(train))
    best, best_lr = None, config.lr[0]
    scores: dict[float, float | None] = {}
    for number, lr in enumerate(config.lr):

        def progress(step: int, loss: float, before: int = number * num_steps) -> None:
            if report is not None:
                report(before + step, num_steps * len(config.lr), loss)

        model = copy.deepcopy(start)
        last = _learn(model, noisy, train, config, lr, device, log, progress)
        scores[lr] = None
        if last is None:
            continue
        if config.renews(len(train)):
            renew_statistics(model, plain, train, config, device)
        if len(val):
            scores[lr] = last["val_top1"] = top1(model, plain, val, config, device)
        log.append(last)
        if best is None or (scores[lr] or 0.0) > (scores[best_lr] or 0.0):
            best, best_lr = model, lr
    if best is None:
        raise RuntimeError(
            f"the loss became infinite at every learning rate of {config.lr}: lower --lr or raise "
            "--warmup-steps"
        )
    # the only place where the test split is seen
    tested = top1(best, plain, target.test, config, device) if config.test else None
    result = FinetuneResult(
        target=config.target,
        model=config.model or "",
        checkpoint=None if config.checkpoint is None else str(config.checkpoint),
        num_train=len(train),
        steps=num_steps,
        lr=best_lr,
        val_top1=scores,
        num_val=len(val),
        test_top1=tested,
        num_test=len(target.test),
    )
    save_weights(config.output / "model.safetensors", best, _about(config, target))
    with replacing(config.output / "result.json") as partial:
        partial.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    return result


def _learn(
    model: nn.Module,
    pictures: Pictures,
    places: NDArray[np.int64],
    config: FinetuneConfig,
    lr: float,
    device: torch.device,
    log: CsvLog,
    progress: Callable[[int, float], None],
) -> dict[str, float] | None:
    """Train at one rate; the last row of its log, or None where the loss became infinite."""
    num_steps = config.num_steps(len(places))
    losses: list[Tensor] = []
    row: dict[str, float] = {}
    for step, loss in enumerate(fit(model, pictures, places, config, lr, device), 1):
        losses.append(loss)
        if step % config.log_interval == 0 or step == num_steps:
            # on a GPU, asking for the loss waits for the updates: not at each of them
            row = {"update": step, "lr": lr, "loss": float(torch.stack(losses).mean())}
            losses.clear()
            if not math.isfinite(row["loss"]):
                _log.warning("learning rate %g: the loss is infinite at update %d", lr, step)
                return None
            if step < num_steps:
                log.append(row)
        progress(step, row.get("loss", math.nan))
    return row


def _on_gpu(config: FinetuneConfig) -> bool:
    return config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())


def _about(config: FinetuneConfig, target: Target) -> dict[str, Any]:
    return {
        "arch": config.model,
        "target": config.target,
        "classes": target.classes,
        "image_size": config.image_size,
        "channels": config.channels,
        "mean": config.mean,
        "std": config.std,
    }
