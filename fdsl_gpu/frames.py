"""Frames of all (category, weight row): boxes of the published walks, computed once and cached.

They decide where the points of a streamed image fall, so they belong to the data set; fractaldb-1k
ships with them. For other categories they are computed on all cores and kept in $FDSL_GPU_CACHE, or
else in the folder fdsl_gpu of $XDG_CACHE_HOME or ~/.cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.cores import num_cores
from fdsl_gpu.formulas.fractaldb import walk_uniforms

__all__ = ["Progress", "cache_folder", "cached_boxes", "cached_frames_3d", "compute_boxes"]

Float64 = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""

PART: Final = 1000
"""Categories whose frames are kept together: so many are lost at most where it is interrupted."""

_log: Final = logging.getLogger("fdsl_gpu")


def cache_folder() -> Path:
    """Where computed frames are kept."""
    own = os.environ.get("FDSL_GPU_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fdsl_gpu"


def compute_boxes(
    maps: Float64,  # [K, M, 6], NaN beyond a category's own
    probs: Float64,  # [K, M], 0 beyond
    weights: Float64,  # [R, 6]
    progress: Progress | None = None,
) -> Float64:  # [K, R, 4]
    """Walk every category with every weight row, as published, on all cores.

    Args:
        maps: Coefficients (a, b, c, d, e, f).
        probs: Probabilities of the maps.
        weights: Factors of the coefficients.
        progress: Told how many categories are done.

    Returns:
        x min, x max, y min, y max, after the published NaN rule.

    Source:
        The published renderer; Kataoka et al., IJCV 2022, is silent on the frame.
    """
    from fdsl_gpu.backends.numba.fractaldb import boxes

    uniforms = walk_uniforms()
    return _compute(partial(boxes, uniforms=uniforms), maps, probs, weights, progress)


def _compute(
    frames: Callable[[Float64, Float64, Float64], Float64],
    maps: Float64,
    probs: Float64,
    weights: Float64,
    progress: Progress | None,
) -> Float64:
    """The frames of each category with all weight rows, [K, R, 4], on all cores."""
    result = np.empty((len(maps), len(weights), 4))

    def compute(number: int) -> None:
        own = np.isfinite(maps[number, :, 0])
        result[number] = frames(maps[number, own], probs[number, own], weights)

    with ThreadPoolExecutor(num_cores()) as pool:
        try:
            for done, _ in enumerate(pool.map(compute, range(len(maps))), 1):
                if progress is not None:
                    progress(done, len(maps))
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest
    return result


def cached_boxes(
    maps: Float64, probs: Float64, weights: Float64, progress: Progress | None = None
) -> Float64:
    """`compute_boxes`, from the disk where the same categories were computed before."""
    return _cached(
        "published walk of 200,000 points, version 1", compute_boxes, maps, probs, weights, progress
    )


def cached_frames_3d(
    maps: Float64,  # [K, M, 12], NaN beyond a category's own
    probs: Float64,  # [K, M], 0 beyond
    weights: Float64,  # [R, 12]
    progress: Progress | None = None,
) -> Float64:  # [K, R, 4]
    """How every (category, weight row) of 3D systems is normalised: scale and shift.

    NaN where the walk diverges. Computed on first use and kept on the disk, as 2D frames are.
    """
    from fdsl_gpu.backends.numba.exfractaldb import frames

    compute = partial(_compute, frames)
    return _cached("published 3D walk, version 1", compute, maps, probs, weights, progress)


def _cached(
    what: str,
    compute: Callable[[Float64, Float64, Float64, Progress | None], Float64],
    maps: Float64,
    probs: Float64,
    weights: Float64,
    progress: Progress | None,
) -> Float64:
    """What is computed of these arrays, from the disk where it was before; in parts, each kept."""
    parts = []
    for first in range(0, len(maps), PART):
        part = slice(first, first + PART)

        def told(done: int, _: int, first: int = first) -> None:
            if progress is not None:
                progress(first + done, len(maps))

        parts.append(_cached_part(what, compute, maps[part], probs[part], weights, told))
        if len(maps) > PART:
            _log.info("frames of %d of %d categories", first + len(parts[-1]), len(maps))
    return np.concatenate(parts)


def _cached_part(
    what: str,
    compute: Callable[[Float64, Float64, Float64, Progress | None], Float64],
    maps: Float64,
    probs: Float64,
    weights: Float64,
    progress: Progress,
) -> Float64:
    content = hashlib.sha256(what.encode())
    for array in (maps, probs, weights):
        content.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    path = cache_folder() / "frames" / f"{content.hexdigest()[:32]}.npy"
    shape = (len(maps), len(weights), 4)
    try:
        boxes: Float64 = np.load(path)
        if boxes.shape == shape and boxes.dtype == np.float64:
            return boxes
        _log.warning("the frames in %s are damaged; computing them again", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        _log.warning("the frames in %s cannot be read (%s); computing them again", path, error)
    _log.info("computing the frames of %d categories x %d weight rows, once", *shape[:2])
    start = time.perf_counter()
    boxes = compute(maps, probs, weights, progress)
    _log.info("frames computed in %.1f s", time.perf_counter() - start)
    _keep(path, boxes)
    return boxes


def _keep(path: Path, boxes: Float64) -> None:
    # another process may compute the same: each writes its own file, and the last takes the name
    scratch = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as file:
            np.save(file, boxes)
        os.replace(scratch, path)
        _log.info("frames kept in %s", path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        _log.warning(
            "cannot keep the frames (%s), so they will be computed again next time; "
            "set FDSL_GPU_CACHE to a folder that can be written",
            error,
        )
