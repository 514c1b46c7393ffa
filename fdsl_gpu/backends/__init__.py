"""Who draws: NumPy (the definition), Numba (CPU) or Triton (GPU). All give the same uint8 images.

A formula's fast drawings are found by the name of its module: `fdsl_gpu.backends.numba.ifs` draws
what `fdsl_gpu.formulas.ifs` defines. A formula of your own brings them as methods: `draw_numba`,
`draw_triton`.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, get_args

import torch

from fdsl_gpu.formulas.base import Formula

__all__ = ["Backend", "choose", "drawing"]

Backend = Literal["auto", "numpy", "numba", "triton"]
Drawing = Callable[..., None]

_log: Final = logging.getLogger("fdsl_gpu")
_said: Final[set[tuple[str, str, str]]] = set()


def choose(formula: Formula, device: torch.device, backend: str) -> str:
    """The backend that will draw; "auto" is the fastest that the formula has for the device.

    Raises:
        ValueError: The backend is unknown, or the formula has no such drawing.
        RuntimeError: The backend cannot run here.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"unknown backend {backend!r}; choose one of {get_args(Backend)}")
    name = type(formula).__name__
    if backend == "auto":
        wanted = ["numba", "numpy"] if device.type == "cpu" else ["triton", "numba", "numpy"]
        backend = next(option for option in wanted if _has(formula, option))
        if (name, device.type, backend) not in _said:
            _said.add((name, device.type, backend))
            _log.info("%s is drawn by the %s backend on %s", name, backend, device)
    elif not _has(formula, backend):
        raise ValueError(f"{name} has no {backend} drawing; use backend='auto' or 'numpy'")
    if backend == "triton":
        from fdsl_gpu.backends.triton import check_device

        check_device(device)
    return backend


def drawing(formula: Formula, backend: str) -> Drawing:
    """The function of this backend that draws an instance into images [N, C, H, W]."""
    parts = getattr(formula, "parts", ())
    if parts:
        return partial(_draw_parts, [drawing(part, backend) for part in parts])
    own: Drawing | None = getattr(formula, f"draw_{backend}", None)
    if own is not None:
        return own
    draw: Drawing = importlib.import_module(_module(formula, backend)).draw
    return draw


def _draw_parts(drawings: list[Drawing], instance: Any, images: Any) -> None:
    """Each part of a mixture draws its own samples."""
    for draw, places, own in zip(drawings, instance.places, instance.instances, strict=True):
        if len(places):
            drawn = images[places]
            draw(own, drawn)
            images[places] = drawn


def _module(formula: Formula, backend: str) -> str:
    return f"fdsl_gpu.backends.{backend}.{getattr(formula, 'module', '')}"


def _has(formula: Formula, backend: str) -> bool:
    parts = getattr(formula, "parts", ())
    if parts:
        return all(_has(part, backend) for part in parts)
    if hasattr(formula, f"draw_{backend}"):
        return True
    return bool(getattr(formula, "module", "")) and (
        importlib.util.find_spec(_module(formula, backend)) is not None
    )
