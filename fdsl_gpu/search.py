"""Search for categories as FractalDB's authors did: random systems whose walk fills the canvas.

Everything comes from one stream of NumPy's legacy generator, the uniforms of rejected candidates'
walks included. So the categories come in an order, and a search can only go on where it stopped.
One thread runs ahead along the stream, which is cheap; all cores walk the candidates.

Source: Kataoka et al., Pre-training without Natural Images, IJCV 2022, section 3; the published
search (FractalDB-Pretrained-ResNet-PyTorch, param_search) where the paper is silent.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import tyro
from numpy.typing import NDArray

from fdsl_gpu.cores import num_cores
from fdsl_gpu.coverage import with_coverage
from fdsl_gpu.files import make_folder, replacing
from fdsl_gpu.formulas.fractaldb import PAD, weight_rows
from fdsl_gpu.formulas.ifs_table import MAX_MAPS, IfsTable
from fdsl_gpu.frames import cached_boxes
from fdsl_gpu.search_state import (
    SAVE_SECONDS,
    Progress,
    SearchResult,
    SearchState,
    load_state,
    save_state,
)
from fdsl_gpu.settings import dump_settings
from fdsl_gpu.tables import padded, read_category, save_category, save_ifs_table

__all__ = ["SearchConfig", "search"]

SETTINGS_FILE: Final = "search.toml"
STATE_FILE: Final = "search.safetensors"
TABLE_FILE: Final = "table.safetensors"
AHEAD: Final = 32
"""Candidates drawn ahead for each core: some 30 ms of work."""

_log: Final = logging.getLogger("fdsl_gpu")


@dataclass(frozen=True)
class SearchConfig:
    """Search for categories as FractalDB's authors did. Started again, it goes on.

    The defaults find fractaldb-1k.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("runs/search")
    """Folder to fill: category files as published, and table.safetensors with their frames too."""
    num_categories: int = 1000
    """Categories to find. A finished search may be given more later."""
    fill_rate: float = 0.2
    """Share of the canvas that the walk of a category must hit."""
    seed: int = 1
    """Seed of NumPy's legacy generator."""
    num_points: int = 100_000
    """Points of each walk."""
    canvas_size: int = 512
    """Side of the canvas in pixels; 6 on every side stay empty."""
    num_maps: tuple[int, int] = (2, 7)
    """Least and most maps of a category."""
    coefficients: tuple[float, float] = (-1.0, 1.0)
    """Range of the coefficients."""
    max_rejected: int = 20_000
    """Candidates in a row that may fail before the search gives up. By default one of 43 passes."""


@dataclass
class _Candidate:
    category: NDArray[np.float64]  # [M, 7]
    fills: Future[bool]
    key: NDArray[np.uint32]  # the generator after it
    position: int


def search(config: SearchConfig, progress: Progress | None = None) -> SearchResult:
    """Find categories and write each as the published CSV file, and all as a table with frames.

    It may end at any moment, by SIGKILL too: started again with the same settings it goes on and
    finds the same categories. `get_dataset` takes the folder as well as the table in it.

    Args:
        config: The settings.
        progress: Is told of every category found, and of every category whose frames are computed.

    Returns:
        The folder and what is in it.

    Raises:
        ValueError: A setting is out of range, or the folder holds something else.
        RuntimeError: `max_rejected` candidates in a row missed the fill rate, or the folder cannot
            be written; what was found before is kept.

    Source:
        Kataoka et al., IJCV 2022, section 3.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> search(SearchConfig(folder, num_categories=2, canvas_size=64)).num_candidates
        7
    """
    needed = _check(config)
    make_folder(config.output)
    state = _begin(config)
    with replacing(config.output / SETTINGS_FILE) as partial:
        partial.write_bytes(dump_settings(config, f"fdsl-gpu {version('fdsl-gpu')} search"))
    if state.num_categories < config.num_categories:
        try:
            _extend(config, state, needed, progress)
        finally:
            save_state(config.output / STATE_FILE, state, _settings(config))
    _write_table(config, state, progress)
    return SearchResult(config.output, state.num_categories, state.num_candidates)


def _extend(
    config: SearchConfig, state: SearchState, needed: int, progress: Progress | None
) -> None:
    """Walk candidates until there are categories enough."""
    rejected, saved = 0, time.monotonic()
    with closing(_candidates(config, state, needed)) as candidates:
        while state.num_categories < config.num_categories:
            if rejected == config.max_rejected:
                raise RuntimeError(
                    f"{rejected} candidates in a row fill less than {config.fill_rate} of the "
                    f"canvas; {state.num_categories} of {config.num_categories} categories were "
                    f"found and are kept in {config.output}: lower fill_rate, raise num_points, "
                    "or start again to go on"
                )
            candidate = next(candidates)
            found = candidate.fills.result()
            if found:
                save_category(_file(config, state.num_categories), candidate.category)
            rejected = 0 if found else rejected + 1
            state.key, state.position = candidate.key, candidate.position
            state.num_candidates += 1
            state.num_categories += found
            if found and progress is not None:
                progress("categories", state.num_categories, config.num_categories)
            if time.monotonic() > saved + SAVE_SECONDS:
                save_state(config.output / STATE_FILE, state, _settings(config))
                saved = time.monotonic()


