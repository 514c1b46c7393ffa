"""Tables of 3D IFS categories on disk; their frames are computed on first use and cached."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.exfractaldb import NUM_COEFFICIENTS, Float64, weight_rows
from fdsl_gpu.formulas.ifs3d import Ifs3dTable
from fdsl_gpu.frames import cached_frames_3d

__all__ = ["is_ifs3d_table", "load_ifs3d_table", "load_shipped_table_3d", "save_ifs3d_table"]

FORMAT: Final = "1"
"""Version of the tables written here."""


@lru_cache(maxsize=4)
def load_shipped_table_3d(name: str) -> Ifs3dTable:
    """A table that comes with the package.

    Args:
        name: Its name, such as "exfractaldb-1k".
    """
    return load_ifs3d_table(Path(__file__).parent / "data" / f"{name}.safetensors")


def is_ifs3d_table(path: Path) -> bool:
    """Whether a file says that it is a table of 3D categories."""
    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("formula") == "ifs3d"
    except (SafetensorError, OSError):
        return False


def load_ifs3d_table(path: Path) -> Ifs3dTable:
    """A table of categories, as `save_ifs3d_table` and `fdsl-gpu search-3d` write it.

    Args:
        path: A safetensors file with maps [K, M, 12] and probs [K, M], float64.

    Raises:
        ValueError: The file is not such a table, or its values cannot be used.
    """
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file that can be read: {error}") from error
    if metadata.get("format") != FORMAT or metadata.get("formula") != "ifs3d":
        raise ValueError(
            f"{path} is not a table of 3D categories in format {FORMAT}; its metadata: {metadata}"
        )
    maps, probs = arrays.get("maps"), arrays.get("probs")
    if maps is None or probs is None or maps.shape != (*probs.shape, NUM_COEFFICIENTS):
        shapes = {key: value.shape for key, value in arrays.items()}
        raise ValueError(f"{path} must hold maps [K, M, 12] and probs [K, M]; it has {shapes}")
    own = np.isfinite(maps).all(2)
    sums = np.where(own, probs, 0).sum(1)
    wrong = (probs < 0).any(1) | (abs(sums - 1) > 1e-6) | (np.sort(~own, 1) != ~own).any(1)
    if wrong.any():
        raise ValueError(
            f"category {np.flatnonzero(wrong)[0]} of {path}: probabilities must be at least 0 and "
            "sum to 1 over its maps, and rows of NaN may only follow its maps"
        )
    weights = weight_rows()
    return Ifs3dTable(maps, probs, weights, cached_frames_3d(maps, probs, weights))


def save_ifs3d_table(path: Path, maps: Float64, probs: Float64, **about: Any) -> None:
    """Write a table that `load_ifs3d_table` reads; the file is whole or not there.

    Args:
        path: The file to make or replace, with the suffix .safetensors.
        maps: Coefficients, [K, M, 12], NaN beyond a category's own.
        probs: Probabilities of the maps, [K, M], 0 beyond.
        about: What else to note in the metadata, such as the settings of the search.

    Raises:
        RuntimeError: The folder cannot be written, or the disk is full.
    """
    metadata = {key: json.dumps(value) for key, value in about.items()}
    metadata |= {"formula": "ifs3d", "format": FORMAT}
    arrays = {"maps": np.ascontiguousarray(maps), "probs": np.ascontiguousarray(probs)}
    with replacing(path) as partial:
        partial.write_bytes(save(arrays, metadata))
