"""Folders of runs: the settings of a run, and logs that can be taken back to an earlier update.

- run.toml: settings; `fdsl-gpu pretrain --config run.toml` starts from them
- log.csv: what was learned; run again on a CPU, the same rows
- speed.csv: how fast: images a second and the share of drawing
- last.pt: the last checkpoint, with all that is needed to go on; previous.pt: the one before
"""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fdsl_gpu.checkpoints import LAST, PREVIOUS
from fdsl_gpu.files import make_folder, replacing, write_error
from fdsl_gpu.settings import dump_settings, load_settings, plain_settings, typed_settings

__all__ = ["SETTINGS", "CsvLog", "check_same_run", "open_run"]

SETTINGS: Final = "run.toml"

_MAY_CHANGE: Final = ("output", "device", "backend", "checkpoint_interval", "tensorboard")
"""Settings that a resumed run may change: they decide neither what is seen nor what is learned."""


def open_run(folder: Path, config: Any, *, resume: bool, command: str = "pretrain") -> None:
    """Make the folder of a new run with its settings, or check that it holds this run.

    Args:
        folder: The folder.
        config: Settings dataclass of the run.
        resume: Whether a run in the folder is to go on.
        command: The command that runs it; only pretrain can go on.

    Raises:
        ValueError: The folder holds a run that is not to be resumed, or another one.
        RuntimeError: The folder cannot be made or written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output must be a folder, and {folder} is a file")
    settings = folder / SETTINGS
    if settings.exists():
        if not resume:
            go_on = "go on with it by --resume, or " if command == "pretrain" else ""
            raise ValueError(f"{folder} holds another run; {go_on}choose another --output")
        saved = plain_settings(load_settings(type(config), settings))
        check_same_run(saved, config, settings)
    elif (folder / LAST).exists() or (folder / PREVIOUS).exists():
        raise ValueError(f"{folder} holds checkpoints but no {SETTINGS}: choose another --output")
    make_folder(folder)
    if not settings.exists():
        with replacing(settings) as partial:
            partial.write_bytes(dump_settings(config, _heading(settings, command)))


def _heading(settings: Path, command: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("fdsl-gpu", "torch", "timm"))
    lines = [f"{packages}, Python {platform.python_version()}"]
    if command == "pretrain":
        lines.append(f"Go on with this run:       fdsl-gpu pretrain --config {settings} --resume")
    lines.append(
        f"Start another one like it: fdsl-gpu {command} --config {settings} --output FOLDER"
    )
    return "\n".join(lines)


def check_same_run(saved: dict[str, Any], config: Any, where: Path) -> None:
    """Check that a run's saved settings are those it is to go on with.

    Settings that came with a newer version of this package are at their defaults in older runs.

    Raises:
        ValueError: They differ in a setting that decides what is seen or learned.
    """
    saved = plain_settings(typed_settings(type(config), saved, where))
    current = plain_settings(config)
    changed = [
        f"{name} ({saved.get(name)!r} there, {current.get(name)!r} here)"
        for name in sorted(saved.keys() | current.keys())
        if name not in _MAY_CHANGE and saved.get(name) != current.get(name)
    ]
    if changed:
        raise ValueError(
            f"{where} is of another run: it differs in {', '.join(changed)}; go on with its own "
            f"settings by --config {where.with_name(SETTINGS)} --resume, or choose another --output"
        )


class CsvLog:
    """A CSV file of rows that start with the number of an update.

    Args:
        path: The file; made with its heading where there is none.
        columns: Names of the columns; the first is "update".
        update: Rows of later updates are dropped: the run goes on from here.

    Raises:
        RuntimeError: The file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], update: int) -> None:
        self.newest: dict[str, float] = {}
        """The last number in each column that has one."""
        self._path = path
        self._columns = list(columns)
        kept: list[list[str]] = []
        if path.exists():
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))[1:]
            # a row cut off by a crash is later than any checkpoint
            kept = [row for row in rows if len(row) == len(columns) and int(row[0]) <= update]
        for row in kept:
            self._note(row)
        with replacing(path) as partial:
            partial.write_bytes("".join(map(_line, [self._columns, *kept])).encode())

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; names that are missing or None leave their cell empty.

        Raises:
            RuntimeError: The row cannot be written; the rows before it are whole.
        """
        cells = ["" if row.get(name) is None else str(row[name]) for name in self._columns]
        line = _line(cells).encode()
        end = self._path.stat().st_size
        try:
            with open(self._path, "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.truncate(self._path, end)
            raise write_error(self._path, error) from error
        self._note(cells)

    def _note(self, cells: Sequence[str]) -> None:
        filled = zip(self._columns, cells, strict=True)
        self.newest |= {name: float(cell) for name, cell in filled if cell}


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
