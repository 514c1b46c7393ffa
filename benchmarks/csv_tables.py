"""Tables of results as CSV files: read row by row, written whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdsl_gpu.files import replacing

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Whole rows of a table, none if there is no table; a last one that was cut off is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def write_rows(path: Path, columns: Sequence[str], rows: list[Row]) -> None:
    """A table, whole or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
