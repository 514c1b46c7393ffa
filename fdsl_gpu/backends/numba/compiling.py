"""How the loops of this package are compiled, and when compiled code is still the source's."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["cached", "checksum", "compiled", "plain"]

_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}

compiled: Final = numba.njit(**_OPTIONS)
"""Compile a function as a part of those that call it."""

cached: Final = numba.njit(cache=True, **_OPTIONS)
"""Compile a function that Python calls; what was compiled is kept on disk for the next process."""


def checksum(*modules: ModuleType) -> int:
    """Checksum of the source of modules whose functions are compiled into those of another file.

    Numba looks at one file only when it decides whether what it kept is still true. As the default
    of an argument, the checksum is part of the key under which it is kept.
    """
    crc = 0
    for module in modules:
        crc = zlib.crc32(Path(str(module.__file__)).read_bytes(), crc)
    return crc


def plain(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """An array as compiled code takes it; Numba compiles anew for any other kind of array."""
    return np.require(array, dtype, ["C", "W"])
