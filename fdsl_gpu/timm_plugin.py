"""Plug drawn data sets into timm: importing this module patches timm, in this process.

After it, the data set names that start with "fdsl/" are drawn. train.py imports it when asked to:

    python train.py --device-modules fdsl_gpu.timm_plugin --dataset fdsl/fractaldb-1k ...

By then a script holds timm's functions under names of its own, so a function is replaced wherever a
loaded module holds it. Other data sets go to timm's own functions, untouched.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from fdsl_gpu.stream import FormulaDataset
from fdsl_gpu.timm import check_num_classes, create_dataset, create_loader

if importlib.util.find_spec("timm.data.naflex_loader"):  # later releases only
    from fdsl_gpu.timm_naflex import create_naflex_loader

__all__ = ["PREFIX"]

PREFIX: Final = "fdsl/"

_models: Final[list[weakref.ref[Any]]] = []
"""The model made last: train.py makes the model, then the data sets that it is to be trained on."""
_runs: Final[dict[str, dict[str, Any]]] = {}
"""What "this" run draws, and what the "resumed" one did, by the names of train.py's options."""


def _create_model(original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    model = original(*arguments, **options)
    _models[:] = [weakref.ref(model)]
    return model


def _create_dataset(
    original: Callable[..., Any], name: str, *arguments: Any, **options: Any
) -> Any:
    if not (name or "").startswith(PREFIX):
        return original(name, *arguments, **options)
    dataset = create_dataset(name[len(PREFIX) :], *arguments, **options)
    if options.get("is_training"):
        _runs["this"] = {
            "dataset": name,
            "seed": dataset.renderer.seed,
            "train_num_samples": options.get("num_samples"),
        }
        _check_resumed()
    for model in _models:
        # 0: a model without a head
        if num_classes := getattr(model(), "num_classes", 0):
            check_num_classes(dataset.renderer.dataset, num_classes)
    return dataset


def _resume(
    original: Callable[..., Any],
    subject: Any,
    checkpoint_path: str,
    *arguments: Any,
    **options: Any,
) -> Any:
    saved = Path(checkpoint_path).with_name("args.yaml")
    if saved.is_file():
        _runs["resumed"] = yaml.safe_load(saved.read_text())
        _check_resumed()
    return original(subject, checkpoint_path, *arguments, **options)


def _check_resumed() -> None:
    """Refuse to go on in another stream of samples; releases differ in what train.py does first."""
    if len(_runs) < 2:
        return
    for name, value in _runs["this"].items():
        if name in _runs["resumed"] and _runs["resumed"][name] != value:
            raise ValueError(
                f"the run to resume has --{name.replace('_', '-')} {_runs['resumed'][name]} in its "
                f"args.yaml, this one {value}: samples would be repeated or left out. Pass the "
                "same, or start anew with --initial-checkpoint"
            )


def _create_loader(
    original: Callable[..., Any], dataset: Any, *arguments: Any, **options: Any
) -> Any:
    ours = create_loader if _is_drawn(dataset) else original
    return ours(dataset, *arguments, **options)


def _create_naflex_loader(
    original: Callable[..., Any], dataset: Any, *arguments: Any, **options: Any
) -> Any:
    ours = create_naflex_loader if _is_drawn(dataset) else original
    return ours(dataset, *arguments, **options)


def _is_drawn(dataset: Any) -> bool:
    """Whether it is a drawn data set, or one in a wrapper of timm's."""
    return isinstance(getattr(dataset, "dataset", dataset), FormulaDataset)


def _replace(original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put the replacement wherever a loaded module holds the original."""
    patched = functools.wraps(original)(functools.partial(replacement, original))
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] != "fdsl_gpu":
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, patched)


for _module, _name, _replacement in (
    ("timm.models", "create_model", _create_model),
    ("timm.models", "resume_checkpoint", _resume),
    ("timm.task", "resume_task_checkpoint", _resume),
    ("timm.data", "create_dataset", _create_dataset),
    ("timm.data", "create_loader", _create_loader),
    ("timm.data", "create_naflex_loader", _create_naflex_loader),
):
    if importlib.util.find_spec(_module):  # some came with later releases
        _original = getattr(importlib.import_module(_module), _name, None)
        if _original is not None:
            _replace(_original, _replacement)
