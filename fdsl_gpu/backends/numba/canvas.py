"""A canvas of bits, as `backends.numba.painting` paints it: sizes, shades, and a thread's arrays.

Bits lie in strips of sixteen rows, one uint16 a column: a 3x3 patch is three neighbours and fits
into 64 bits, and all of it into one strip for seven points of eight.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.bits import BYTES
from fdsl_gpu.backends.numba.compiling import plain
from fdsl_gpu.backends.numba.lanes import LANES
from fdsl_gpu.formulas.ifs import lit_value, palette

__all__ = [
    "BATCH",
    "STRIP",
    "Layout",
    "Places",
    "Scratch",
    "Shading",
    "layout",
    "places_of",
    "scratch",
    "shading",
]

MAX_SIZE: Final = 32_000
"""Side of a canvas: rows, columns and the columns of a strip are numbers of fifteen bits."""
STRIP: Final = 16
"""Rows of a strip: bits of a uint16."""
MAX_KEPT: Final = 2**18
"""Points kept at once, a power of two; longer walks are walked twice, in parts."""
BATCH: Final = 256
"""Points looked at before it is seen whether there are as many to paint."""


class Layout(NamedTuple):
    """Sizes of a drawing, and in which order the steps of its walks are made."""

    size: int
    pitch: int  # columns of a strip
    num_walks: int
    num_steps: int
    burn_in: int
    runs: NDArray[np.int64]  # [R, 5] see _runs


class Places(NamedTuple):
    """How each canvas becomes an image: arrays of an instance."""

    patch_key: NDArray[np.uint32]  # [N, 2]
    orientation: NDArray[np.int32]  # [N]
    corner: NDArray[np.int32]  # [N, 2]


class Shading(NamedTuple):
    """How points become pixels."""

    patch: bool
    color: bool
    value: int
    mask: int  # 0 drawn for each point, 1 for each image, 2 full
    patterns: NDArray[np.uint64]  # [512] bits of a mask as they lie in strips
    upper: NDArray[np.uint64]  # [16] all bits of a patch from a row of a strip on
    lower: NDArray[np.uint64]  # [16] and those in the strip below
    table: NDArray[np.uint8]  # [128, 3] hues


class Scratch(NamedTuple):
    """Arrays that a thread keeps: fresh memory costs time."""

    state: NDArray[np.float32]  # [D, W] where the walks are
    saved: NDArray[np.float32]  # [parts, D, W]
    points: NDArray[np.uint32]
    blank: NDArray[np.uint16]  # `covered` of an empty canvas
    covered: NDArray[np.uint16]
    lit: NDArray[np.uint16]
    closed: NDArray[np.uint16]
    turned: NDArray[np.uint16]  # `lit` with rows or columns exchanged or mirrored
    hues: NDArray[np.uint8]  # rows of `pitch` columns; empty without colour
    fresh: NDArray[np.uint64]  # [2, ...] what the points found have lit; empty without colour
    found: NDArray[np.uint32]
    spots: NDArray[np.uint32]  # where their patches begin: element * 16 + row of the strip
    masks: NDArray[np.uint32]
    line: NDArray[np.uint8]


def layout(instance: Any) -> Layout:
    """The layout of an instance of walks on a canvas."""
    walks, size = instance.num_walks, instance.canvas_size
    if size > MAX_SIZE:
        raise ValueError(f"canvas_size must be at most {MAX_SIZE} on this backend, got {size}")
    runs = _runs(instance.num_steps, instance.burn_in, MAX_KEPT // (2 * walks))
    # three columns and rows for the patches of the last ones; whole cache lines
    pitch = -(-(size + 4) // 32) * 32
    return Layout(size, pitch, walks, instance.num_steps, instance.burn_in, runs)


def _runs(num_steps: int, burn_in: int, part: int) -> NDArray[np.int64]:
    """Which pairs of steps to walk, in order: (first, last, state to begin with, to save, keep).

    The last part is painted first. Of walks longer than one part, the state before each part is
    saved on the way there, and the parts before the last are walked again from it.
    """
    first, last = burn_in // 2, (burn_in + num_steps + 1) // 2
    starts = list(range(first, last, part))
    skipped = [(0, first, -1, 0 if len(starts) > 1 else -1, 0)]
    skipped += [(start, start + part, -1, k + 1, 0) for k, start in enumerate(starts[:-1])]
    kept = [(start, min(start + part, last), k, -1, 1) for k, start in enumerate(starts)]
    kept[-1] = (*kept[-1][:2], -1, -1, 1)
    return np.array(skipped + kept[::-1], np.int64)


def places_of(instance: Any) -> Places:
    """The places of an instance, as compiled code takes them."""
    return Places(
        plain(instance.patch_key, np.uint32),
        plain(instance.orientation, np.int32),
        plain(instance.corner, np.int32),
    )


def shading(instance: Any) -> Shading:
    """How the points of an instance become pixels."""
    drawing = instance.drawing
    patch = drawing.startswith("patch")
    mask = ("per_point", "per_image", "full").index(instance.mask) if patch else 2
    color, patterns = drawing.endswith("color"), (_PATCHES if patch else _POINTS)
    value = 255 if color else lit_value(drawing)
    return Shading(patch, color, value, mask, patterns, *_halves(int(patterns[511])), _HUES)


def _patterns(cells: int) -> NDArray[np.uint64]:
    """The first cells x cells bits of each mask, column by column, sixteen bits apart."""
    masks = np.arange(512, dtype=np.uint64)
    patterns = np.zeros(512, np.uint64)
    for row in range(cells):
        for column in range(cells):
            # nine bits in row-major order, the most significant first
            bit = (masks >> np.uint64(8 - 3 * row - column)) & np.uint64(1)
            patterns |= bit << np.uint64(STRIP * column + row)
    return patterns


def _halves(cells: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Cells of a pattern in the strip of their first row, for each row, and in the one below."""
    column, columns = 2**STRIP - 1, range(0, 64, STRIP)
    shifted = [[(cells >> at & column) << row for at in columns] for row in range(STRIP)]
    upper = [
        sum((bits & column) << at for bits, at in zip(s, columns, strict=True)) for s in shifted
    ]
    lower = [
        sum((bits >> STRIP) << at for bits, at in zip(s, columns, strict=True)) for s in shifted
    ]
    return np.array(upper, np.uint64), np.array(lower, np.uint64)


