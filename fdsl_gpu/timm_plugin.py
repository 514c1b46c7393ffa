"""Plug drawn data sets into timm: importing this module patches timm, in this process.

After it, the data set names that start with "fdsl/" are drawn. train.py imports it when asked to:

    python train.py --device-modules fdsl_gpu.timm_plugin --dataset fdsl/fractaldb-1k ...

By then a script holds timm's functions under names of its own, so a function is replaced wherever a
loaded module holds it. Other data sets go to timm's own functions, untouched.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import timm
import timm.data

from fdsl_gpu.stream import FormulaDataset
from fdsl_gpu.timm import check_num_classes, create_dataset, create_loader

__all__ = ["PREFIX"]

PREFIX: Final = "fdsl/"

_models: Final[list[weakref.ref[Any]]] = []
"""The model made last: train.py makes the model, then the data sets that it is to be trained on."""


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
    for model in _models:
        # 0: a model without a head
        if num_classes := getattr(model(), "num_classes", 0):
            check_num_classes(dataset.renderer.dataset, num_classes)
    return dataset


def _create_loader(
    ours: Callable[..., Any],
    original: Callable[..., Any],
    dataset: Any,
    *arguments: Any,
    **options: Any,
) -> Any:
    drawn = isinstance(getattr(dataset, "dataset", dataset), FormulaDataset)
    return (ours if drawn else original)(dataset, *arguments, **options)


def _replace(original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put the replacement wherever a loaded module holds the original."""
    patched = functools.wraps(original)(functools.partial(replacement, original))
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] != "fdsl_gpu":
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, patched)


_replace(timm.create_model, _create_model)
_replace(timm.data.create_dataset, _create_dataset)
_replace(timm.data.create_loader, functools.partial(_create_loader, create_loader))
if hasattr(timm.data, "create_naflex_loader"):
    from fdsl_gpu.timm_naflex import create_naflex_loader

    _replace(
        timm.data.create_naflex_loader, functools.partial(_create_loader, create_naflex_loader)
    )
