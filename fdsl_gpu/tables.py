"""Tables of IFS categories on disk: safetensors, and folders of published category files (CSV)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdsl_gpu.files import replacing
from fdsl_gpu.formulas.fractaldb import probabilities, weight_rows
from fdsl_gpu.formulas.ifs_table import MAX_MAPS, IfsTable
from fdsl_gpu.frames import cached_boxes

__all__ = [
    "load_ifs_folder",
    "load_ifs_table",
    "load_shipped_table",
    "padded",
    "read_category",
    "save_category",
    "save_ifs_table",
    "save_packed",
]

Float64 = NDArray[np.float64]

FORMAT: Final = "1"
"""Version of the tables written here."""
SUM_TOLERANCE: Final = 1e-6
"""How far from 1 the probabilities of a category may sum; published files stay within 1e-15."""


@lru_cache(maxsize=8)
def load_shipped_table(name: str) -> IfsTable:
    """A table that comes with the package.

    Args:
        name: Name of the data set, such as "fractaldb-1k".

    Raises:
        ValueError: The package has no such table, or it is damaged.

    Example:
        >>> load_shipped_table("fractaldb-1k").maps.shape
        (1000, 7, 6)
    """
    path = Path(__file__).parent / "data" / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(f"the package has no table {name!r}: {path} does not exist")
    return load_ifs_table(path)


def load_ifs_table(path: Path) -> IfsTable:
    """A table of categories, as `save_ifs_table` and `fdsl-gpu search` write it.

    Args:
        path: A safetensors file with maps [K, M, 6] and probs [K, M], and optionally weights
            [R, 6], boxes [K, R, 4] and coverage [K, R], all float64. Weights default to the
            published rows; boxes are computed where they are missing. Or, as `save_packed` writes
            it, with maps [sum of num_maps, 6] and num_maps [K] alone.

    Raises:
        ValueError: The file is not such a table, or its values cannot be used.
    """
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file that can be read: {error}") from error
    if metadata.get("format") != FORMAT or metadata.get("formula") != "ifs":
        raise ValueError(
            f"{path} is not a table of IFS categories in format {FORMAT}; its metadata: {metadata}"
        )
    if "num_maps" in arrays:
        arrays |= _unpacked(path, arrays.get("maps"), arrays.pop("num_maps"))
    maps, probs = arrays.get("maps"), arrays.get("probs")
    weights, boxes = arrays.get("weights", weight_rows()), arrays.get("boxes")
    if maps is None or probs is None or maps.ndim != 3 or probs.shape != maps.shape[:2]:
        raise ValueError(
            f"{path} must hold maps [K, M, 6] and probs [K, M]; it has {_shapes(arrays)}"
        )
    if maps.shape[2] != 6 or weights.shape[1:] != (6,):
        raise ValueError(f"{path} must hold six coefficients a map; it has {_shapes(arrays)}")
    if boxes is not None and boxes.shape != (len(maps), len(weights), 4):
        raise ValueError(f"{path} must hold boxes [K, R, 4] of all; it has {_shapes(arrays)}")
    for number, (rows, shares) in enumerate(zip(maps, probs, strict=True)):
        own = ~np.isnan(rows).all(1)
        check_category(np.column_stack([rows, shares])[own], f"category {number} of {path}")
    coverage = arrays.get("coverage")
    if coverage is not None and coverage.shape != (len(maps), len(weights)):
        raise ValueError(f"{path} must hold coverage [K, R] of all; it has {_shapes(arrays)}")
    if boxes is None:
        boxes = cached_boxes(maps, probs, weights)
    return IfsTable(maps, probs, weights, boxes, coverage)


def save_ifs_table(path: Path, table: IfsTable, **about: Any) -> None:
    """Write a table that `load_ifs_table` reads; the file is whole or not there.

    Args:
        path: The file to make or replace, with the suffix .safetensors.
        table: The categories.
        about: What else to note in the metadata, such as the settings of the search.

    Raises:
        RuntimeError: The folder cannot be written, or the disk is full.
    """
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    metadata |= {"formula": "ifs", "format": FORMAT}
    arrays = {
        "maps": table.maps,
        "probs": table.probs,
        "weights": table.weights,
        "boxes": table.boxes,
        "coverage": table.coverage,
    }
    known = {key: np.ascontiguousarray(value) for key, value in arrays.items() if value is not None}
    with replacing(path) as partial:
        partial.write_bytes(save(known, metadata))  # save_file would hide it from other users


def save_packed(path: Path, table: IfsTable, **about: str) -> None:
    """Write the maps of searched categories alone: an eighth of the whole table.

    Their probabilities follow from the maps, and their frames are computed on first use.

    Args:
        path: The file to make or replace, with the suffix .safetensors.
        table: The categories, with probabilities in proportion to their maps' areas.
        about: What else to note in the metadata.

    Raises:
        ValueError: The probabilities are others.
        RuntimeError: The folder cannot be written, or the disk is full.
    """
    own = np.arange(table.maps.shape[1]) < table.num_maps[:, None]
    maps, num_maps = table.maps[own], table.num_maps.astype(np.uint8)
    if not np.array_equal(_unpacked(path, maps, num_maps)["probs"], table.probs):
        raise ValueError(
            "the categories' probabilities are not those of their areas: use save_ifs_table"
        )
    with replacing(path) as partial:
        about |= {"formula": "ifs", "format": FORMAT}
        partial.write_bytes(save({"maps": maps, "num_maps": num_maps}, about))


def _unpacked(path: Path, maps: Float64 | None, num_maps: NDArray[np.uint8]) -> dict[str, Float64]:
    """Maps [K, M, 6] and probs [K, M] of the maps [sum of num_maps, 6] that lie end to end."""
    ends = np.cumsum(num_maps, dtype=np.int64)
    if maps is None or maps.ndim != 2 or not len(ends) or ends[-1] != len(maps):
        raise ValueError(f"{path} must hold as many maps [sum of num_maps, 6] as num_maps says")
    categories = np.split(maps, ends[:-1])
    whole = padded([np.column_stack([each, probabilities(each)]) for each in categories])
    return dict(zip(("maps", "probs"), whole, strict=True))


def load_ifs_folder(path: Path) -> IfsTable:
    """The categories of a folder as the published search writes it, with the published weight rows.

    Their frames are computed on first use and cached on disk.

    Args:
        path: A folder of CSV files, one a category, in the order of their names; a row a map with
            the columns a, b, c, d, e, f, p and no heading.

    Raises:
        ValueError: There is no CSV file, or one of them is unusable: another number of columns, a
            value that is not finite, no row, more than eight, a negative probability, or
            probabilities that do not sum to 1.
    """
    files = sorted(file for file in path.iterdir() if file.suffix == ".csv")
    if not files:
        raise ValueError(f"no category files in {path}: one CSV a category, columns a,b,c,d,e,f,p")
    maps, probs = padded([read_category(file) for file in files])
    weights = weight_rows()
    return IfsTable(maps, probs, weights, cached_boxes(maps, probs, weights))


def save_category(path: Path, category: Float64) -> None:
    """Write one category, [M, 7], as the published search does: `numpy.savetxt` with all digits.

    Raises:
        RuntimeError: The folder cannot be written, or the disk is full.
    """
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savetxt(file, category, delimiter=",")


def padded(categories: list[Float64]) -> tuple[Float64, Float64]:
    """Categories [M, 7] as maps [K, M, 6], NaN beyond their own, and probs [K, M], 0 beyond."""
    most = max(len(category) for category in categories)
    maps, probs = np.full((len(categories), most, 6), np.nan), np.zeros((len(categories), most))
    for number, category in enumerate(categories):
        maps[number, : len(category)], probs[number, : len(category)] = (
            category[:, :6],
            category[:, 6],
        )
    return maps, probs


def check_category(category: Float64, name: str) -> None:
    """Refuse a category [M, 7] that cannot be walked.

    Raises:
        ValueError: No row, more than eight, a value that is not finite, or probabilities that are
            none.
    """
    if not 1 <= len(category) <= MAX_MAPS:
        raise ValueError(f"{name}: a category has 1 to {MAX_MAPS} maps (rows), got {len(category)}")
    if not np.isfinite(category).all():
        row, column = np.argwhere(~np.isfinite(category))[0]
        raise ValueError(
            f"{name}: every value must be a finite number; "
            f"row {row + 1}, column {'abcdefp'[column]} is {category[row, column]}"
        )
    probs = category[:, 6]
    if (probs < 0).any():
        raise ValueError(f"{name}: probabilities must not be negative, got {probs.min()}")
    if abs(probs.sum() - 1) > SUM_TOLERANCE:
        raise ValueError(f"{name}: the probabilities (column p) must sum to 1, got {probs.sum()}")


def read_category(path: Path) -> Float64:  # [M, 7]
    """Read and check one category file; see `load_ifs_folder`."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"category file {path} cannot be read: {error}") from error
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    wrong = {len(row) for row in rows} - {7}
    if wrong:
        raise ValueError(
            f"{path}: a category file has the 7 columns a,b,c,d,e,f,p separated by commas, "
            f"got {wrong.pop()}"
        )
    try:
        category = np.array(rows, np.float64).reshape(-1, 7)
    except ValueError as error:
        raise ValueError(f"{path}: every value must be a number: {error}") from error
    check_category(category, str(path))
    return category


def _shapes(arrays: dict[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {key: value.shape for key, value in arrays.items()}