_PATCHES: Final = _patterns(3)
_POINTS: Final = _patterns(1)
_HUES: Final = palette()
_local: Final = threading.local()


def scratch(layout: Layout, shading: Shading, dimensions: int) -> Scratch:
    """The arrays of this thread for a layout; those of the last one are kept."""
    key = (layout.size, layout.num_walks, layout.runs.tobytes(), shading.color, dimensions)
    if getattr(_local, "key", None) != key:
        _local.scratch, _local.key = _new_scratch(layout, shading, dimensions), key
    arrays: Scratch = _local.scratch
    return arrays


def _new_scratch(layout: Layout, shading: Shading, dimensions: int) -> Scratch:
    size, pitch, walks, runs = layout.size, layout.pitch, layout.num_walks, layout.runs
    kept = int(((runs[:, 1] - runs[:, 0]) * runs[:, 4]).max()) * 2 * walks
    # two strips more than there are rows: the last one looks at the one below, and over its end
    strips = (size + 3) // STRIP + 3
    bits = strips * pitch
    outside = np.ones((strips, STRIP, pitch), np.uint16)
    outside.reshape(-1, pitch)[:size, :size] = 0
    blank = outside << np.arange(STRIP, dtype=np.uint16)[:, None]
    full = np.full(bits, 2**16 - 1, np.uint16)
    return Scratch(
        state=_aligned(np.zeros((dimensions, walks), np.float32)),
        saved=_aligned(np.zeros((int(runs[:, 3].max()) + 1, dimensions, walks), np.float32)),
        points=_aligned(np.zeros(kept, np.uint32)),
        blank=_aligned(np.bitwise_or.reduce(blank, 1).ravel()),
        covered=_aligned(full),
        lit=_aligned(full),
        closed=_aligned(full),
        turned=_aligned(full),
        hues=np.zeros(strips * STRIP * pitch if shading.color else 0, np.uint8),
        fresh=np.zeros((2, 2 * BATCH if shading.color else 0), np.uint64),
        found=_aligned(np.zeros(2 * BATCH + LANES, np.uint32)),
        spots=_aligned(np.zeros(2 * BATCH + LANES, np.uint32)),
        masks=_aligned(np.zeros(2 * BATCH + LANES, np.uint32)),
        line=_aligned(np.zeros(pitch + BYTES, np.uint8)),
    )


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins with a cache line: a vector that lies in two of them costs twice."""
    memory = np.empty(values.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[:] = values
    return copy
