"""Names of data sets, and what they stand for: a formula with its settings, and a version.

A change that alters any pixel of a data set raises its version; streams and checkpoints carry it.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.catalog import CATALOG, Entry
from fdsl_gpu.coverage import with_coverage
from fdsl_gpu.formulas.base import Formula, Target
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula
from fdsl_gpu.formulas.mixture import MixtureFormula
from fdsl_gpu.plugins import installed_datasets, load_file
from fdsl_gpu.tables import load_ifs_folder, load_ifs_table
from fdsl_gpu.tables3d import is_ifs3d_table, load_ifs3d_table

__all__ = ["DatasetSpec", "did_you_mean", "get_dataset", "list_datasets", "mix"]


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: everything that its pixels depend on but the seed and the index.

    Args:
        name: Its name, as in `list_datasets`, or the path it was loaded from.
        version: Raised with every change that alters a pixel.
        formula: How it is drawn.
    """

    name: str
    version: int
    formula: Formula

    @property
    def num_classes(self) -> int:
        """K: labels are in [0, K)."""
        return self.formula.num_classes

    @property
    def target(self) -> Target:
        """What a target is: a class label, a multi-hot vector or a mask."""
        return self.formula.target

    @property
    def maps(self) -> NDArray[np.float64]:
        """IFS families: coefficients (a, b, c, d, e, f), [K, M, 6]; NaN beyond its own maps."""
        return self._ifs_table("maps")

    @property
    def probs(self) -> NDArray[np.float64]:
        """IFS families: probabilities of the maps, [K, M]; 0 beyond its own maps."""
        return self._ifs_table("probs")

    def _ifs_table(self, field: str) -> NDArray[np.float64]:
        table = getattr(self.formula, "table", None)
        if not hasattr(table, field):
            raise ValueError(f"data set {self.name!r} is not an IFS family: it has no .{field}")
        values: NDArray[np.float64] = getattr(table, field)
        return values[: self.num_classes]

    def replace(self, **settings: Any) -> DatasetSpec:
        """The same data set with other settings of its formula.

        Raises:
            ValueError: A setting is unknown or out of range.

        Example:
            >>> get_dataset("fractaldb-1k").replace(num_points=50_000).formula.num_steps
            49
        """
        known = self.settings()
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"data set {self.name!r} has no setting {name!r}; "
                    f"{did_you_mean(name, known)}its settings are {sorted(known)}"
                )
        formula: Any = dataclasses.replace(self.formula, **settings)  # type: ignore[type-var]
        if settings.get("min_coverage") and formula.table.coverage is None:
            formula = dataclasses.replace(formula, table=with_coverage(formula.table))
        return dataclasses.replace(self, formula=formula)

    def settings(self) -> dict[str, Any]:
        """The formula's settings as plain values, without its tables and parts."""
        return _plain_settings(self.formula)

    def identity(self) -> dict[str, Any]:
        """What pixels depend on but seed and index, as plain values: a state is good for that.

        Settings at their defaults are left out, so that a setting that is added later, with a
        default that changes no pixel, leaves states as good as they were.
        """
        parts = [_changed_settings(part) for part in getattr(self.formula, "parts", ())]
        return {
            "dataset": self.name,
            "version": self.version,
            "settings": _changed_settings(self.formula) | ({"parts": parts} if parts else {}),
        }


def _plain_settings(formula: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(formula):
        return {}
    values = {field.name: getattr(formula, field.name) for field in dataclasses.fields(formula)}
    return {name: value for name, value in values.items() if _is_plain(value)}


def _changed_settings(formula: Any) -> dict[str, Any]:
    settings = _plain_settings(formula)
    if not settings:
        return {}
    defaults = {field.name: field.default for field in dataclasses.fields(formula)}
    return {name: value for name, value in settings.items() if value != defaults[name]}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))


def list_datasets() -> list[str]:
    """Names that `get_dataset` knows: the package's own, and those that installed packages add.

    Example:
        >>> "fractaldb-1k" in list_datasets()
        True
    """
    return sorted(_known())


def get_dataset(name_or_path: str | os.PathLike[str] | DatasetSpec) -> DatasetSpec:
    """The data set of this name, or the one in this folder or table.

    Args:
        name_or_path: A name from `list_datasets`, a mixture such as "fractaldb-1k:3+1p-frac:1", a
            folder of published category files (one CSV a category with the columns a, b, c, d, e,
            f, p), a table that `fdsl-gpu search` wrote (.safetensors), a Python file with a formula
            of your own, or a spec, which is returned as it is.

    Raises:
        ValueError: The name is unknown, or a category file or table is unusable.

    Example:
        >>> get_dataset("fractaldb-1k").num_classes
        1000
    """
    if isinstance(name_or_path, DatasetSpec):
        return name_or_path
    name = os.fspath(name_or_path)
    known = _known()
    if name in known:
        version, make = known[name]
        return DatasetSpec(name, version, make())
    path = Path(name)
    if path.suffix == ".py":
        version, make = load_file(path)
        return DatasetSpec(name, version, make())
    if path.is_dir():
        return DatasetSpec(name, 1, IfsFormula(load_ifs_folder(path)))
    if path.is_file():
        if is_ifs3d_table(path):
            return DatasetSpec(name, 1, Ifs3dFormula(load_ifs3d_table(path)))
        return DatasetSpec(name, 1, IfsFormula(load_ifs_table(path)))
    if "+" in name:
        return _mixture_named(name)
    raise ValueError(
        f"unknown data set {name!r}; {did_you_mean(name, known)}"
        "fdsl_gpu.list_datasets() has all names; a folder of category files or a table works too"
    )


def _known() -> dict[str, Entry]:
    return installed_datasets() | CATALOG


def mix(quotas: Mapping[str | DatasetSpec, int]) -> DatasetSpec:
    """Several data sets as one: labels side by side, each with its quota of every block.

    A mixture has a name that works wherever a data set's does: "fractaldb-1k:3+1p-frac:1".

    Args:
        quotas: Samples of each data set, a name or a spec, in a block of all quotas together.

    Raises:
        ValueError: There are fewer than two data sets, a quota is out of range, or a data set has
            no class labels.

    Example:
        >>> mixture = mix({"fractaldb-1k": 3, "1p-frac": 1})
        >>> mixture.num_classes, mixture.name
        (2000, 'fractaldb-1k:3+1p-frac:1')
    """
    specs = [get_dataset(part) for part in quotas]
    name = "+".join(
        f"{spec.name}:{quota}" for spec, quota in zip(specs, quotas.values(), strict=True)
    )
    formula = MixtureFormula(tuple(spec.formula for spec in specs), tuple(quotas.values()))
    # a sum of versions rises with each of them
    return DatasetSpec(name, sum(spec.version for spec in specs), formula)


def _mixture_named(name: str) -> DatasetSpec:
    quotas: dict[str | DatasetSpec, int] = {}
    for part in name.split("+"):
        dataset, _, quota = part.partition(":")
        if dataset in quotas or (quota and not quota.isdecimal()):
            raise ValueError(
                f"a mixture is named like 'fractaldb-1k:3+1p-frac:1', each data set once with its "
                f"quota (1 if left out), got {name!r}"
            )
        quotas[dataset] = int(quota or 1)
    return mix(quotas)


def did_you_mean(name: str, known: Any) -> str:
    """The start of a cure: the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
