"""Polygons and open lines on a grid of pixels: the outline that PIL draws, and the interior.

Vertices are integers: a vertex with a fraction is truncated toward zero first, as PIL does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["crossings", "outline"]

Integers = NDArray[np.int64]


def outline(x: Integers, y: Integers, size: int, closed: bool = True) -> tuple[Integers, Integers]:
    """The pixels of a polygon of lines one pixel wide, those on the canvas.

    Bresenham's line from each vertex to the next, without its last pixel, which the next line
    draws: pixel i of a line lies i along the longer axis and (2 short i + long) // (2 long) along
    the shorter one. A line without length is its one pixel, and so an open polygon ends: with a
    line from its last vertex to itself. These are the pixels of PIL's `ImageDraw.line` along the
    vertices, and back to the first of a closed one.

    Args:
        x: Columns of the vertices, [V].
        y: Rows of the vertices, [V].
        size: Side of the canvas, whose pixels are 0 .. size - 1 on each axis.
        closed: Whether a line leads from the last vertex back to the first.

    Returns:
        Rows and columns of the pixels, in the order of drawing; some occur twice.

    Source:
        Bresenham, Algorithm for Computer Control of a Digital Plotter, IBM Systems Journal 4 (1),
        1965.

    Example:
        >>> rows, columns = outline(np.array([0, 3]), np.array([0, 1]), 8)
        >>> list(zip(rows.tolist(), columns.tolist()))
        [(0, 0), (0, 1), (1, 2), (1, 3), (1, 2), (0, 1)]
    """
    ahead = np.arange(1, len(x) + 1)
    ahead[-1] = 0 if closed else -1
    dx, dy = x[ahead] - x, y[ahead] - y
    long, short = np.maximum(abs(dx), abs(dy)), np.minimum(abs(dx), abs(dy))
    length = np.maximum(long, 1)
    line = np.repeat(np.arange(len(x)), length)
    step = np.arange(len(line)) - (np.cumsum(length) - length)[line]
    aside = (2 * short[line] * step + long[line]) // (2 * length[line])
    steep = (abs(dy) >= abs(dx))[line]
    columns = x[line] + np.sign(dx)[line] * np.where(steep, aside, step)
    rows = y[line] + np.sign(dy)[line] * np.where(steep, step, aside)
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    return rows[inside], columns[inside]


def crossings(x: Integers, y: Integers, size: int) -> tuple[Integers, Integers]:
    """Where a row of pixels passes into or out of a polygon: the even-odd rule.

    A row crosses each edge that starts on or above it and ends below it. The first pixel on or
    after the crossing is where inside and outside change places, so a pixel lies inside where an
    odd number of crossings has a column not beyond its own.

    Args:
        x: Columns of the vertices, [V].
        y: Rows of the vertices, [V].
        size: Side of the canvas. Crossings left of it are moved to column 0, those right of it
            and those above and below are left out.

    Returns:
        Rows and columns of the crossings; some may occur twice, which cancels.

    Example:
        >>> rows, columns = crossings(np.array([1, 3, 3, 1]), np.array([0, 0, 2, 2]), 4)
        >>> list(zip(rows.tolist(), columns.tolist()))
        [(0, 3), (1, 3), (0, 1), (1, 1)]
    """
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    down = next_y >= y
    top, bottom = np.minimum(y, next_y), np.maximum(y, next_y)
    start, end = np.where(down, x, next_x), np.where(down, next_x, x)
    height = bottom - top
    edge = np.repeat(np.arange(len(x)), height)
    step = np.arange(len(edge)) - (np.cumsum(height) - height)[edge]
    rows = top[edge] + step
    # -(-a // b) rounds up
    columns = start[edge] - (-step * (end - start)[edge]) // height[edge]
    seen = (rows >= 0) & (rows < size) & (columns < size)
    return rows[seen], np.maximum(columns[seen], 0)
