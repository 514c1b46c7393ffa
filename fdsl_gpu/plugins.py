"""Formulas of your own: from a file by its path, or from an installed package by an entry point."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from fdsl_gpu.catalog import Entry
from fdsl_gpu.formulas.base import Formula

__all__ = ["ENTRY_POINTS", "installed_datasets", "load_file"]

ENTRY_POINTS: Final = "fdsl_gpu.datasets"
"""Group of entry points: name of a data set -> the function or class that makes its formula."""


@lru_cache(maxsize=1)
def installed_datasets() -> dict[str, Entry]:
    """The data sets that installed packages add; nothing is imported before one is asked for."""
    return {point.name: (1, partial(_make, point)) for point in entry_points(group=ENTRY_POINTS)}


def _make(point: EntryPoint) -> Formula:
    formula: Formula = point.load()()
    return formula


def load_file(path: Path) -> Entry:
    """The data set of a Python file: it has one function or class named `formula`.

    Args:
        path: A file whose `formula()` makes a formula, and whose `VERSION`, 1 if it has none, rises
            with every change of its pixels.

    Raises:
        ValueError: There is no such file, it fails when it is run, or it has no `formula`.
    """
    module = _run(path.resolve())
    make = getattr(module, "formula", None)
    if not callable(make):
        raise ValueError(
            f"{path} has no function or class named 'formula' that makes a formula; "
            "see docs/your-own-formula.md"
        )
    return int(getattr(module, "VERSION", 1)), make


@lru_cache(maxsize=64)
def _run(path: Path) -> Any:
    # under its own name, so that DataLoader workers find the formula's class again
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    if path.stem in sys.modules:
        raise ValueError(f"{path} has the name of a module that is imported already; rename it")
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(f"{path} fails when it is run: {error!r}") from error
    return module