def _candidates(
    config: SearchConfig, state: SearchState, needed: int
) -> Generator[_Candidate, None, None]:
    """All candidates in the order of the stream, drawn a little ahead and walked by all cores."""
    from fdsl_gpu.backends.numba import fractaldb, mt19937

    key, position = state.key.copy(), state.position
    pending: deque[_Candidate] = deque()
    with ThreadPoolExecutor(num_cores()) as pool:
        try:
            while True:
                while len(pending) < AHEAD * num_cores():
                    maps, probs, position = mt19937.candidate(
                        key, position, config.num_maps, config.coefficients
                    )
                    fills = pool.submit(
                        fractaldb.fills,
                        maps,
                        probs,
                        key.copy(),
                        position,
                        num_points=config.num_points,
                        size=config.canvas_size,
                        needed=needed,
                    )
                    position = mt19937.advance(key, position, 2 * config.num_points)
                    category = np.column_stack([maps, probs])
                    pending.append(_Candidate(category, fills, key.copy(), position))
                yield pending.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _check(config: SearchConfig) -> int:
    """Check the settings; returns the number of pixels that the fill rate asks for."""
    for name in ("num_maps", "coefficients"):
        if len(getattr(config, name)) != 2:
            raise ValueError(f"{name} must be two numbers, got {getattr(config, name)}")
    size, area = config.canvas_size, config.canvas_size**2
    least, most = config.num_maps
    low, high = config.coefficients
    rules = [
        ("num_categories", 1 <= config.num_categories <= 100_000, "in [1, 100000]"),
        ("fill_rate", 0 < config.fill_rate <= 1, "in (0, 1]"),
        ("seed", 0 <= config.seed < 2**32, "in [0, 2**32)"),
        ("num_points", 100 <= config.num_points <= 10**7, "in [100, 10**7]"),
        ("canvas_size", 2 * PAD < size <= 8192, f"in [{2 * PAD + 1}, 8192]"),
        ("num_maps", 1 <= least <= most <= MAX_MAPS, f"least and most, in [1, {MAX_MAPS}]"),
        ("coefficients", -100 <= low < high <= 100, "low and high, rising, in [-100, 100]"),
        ("max_rejected", config.max_rejected >= 1, "at least 1"),
    ]
    for name, holds, rule in rules:
        if not holds:
            raise ValueError(f"{name} must be {rule}, got {getattr(config, name)}")
    needed = math.ceil(config.fill_rate * area)
    # the published verdict rounds a quotient, not this product
    while (needed - 1) / area >= config.fill_rate:
        needed -= 1
    while needed / area < config.fill_rate:
        needed += 1
    possible = min(config.num_points, (size - 2 * PAD + 1) ** 2)
    if needed > possible:
        raise ValueError(
            f"fill_rate {config.fill_rate} asks for {needed} of {area} pixels, but "
            f"{config.num_points} points inside the padding hit at most {possible}: "
            "lower fill_rate or raise num_points"
        )
    return needed


def _settings(config: SearchConfig) -> dict[str, Any]:
    """The settings that the candidates and the verdicts on them depend on."""
    settings = dataclasses.asdict(config)
    for name in ("output", "num_categories", "max_rejected"):
        del settings[name]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in settings.items()}


def _file(config: SearchConfig, number: int) -> Path:
    return config.output / f"{number:05d}.csv"


def _begin(config: SearchConfig) -> SearchState:
    """Where the search in the folder stands, or the start of one."""
    from fdsl_gpu.backends.numba.mt19937 import seeded

    path = config.output / STATE_FILE
    if not path.exists():
        if any(config.output.glob("*.csv")):
            raise ValueError(
                f"{config.output} holds category files but no {STATE_FILE}, so they are not of "
                "this search: choose another output"
            )
        state = SearchState(*seeded(config.seed))
        save_state(path, state, _settings(config))
        return state
    state = load_state(path, _settings(config))
    if state.num_categories > config.num_categories:
        raise ValueError(
            f"{config.output} holds {state.num_categories} categories already, more than "
            f"num_categories {config.num_categories}: ask for as many, or choose another output"
        )
    _log.info("the search in %s goes on after %d categories", config.output, state.num_categories)
    return state


def _write_table(config: SearchConfig, state: SearchState, progress: Progress | None) -> None:
    """Write the table of all categories with their frames, computed here if they are new."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("frames", done, total)

    files = [_file(config, number) for number in range(state.num_categories)]
    maps, probs = padded([read_category(file) for file in files])
    weights = weight_rows()
    table = IfsTable(maps, probs, weights, cached_boxes(maps, probs, weights, report))
    save_ifs_table(
        config.output / TABLE_FILE,
        with_coverage(table),
        search=_settings(config),
        num_candidates=state.num_candidates,
    )
