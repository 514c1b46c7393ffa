"""Weights from files: this project's, timm's, and those that authors published, into a timm model.

What is in a file is compared with the model tensor by tensor before anything is copied; the head,
whose classes differ from task to task, is the only part that may be left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

__all__ = ["LoadReport", "WeightsFile", "load_weights", "read_weights"]

WRAPPERS: Final = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which checkpoints keep the weights; the average of weights first, as timm has it."""
PREFIXES: Final = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
NUM_SHOWN: Final = 5

_log: Final = logging.getLogger("fdsl_gpu")


@dataclass(frozen=True)
class WeightsFile:
    """Weights that a file holds.

    Args:
        path: The file.
        tensors: By name, without the prefixes of wrappers.
        arch: Name of the model, where the file tells.
        about: What else this project writes beside weights: classes, image_size, mean, std.
    """

    path: Path
    tensors: dict[str, Tensor]
    arch: str | None = None
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadReport:
    """What of a file went into a model.

    Args:
        loaded: Names of the model's tensors that came from the file.
        fresh: Names of the model's tensors that kept their own values.
        unused: Names in the file that went nowhere.
        num_values: Numbers loaded.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    num_values: int

    def __str__(self) -> str:
        """One line for a log."""
        text = f"loaded {len(self.loaded)} tensors, {self.num_values:,} values"
        if self.fresh:
            text += f"; new: {_some(self.fresh)}"
        if self.unused:
            text += f"; in the file but not used: {_some(self.unused)}"
        return text


def read_weights(path: Path) -> WeightsFile:
    """The weights in a file, on the CPU; nothing in the file is run.

    Args:
        path: Safetensors, or a checkpoint of torch.save: weights alone, or under state_dict or
            model as timm, DeiT and the programs of FractalDB's authors write them, with or without
            the prefix of DataParallel. A folder of a run means its model.safetensors.

    Raises:
        ValueError: There is no such file, it is damaged, or it holds no weights.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"there is no file of weights {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    # DeiT's checkpoints hold their command line in a Namespace: plain values, no code
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, by where the file is damaged
        raise ValueError(
            f"{path} is damaged, or holds more than weights and plain values "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200]}); save its state_dict "
            "alone with torch.save"
        ) from error
    checkpoint = content if isinstance(content, dict) else {}
    arch, settings = checkpoint.get("arch"), checkpoint.get("settings")
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = dict(content) if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(
            f"{path} holds no weights: expected tensors by name, alone or under one of {WRAPPERS}"
        )
    return WeightsFile(
        path,
        _bare(tensors),
        arch if isinstance(arch, str) else None,
        settings if isinstance(settings, dict) else {},
    )


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("fdsl_gpu", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    return WeightsFile(path, _bare(tensors), about.get("arch"), about)


def _bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without prefixes that all names share."""
    bare = dict(tensors)
    while bare and (
        prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in bare)), "")
    ):
        bare = {name[len(prefix) :]: value for name, value in bare.items()}
    return bare


def load_weights(
    model: nn.Module, weights: WeightsFile, *, new_head: bool, partial: bool = False
) -> LoadReport:
    """Copy weights into a timm model.

    Args:
        model: A timm model.
        weights: What to copy. Position embeddings of another image size are resized.
        new_head: Leave the classifier of the model as it is; otherwise it must be in the file.
        partial: Load what fits and leave the rest, where otherwise everything must fit.

    Raises:
        ValueError: The weights are of another architecture or another number of classes.
    """
    tensors = _as_timm_has_it(model, weights.tensors)
    own = model.state_dict()
    heads = _head_names(model)

    def in_head(name: str) -> bool:
        return any(name.startswith(head + ".") for head in heads)

    fits = {
        name: value
        for name, value in tensors.items()
        if name in own and own[name].shape == value.shape and not (new_head and in_head(name))
    }
    fresh = tuple(name for name in own if name not in fits)
    unused = tuple(name for name in tensors if name not in fits)
    # old checkpoints have no counters of batches, and nothing is computed from them
    missing = [name for name in fresh if not name.endswith("num_batches_tracked")]
    leftover = list(unused)
    if new_head:
        # a distilled DeiT has a second head
        missing = [name for name in missing if not in_head(name)]
        leftover = [name for name in leftover if not in_head(name) and "head" not in name]
    if (missing or leftover) and not partial:
        raise ValueError(_misfit(weights, own, tensors, missing, leftover, in_head))
    if not fits:
        raise ValueError(f"nothing in {weights.path} fits the model")
    model.load_state_dict(fits, strict=False)
    loaded = tuple(fits)
    report = LoadReport(loaded, fresh, unused, sum(value.numel() for value in fits.values()))
    _log.info("%s: %s", weights.path, report)
    return report


def _head_names(model: Any) -> tuple[str, ...]:
    """Names of the layers that give the logits, as timm keeps them."""
    names = (getattr(model, "default_cfg", None) or {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _as_timm_has_it(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names and shapes as this timm model has them, by timm's own rules."""
    module = importlib.import_module(type(model).__module__)
    rules = getattr(module, "checkpoint_filter_fn", None)
    if rules is None:
        return tensors
    try:
        return dict(rules(dict(tensors), model))
    except (KeyError, RuntimeError, AttributeError, ValueError, TypeError):
        return tensors  # of another architecture, which the comparison tells better


def _misfit(
    weights: WeightsFile,
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    missing: list[str],
    leftover: list[str],
    in_head: Any,
) -> str:
    where = f"{weights.path}" + (f" (of {weights.arch})" if weights.arch else "")
    shapes = [
        f"{name} is {list(tensors[name].shape)} there and {list(own[name].shape)} in the model"
        for name in missing
        if name in tensors
    ]
    if shapes and all(in_head(name) for name in [*missing, *leftover]):
        return f"{where} is of another number of classes: {_some(shapes)}"
    parts = [f"{len(missing)} of {len(own)} tensors of the model do not come from it"]
    if shapes:
        parts.append(_some(shapes))
    absent = [name for name in missing if name not in tensors]
    if absent:
        parts.append(f"not there: {_some(absent)}")
    extra = [name for name in leftover if name not in own]
    if extra:
        parts.append(f"only there: {_some(extra)}")
    return f"{where} does not fit the model: {'; '.join(parts)}; name the right --model"


def _some(names: Any) -> str:
    listed = ", ".join(list(names)[:NUM_SHOWN])
    return listed + (f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else "")
