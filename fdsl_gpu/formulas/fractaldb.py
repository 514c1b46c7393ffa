"""FractalDB as its authors' programs compute it: search, walk, frame and drawing, in float64.

This is what was published, not how samples are streamed (that is `fdsl_gpu.formulas.ifs`): the
category files, the frames and the replay come from here, and every bit of them is held to the
published results.

Source: Kataoka et al., Pre-training without Natural Images, IJCV 2022, section 3; the published
programs (FractalDB-Pretrained-ResNet-PyTorch: param_search, fractal_renderer) where it is silent.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NAN_MARGIN",
    "NUM_POINTS",
    "PAD",
    "canvas",
    "candidate",
    "coverage",
    "drop_nan",
    "frame",
    "probabilities",
    "to_pixels",
    "walk",
    "walk_uniforms",
    "weight_rows",
]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

PAD: Final = 6
"""Empty pixels on every side, at every size."""
NUM_POINTS: Final = 200_000
"""Points of a published image; the search walks half as many."""
WALK_SEED: Final = 100
"""Every image of every category is walked with the same uniforms."""
NAN_MARGIN: Final = 100
"""Points before the first NaN that are deleted along with it."""


def weight_rows(step: float = 0.4) -> Float64:
    """Factors that make the 25 instances of a category: each changes one coefficient of all maps.

    Args:
        step: w of the factors 1 - 2w, 1 - w, 1 + w, 1 + 2w.

    Returns:
        float64 [25, 6], in the order of the published files: a's factors first; row 2 is all ones.

    Example:
        >>> rows = weight_rows()
        >>> rows[:5, 0].tolist(), rows[5:9, 1].tolist()
        ([0.2, 0.6, 1.0, 1.4, 1.8], [0.2, 0.6, 1.4, 1.8])
    """
    # the published factors are decimals in a file: 0.2, where 1 - 2 * 0.4 is 0.19999999999999996
    factors = [round(1 + times * step, 10) for times in (-2, -1, 1, 2)]
    changes = [(column, factor) for column in range(6) for factor in factors]
    changes.insert(2, (0, 1.0))
    rows = np.ones((25, 6))
    for row, (column, factor) in zip(rows, changes, strict=True):
        row[column] = factor
    return rows


def candidate(
    random: np.random.RandomState,
    num_maps: tuple[int, int] = (2, 7),
    coefficients: tuple[float, float] = (-1.0, 1.0),
) -> tuple[Float64, Float64]:
    """The next candidate of a search: its maps, and probabilities in proportion to |ad - bc|.

    Args:
        random: NumPy's legacy generator (MT19937); the candidate's walk goes on with it.
        num_maps: Least and most maps.
        coefficients: Range of the coefficients.

    Returns:
        Maps (a, b, c, d, e, f), [M, 6], and probabilities, [M].
    """
    maps = random.uniform(*coefficients, (random.randint(num_maps[0], num_maps[1] + 1), 6))
    return maps, probabilities(maps)


def probabilities(maps: Float64) -> Float64:
    """How often each of the maps [M, 6] is chosen, [M]: in proportion to |ad - bc|."""
    a, b, c, d = maps.T[:4]
    areas = np.abs(a * d - b * c)
    shares: Float64 = areas / np.cumsum(areas)[-1]  # cumsum adds one by one, as published
    return shares


def walk_uniforms(num_points: int = NUM_POINTS) -> Float64:
    """The uniforms of every published image, [num_points]."""
    return np.random.RandomState(WALK_SEED).random_sample(num_points)


def walk(maps: Float64, probs: Float64, uniforms: Float64) -> tuple[Float64, Float64]:
    """The chaos game from (0, 0), which is itself the first point; the last uniform is not used.

    Args:
        maps: Coefficients, weights included, [M, 6].
        probs: Probabilities of the maps, [M].
        uniforms: One for each point, [T].

    Returns:
        x and y, [T]. They may overflow to infinities and NaN.
    """
    systems, cumulative = maps.tolist(), np.cumsum(probs).tolist()
    x = y = 0.0
    xs, ys = [x], [y]
    for uniform in uniforms[:-1].tolist():
        for (a, b, c, d, e, f), bound in zip(systems, cumulative, strict=True):
            if uniform <= bound:
                x, y = x * a + y * b + e, x * c + y * d + f
                break
        # a uniform above the last bound, by rounding, repeats the point
        xs.append(x)
        ys.append(y)
    return np.array(xs), np.array(ys)


def drop_nan(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """The published NaN rule: delete all NaN and the 100 points before the first, by x, then by y.

    Where there are no 100 points before it, the indices turn negative and delete from the end, as
    published.
    """
    for axis in (0, 1):
        (found,) = np.nonzero(np.isnan((x, y)[axis]))
        if len(found):
            deleted = np.append(np.arange(found[0] - NAN_MARGIN, found[0]), found)
            x, y = np.delete(x, deleted), np.delete(y, deleted)
    return x, y


def frame(x: Float64, y: Float64) -> Float64:
    """The box that the published rescale spreads over the canvas: x min, x max, y min, y max.

    The rescale subtracts a minimum only where it is negative. Where it is positive (the start was
    deleted), the box of the same effect begins at 0. Without points it is NaN.
    """
    if not len(x):
        return np.full(4, np.nan)
    bounds = []
    with np.errstate(invalid="ignore"):
        for values in (x, y):
            low, high = values.min(), values.max()
            bounds += [low, high] if low < 0 else [0.0, high - low]
    return np.array(bounds)


def to_pixels(values: Float64, low: float, high: float, size: int) -> NDArray[np.int64]:
    """Column or row of each coordinate: truncated; 0 where it is NaN, in a frame without extent.

    Args:
        values: Coordinates, [T].
        low: Minimum of the frame.
        high: Maximum of the frame.
        size: Side of the canvas.
    """
    with np.errstate(all="ignore"):
        scaled = (values - low) / (high - low) * float(size - 2 * PAD) + float(PAD)
    # a NaN becomes 0 when C casts it to uint16 on x86, where the published images were made
    return np.where(np.isfinite(scaled), scaled, 0.0).astype(np.int64)


def canvas(x: Float64, y: Float64, size: int) -> Bool:  # [S, S]
    """Pixels that a walk hits, before the published top-bottom flip."""
    x, y = drop_nan(x, y)
    x_min, x_max, y_min, y_max = frame(x, y)
    columns, rows = to_pixels(x, x_min, x_max, size), to_pixels(y, y_min, y_max, size)
    inside = (columns < size) & (rows < size)
    hit = np.zeros((size, size), np.bool_)
    hit[rows[inside], columns[inside]] = True
    return hit


def coverage(hit: Bool) -> Bool:  # [S, S]
    """Pixels under some patch: a 3x3 square at +1..+3 of each hit, cut off at the canvas."""
    size = len(hit)
    covered = np.zeros_like(hit)
    for down in (1, 2, 3):
        for right in (1, 2, 3):
            covered[down:, right:] |= hit[: size - down, : size - right]
    return covered
