"""How much of the canvas each (category, weight row) covers: which variants are nearly blank."""

from __future__ import annotations

import dataclasses
import logging
import time
from functools import lru_cache
from typing import Final

import numpy as np

from fdsl_gpu.backends import drawing
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.ifs_table import IfsTable
from fdsl_gpu.formulas.view import View

__all__ = ["with_coverage"]

SIZE: Final = 224
NUM_POINTS: Final = 50_000
BATCH: Final = 200

_log: Final = logging.getLogger("fdsl_gpu")


@lru_cache(maxsize=4)
def with_coverage(table: IfsTable) -> IfsTable:
    """The table, with the share of the canvas that each (category, weight row) covers.

    Each pair is drawn once with full patches, 224 x 224 pixels and 50,000 points, in its frame.
    The backends draw the same pixels, so the shares are the same everywhere.

    Args:
        table: The categories. 25,000 pairs take some seconds.

    Example:
        >>> from fdsl_gpu.tables import load_shipped_table
        >>> with_coverage(load_shipped_table("1p-frac-0.1").with_rows(0)).coverage.shape
        (1000, 1)
    """
    started = time.perf_counter()
    formula = IfsFormula(
        table,
        mask="full",
        instances="published",
        num_turns=1,
        num_patches=1,
        num_points=NUM_POINTS,
    )
    draw = drawing(formula, "numba")
    coverage = np.empty((len(table.maps), len(table.weights)))
    for indices in np.array_split(
        np.arange(coverage.size, dtype=np.uint64), -(-coverage.size // BATCH)
    ):
        instance = formula.instance(indices, 0, View(SIZE))
        images = np.empty((len(indices), 1, SIZE, SIZE), np.uint8)
        draw(instance, images)
        coverage[instance.label, instance.weight_row] = (images > 0).mean((1, 2, 3))
    _log.info(
        "coverage of %d x %d variants drawn in %.1f s",
        *coverage.shape,
        time.perf_counter() - started,
    )
    return dataclasses.replace(table, coverage=coverage)
