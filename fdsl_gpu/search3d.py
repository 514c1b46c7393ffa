"""Search for 3D categories as published: random systems whose walk spreads along every axis.

A candidate is a function of (seed, number), so a search is the list of numbers that passed; stopped
at any moment, it goes on with the next number and finds the same categories.

Source: Yamada et al., MV-FractalDB, IROS 2021, section III; the published search
(CVPR2022-Pretrained-ViT-PyTorch, exfractaldb_render: category_search).
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import tyro

from fdsl_gpu.cores import num_cores
from fdsl_gpu.files import make_folder, replacing
from fdsl_gpu.formulas.exfractaldb import MAX_MAPS, NUM_COEFFICIENTS, candidate, probabilities
from fdsl_gpu.search_state import SAVE_SECONDS, Progress, SearchResult
from fdsl_gpu.settings import dump_settings
from fdsl_gpu.tables3d import save_ifs3d_table

__all__ = ["Search3dConfig", "search_3d"]

SETTINGS_FILE: Final = "search.toml"
STATE_FILE: Final = "search.json"
TABLE_FILE: Final = "table.safetensors"
BLOCK: Final = 16
"""Candidates that a core takes at once: some 10 ms."""

_log: Final = logging.getLogger("fdsl_gpu")


@dataclass(frozen=True)
class Search3dConfig:
    """Search for 3D categories as published. Started again, it goes on.

    The defaults find the categories of exfractaldb-1k.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/search-3d")
    """Folder to fill: table.safetensors, which every command takes as a data set."""
    num_categories: int = 1000
    """Categories to find. A finished search may be given more later."""
    min_variance: float = 0.05
    """Least variance on each axis: 0.05 in the published scripts, 0.15 in the program's default."""
    seed: int = 0
    """Seed of the candidates."""
    max_rejected: int = 100_000
    """Candidates in a row that may fail before the search gives up. By default one of 82 passes."""


@dataclass
class _State:
    """How many candidates were walked, and the numbers of those that passed."""

    num_candidates: int = 0
    found: list[int] = field(default_factory=list)


def search_3d(config: Search3dConfig, progress: Progress | None = None) -> SearchResult:
    """Find categories and write them as a table.

    It may end at any moment, by SIGKILL too: started again with the same settings it goes on and
    finds the same categories.

    Args:
        config: The settings.
        progress: Is told of every category found.

    Returns:
        The folder and what is in it.

    Raises:
        ValueError: A setting is out of range, or the folder holds something else.
        RuntimeError: `max_rejected` candidates in a row failed, or the folder cannot be written;
            what was found before is kept.

    Source:
        Yamada et al., IROS 2021, section III.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> search_3d(Search3dConfig(folder, num_categories=1, min_variance=0.02)).num_categories
        1
    """
    _check(config)
    make_folder(config.output)
    state = _load(config)
    with replacing(config.output / SETTINGS_FILE) as partial:
        partial.write_bytes(dump_settings(config, f"fdsl-gpu {version('fdsl-gpu')} search-3d"))
    if len(state.found) < config.num_categories:
        try:
            _extend(config, state, progress)
        finally:
            _save(config, state)
    maps = np.full((len(state.found), MAX_MAPS, NUM_COEFFICIENTS), np.nan)
    probs = np.zeros((len(state.found), MAX_MAPS))
    for row, number in enumerate(state.found):
        own = candidate(config.seed, number)
        maps[row, : len(own)], probs[row, : len(own)] = own, probabilities(own)
    save_ifs3d_table(
        config.output / TABLE_FILE,
        maps,
        probs,
        search=_settings(config),
        num_candidates=state.num_candidates,
    )
    return SearchResult(config.output, len(state.found), state.num_candidates)


def _extend(config: Search3dConfig, state: _State, progress: Progress | None) -> None:
    """Walk candidates until there are categories enough."""
    rejected, saved = 0, time.monotonic()
    with closing(_verdicts(config, state.num_candidates)) as verdicts:
        while len(state.found) < config.num_categories:
            if rejected == config.max_rejected:
                raise RuntimeError(
                    f"{rejected} candidates in a row have a variance below {config.min_variance} "
                    f"on some axis; {len(state.found)} of {config.num_categories} categories were "
                    f"found and are kept in {config.output}: lower min_variance, or start again to "
                    "go on"
                )
            passed = next(verdicts)
            rejected = 0 if passed else rejected + 1
            if passed:
                state.found.append(state.num_candidates)
            state.num_candidates += 1
            if passed and progress is not None:
                progress("categories", len(state.found), config.num_categories)
            if time.monotonic() > saved + SAVE_SECONDS:
                _save(config, state)
                saved = time.monotonic()


def _verdicts(config: Search3dConfig, first: int) -> Generator[bool, None, None]:
    """Whether each candidate passes, in order, from `first` on; all cores walk some way ahead."""
    from fdsl_gpu.backends.numba.exfractaldb import spread

    def judge(block: int) -> list[bool]:
        passed = []
        for number in range(block, block + BLOCK):
            maps = candidate(config.seed, number)
            # a walk that overflows has a variance of NaN, which fails
            passed.append(bool((spread(maps, probabilities(maps)) > config.min_variance).all()))
        return passed

    blocks = itertools.count(first, BLOCK)
    with ThreadPoolExecutor(num_cores()) as pool:
        pending = deque(pool.submit(judge, next(blocks)) for _ in range(4 * num_cores()))
        try:
            while True:
                yield from pending.popleft().result()
                pending.append(pool.submit(judge, next(blocks)))
        finally:
            pool.shutdown(cancel_futures=True)


def _check(config: Search3dConfig) -> None:
    rules = [
        ("num_categories", 1 <= config.num_categories <= 100_000, "in [1, 100000]"),
        # coordinates in [-1, 1] have a variance of at most 1
        ("min_variance", 0 < config.min_variance < 1, "in (0, 1)"),
        ("seed", 0 <= config.seed < 2**64, "in [0, 2**64)"),
        ("max_rejected", config.max_rejected >= 1, "at least 1"),
    ]
    for name, holds, rule in rules:
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {getattr(config, name)}")


def _settings(config: Search3dConfig) -> dict[str, Any]:
    """The settings that the candidates and the verdicts on them depend on."""
    return {"min_variance": config.min_variance, "seed": config.seed}


def _save(config: Search3dConfig, state: _State) -> None:
    content = json.dumps({"settings": _settings(config), **vars(state)})
    with replacing(config.output / STATE_FILE) as partial:
        partial.write_text(content)


def _load(config: Search3dConfig) -> _State:
    """Where the search in the folder stands, or the start of one."""
    path = config.output / STATE_FILE
    if not path.exists():
        return _State()
    try:
        saved = json.loads(path.read_text())
        settings = saved.pop("settings")
        state = _State(**saved)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not the state of a search ({error}): choose another output"
        ) from error
    if settings != _settings(config):
        raise ValueError(
            f"{path} is of a search with {settings}, not {_settings(config)}: choose another output"
        )
    if len(state.found) > config.num_categories:
        raise ValueError(
            f"{config.output} holds {len(state.found)} categories already, more than "
            f"num_categories {config.num_categories}: ask for as many, or choose another output"
        )
    _log.info("the search in %s goes on after %d categories", config.output, len(state.found))
    return state
