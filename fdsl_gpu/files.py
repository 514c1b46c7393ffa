"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["make_folder", "replacing", "write_error"]


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A file to write in place of `path`: it takes that name only when it is whole and on the disk.

    Whatever ends the writing early (a full disk, a signal, power) leaves what was there before.

    Args:
        path: The file to make or replace; its folder must exist.
        sync: Wait for the disk, so that it is whole even after a power cut; costs milliseconds.

    Yields:
        Where to write, in the same folder.

    Raises:
        RuntimeError: The folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(path) as partial:
        ...     _ = partial.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    partial = path.with_name(path.name + ".tmp")
    try:
        yield partial
        if sync:
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()
    if sync:
        _sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, and check that files can be written there.

    Raises:
        RuntimeError: It cannot be made or written, or it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission")
    except OSError as error:
        raise write_error(folder, error) from error


def write_error(path: Path, error: OSError) -> RuntimeError:
    """What to raise where the system refuses to write: what, why, and the cure."""
    return RuntimeError(
        f"cannot write {path}: {error.strerror or error}; what was there before is untouched: "
        "make room or choose another place"
    )


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on the disk, where the system can do that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
