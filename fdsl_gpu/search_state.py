"""What searches have in common, and where one stands, on disk: its generator and what it found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fdsl_gpu.files import replacing

__all__ = ["SAVE_SECONDS", "Progress", "SearchResult", "SearchState", "load_state", "save_state"]

Progress = Callable[[str, int, int], None]
"""Is told what is made ("categories" or "frames"), how many there are, and how many come."""

SAVE_SECONDS: Final = 2.0
"""A killed search walks the candidates of this time again."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found; `str` says it in one sentence.

    Args:
        output: Its folder.
        num_categories: Categories in it.
        num_candidates: Candidates walked for them, since the first start.
    """

    output: Path
    num_categories: int
    num_candidates: int

    def __str__(self) -> str:
        """For people."""
        return (
            f"{self.num_categories:,} categories of {self.num_candidates:,} candidates in "
            f"{self.output}"
        )


@dataclass
class SearchState:
    """A generator before its next candidate, and the numbers of those before it.

    Args:
        key: Words of the generator's state, [624].
        position: Position in them.
        num_candidates: Candidates walked since the first start.
        num_categories: Categories found among them.
    """

    key: NDArray[np.uint32]
    position: int
    num_candidates: int = 0
    num_categories: int = 0


def save_state(path: Path, state: SearchState, settings: dict[str, Any]) -> None:
    """Write where a search with these settings stands; the file is whole or the one before.

    Raises:
        RuntimeError: The folder cannot be written, or the disk is full.
    """
    numbers = {name: value for name, value in vars(state).items() if name != "key"}
    metadata = {"settings": json.dumps(settings), "state": json.dumps(numbers)}
    with replacing(path) as partial:
        partial.write_bytes(save({"key": state.key}, metadata))


def load_state(path: Path, settings: dict[str, Any]) -> SearchState:
    """Where the search with these settings stands.

    Raises:
        ValueError: The file is not the state of a search, or of one with other settings.
    """
    try:
        with safe_open(path, "np") as file:
            metadata, key = file.metadata(), file.get_tensor("key")
        saved = json.loads(metadata["settings"])
        state = SearchState(key, **json.loads(metadata["state"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not the state of a search ({error}): choose another output"
        ) from error
    if saved != settings:
        differences = ", ".join(
            f"{name} {saved.get(name)} there and {value} here"
            for name, value in settings.items()
            if saved.get(name) != value
        )
        raise ValueError(
            f"{path} is of a search with other settings ({differences}): choose another output"
        )
    return state
