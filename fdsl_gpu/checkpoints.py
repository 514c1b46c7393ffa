"""Checkpoints of a run: the last one and the one before it, each whole or absent.

A checkpoint is a dictionary as timm writes it ("arch", "state_dict", "state_dict_ema", ...), so
`timm.create_model(name, num_classes=K, checkpoint_path=...)` reads it.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import nn

from fdsl_gpu.files import replacing

__all__ = [
    "LAST",
    "PREVIOUS",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
    "save_weights",
]

LAST: Final = "last.pt"
PREVIOUS: Final = "previous.pt"

_log: Final = logging.getLogger("fdsl_gpu")


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state as the folder's last checkpoint; the last one before becomes the previous.

    Args:
        folder: Folder of the run.
        state: What to save: tensors and plain values only, so that it loads without running code.

    Raises:
        RuntimeError: It cannot be written; the checkpoints that were there are untouched.
    """
    last, fresh = folder / LAST, folder / "fresh.pt"
    with replacing(fresh) as partial:
        _write(partial, state)
    # were the run killed between these two, the previous checkpoint would still be whole
    if last.exists():
        os.replace(last, folder / PREVIOUS)
    os.replace(fresh, last)


def _write(path: Path, state: dict[str, Any]) -> None:
    try:
        with open(path, "wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # torch wraps what the system said
        cause = error.__context__
        raise cause if isinstance(cause, OSError) else error from None


def save_weights(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write a model's weights alone, as safetensors, which `timm.create_model` reads as well.

    Args:
        path: The file.
        model: The model.
        about: What it is; plain values, kept in the metadata of the file.

    Raises:
        RuntimeError: It cannot be written.
    """
    # copies: safetensors refuses tensors that share memory or are not laid out in order
    weights = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    with replacing(path) as partial:
        # one entry: safetensors writes several in a random order
        partial.write_bytes(save(weights, {"fdsl_gpu": json.dumps(about)}))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None in a folder without any.

    An unreadable last checkpoint is set aside, which is logged, so that it cannot push the
    previous one out.

    Raises:
        ValueError: There are checkpoints, and none is readable.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if last.exists():
        try:
            return read_checkpoint(last)
        except ValueError as error:
            if not previous.exists():
                raise
            state = read_checkpoint(previous)
            aside = last.with_name(last.name + ".unreadable")
            os.replace(last, aside)
            _log.warning("%s; set aside as %s, %s is used", error, aside.name, previous.name)
            return state
    return read_checkpoint(previous) if previous.exists() else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file, on the CPU.

    Raises:
        ValueError: The file is truncated or no checkpoint of this project.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, by where the file is cut
        raise ValueError(
            f"{path} is truncated or no checkpoint ({type(error).__name__}); "
            "delete it to start from an older one or from the beginning"
        ) from error
    if not isinstance(state, dict) or not {"state_dict", "settings", "update"} <= state.keys():
        raise ValueError(f"{path} is no checkpoint of fdsl-gpu pretrain")
    return state
