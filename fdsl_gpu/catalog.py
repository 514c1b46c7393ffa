"""The data sets that come with the package: name, version, and how its formula is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fdsl_gpu.formulas.base import Formula
from fdsl_gpu.formulas.bezier import BezierFormula
from fdsl_gpu.formulas.contours import RCDB, SEG_RCDB, VISUAL_ATOM
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula
from fdsl_gpu.formulas.ifs_table import IfsTable
from fdsl_gpu.formulas.perlin import PerlinFormula
from fdsl_gpu.tables import load_shipped_table
from fdsl_gpu.tables3d import load_shipped_table_3d

__all__ = ["CATALOG", "Entry"]

Entry = tuple[int, Callable[[], Formula]]
"""The version of a data set, and how its formula is made."""


def _fractaldb_1k() -> Formula:
    return IfsFormula(load_shipped_table("fractaldb-1k"))


def _fractaldb_10k() -> Formula:
    """The search of fractaldb-1k carried on; its frames take a minute, once."""
    return IfsFormula(load_shipped_table("fractaldb-10k"))


def _fractaldb_1k_color() -> Formula:
    return IfsFormula(load_shipped_table("fractaldb-1k"), drawing="patch_color")


def _ofdb_1k() -> Formula:
    """As published: its code takes the first weight row, which multiplies every a by 0.2."""
    return _one_image_a_category(load_shipped_table("fractaldb-1k").with_rows(0))


def _ofdb_1k_paper() -> Formula:
    """As the paper means it: each category with its own parameters (weight row 2 is all ones)."""
    return _one_image_a_category(load_shipped_table("fractaldb-1k").with_rows(2))


def _one_image_a_category(table: IfsTable, **settings: Any) -> Formula:
    return IfsFormula(table, instances="published", num_turns=1, num_patches=1, **settings)


def _one_p_frac(delta: float) -> Formula:
    return _one_image_a_category(load_shipped_table(f"1p-frac-{delta}"), num_points=100_000)


def _exfractaldb_1k() -> Formula:
    """Views at random, as the paper has them."""
    return Ifs3dFormula(load_shipped_table_3d("exfractaldb-1k"))


def _mvfractaldb_1k() -> Formula:
    """Twelve views on the equator: what the program published for ExFractalDB draws, too."""
    return Ifs3dFormula(load_shipped_table_3d("exfractaldb-1k"), views="equator12")


def _ofdb_3d_1k(row: int) -> Formula:
    """One weight row, whose twelve views are stored once."""
    table = load_shipped_table_3d("exfractaldb-1k").with_one_row(row, otherwise=6)
    return Ifs3dFormula(table, views="equator12", walks="fixed")


CATALOG: Final[dict[str, Entry]] = {
    "fractaldb-1k": (1, _fractaldb_1k),
    "fractaldb-10k": (1, _fractaldb_10k),
    "fractaldb-1k-color": (1, _fractaldb_1k_color),
    "ofdb-1k": (1, _ofdb_1k),
    "ofdb-1k-paper": (1, _ofdb_1k_paper),
    "1p-frac": (1, partial(_one_p_frac, 0.1)),
    "1p-frac-0.01": (1, partial(_one_p_frac, 0.01)),
    "1p-frac-0.05": (1, partial(_one_p_frac, 0.05)),
    "1p-frac-0.2": (1, partial(_one_p_frac, 0.2)),
    "exfractaldb-1k": (1, _exfractaldb_1k),
    "mvfractaldb-1k": (1, _mvfractaldb_1k),
    # as published, the first weight row multiplies every a by 0.4; row 6 is all ones
    "3d-ofdb-1k": (1, partial(_ofdb_3d_1k, 0)),
    "3d-ofdb-1k-paper": (1, partial(_ofdb_3d_1k, 6)),
    "wacv-1k": (1, GradedIfsFormula),
    # a fractal is at most 0.6 of the image wide: 30,000 points fill it
    "wacv-1k-multi": (
        1,
        partial(GradedIfsFormula, fractals=(1, 5), jitter="none", num_points=30_000),
    ),
    "rcdb-1k": (1, partial(dataclasses.replace, RCDB)),
    "rcdb-21k": (1, partial(dataclasses.replace, RCDB, num_categories=21_000)),
    "visualatom-1k": (1, partial(dataclasses.replace, VISUAL_ATOM)),
    # the defaults of the published program rather than the script that calls it
    "visualatom-1k-argparse": (
        1,
        partial(
            dataclasses.replace,
            VISUAL_ATOM,
            min_noise=2.0,
            max_noise=6.0,
            max_growth=0.01,
            min_radius=0,
            max_radius=50,
        ),
    ),
    "visualatom-21k": (1, partial(dataclasses.replace, VISUAL_ATOM, num_categories=21_000)),
    "bezier-1k": (1, BezierFormula),
    "perlin-100": (1, PerlinFormula),
    "perlin-1k": (1, partial(PerlinFormula, num_frequencies=32, num_categories=1000)),
    "segrcdb": (1, partial(dataclasses.replace, SEG_RCDB)),
}
