"""Lines are the pixels that PIL draws; fills are those of the even-odd rule."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fdsl_gpu.formulas.polygons import crossings, outline


def drawn(vertices, size):
    """The polygon's outline as the definition has it, uint8 [S, S]."""
    canvas = np.zeros((size, size), np.uint8)
    x, y = np.trunc(vertices).astype(np.int64).T
    canvas[outline(x, y, size)] = 1
    return canvas


def drawn_by_pil(vertices, size, closed_line=True):
    """The same by PIL, which is given the vertices with their fractions."""
    image = Image.new("L", (size, size))
    corners = [tuple(vertex) for vertex in vertices.tolist()]
    if closed_line:
        ImageDraw.Draw(image).line([*corners, corners[0]], fill=1)
    else:
        ImageDraw.Draw(image).polygon(corners, outline=1)
    return np.asarray(image)


@pytest.mark.parametrize(
    "low, high",
    [(0, 1), (-0.2, 1.2), (-4, 4), (0.4, 0.6), (0.9, 1.1), (-0.6, -0.01), (-100, 100)],
    ids=str,
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fractions"])
def test_lines_are_those_of_pil(low, high, whole):
    random = np.random.default_rng([int(10 * high + 100), whole])
    lit = 0
    for _ in range(300):
        size = int(random.integers(1, 70))
        vertices = random.uniform(low * size, high * size, (random.integers(3, 12), 2))
        vertices = np.round(vertices) if whole else vertices
        expected = drawn_by_pil(vertices, size)
        np.testing.assert_array_equal(drawn(vertices, size), expected)
        lit += expected.sum()
    assert lit > 0 or high < 0


@pytest.mark.parametrize("slope", ["long and flat", "long and steep"])
def test_long_lines_are_those_of_pil(slope):
    random = np.random.default_rng(8)
    for _ in range(60):
        vertices = random.uniform(-3000, 3000, (3, 2))
        vertices[:, 0 if slope == "long and steep" else 1] /= 30
        np.testing.assert_array_equal(drawn(vertices, 256), drawn_by_pil(vertices, 256))


@pytest.mark.parametrize(
    "vertices",
    [
        [(5, 5)] * 3,
        [(5, 5), (5, 5), (9, 5)],
        [(2, 2), (9, 9), (2, 2)],
        [(2, 7), (9, 7), (4, 7)],
        [(3, -4), (3, 20), (3, 8)],
        [(-3, -3), (-9, 4), (-2, 30)],
        [(-0.5, -0.99), (0.5, 9.99), (9.5, -0.5)],
        [(0, 11), (11, 0), (11, 11), (0, 0)],
    ],
    ids=str,
)
def test_degenerate_polygons_are_those_of_pil(vertices):
    vertices = np.array(vertices, float)
    np.testing.assert_array_equal(drawn(vertices, 12), drawn_by_pil(vertices, 12))


def test_polygons_with_an_extent_are_outlined_as_by_pil():
    random = np.random.default_rng(9)
    for _ in range(300):
        vertices = random.uniform(-20, 60, (random.integers(3, 9), 2))
        expected = drawn_by_pil(vertices, 40, closed_line=False)
        np.testing.assert_array_equal(drawn(vertices, 40), expected)


def winding_parity(x, y, size):
    """Whether a ray from each pixel to the left crosses the polygon an odd number of times."""
    rows, columns = np.mgrid[:size, :size]
    odd = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        if y0 == y1:
            continue
        spans = (np.minimum(y0, y1) <= rows) & (rows < np.maximum(y0, y1))
        # the crossing is on or to the left of the pixel; no division
        left = (columns - x0) * abs(y1 - y0) >= (rows - y0) * (x1 - x0) * np.sign(y1 - y0)
        odd ^= spans & left
    return odd


@pytest.mark.parametrize("low, high", [(0, 40), (-30, 70), (-500, 500), (38, 60), (-30, -1)])
def test_crossings_fill_by_the_even_odd_rule(low, high):
    random = np.random.default_rng(abs(low) + high)
    filled = 0
    for _ in range(100):
        x, y = random.integers(low, high + 1, (2, random.integers(3, 10)))
        count = np.zeros((40, 40), np.int64)
        np.add.at(count, crossings(x, y, 40), 1)
        expected = winding_parity(x, y, 40)
        np.testing.assert_array_equal(np.cumsum(count, 1) % 2 == 1, expected)
        filled += expected.sum()
    assert filled > 0 or low == 38 or high < 0


def test_interior_and_outline_are_what_pil_fills_and_outlines():
    random = np.random.default_rng(3)
    differing = total = 0
    for _ in range(100):
        count = int(random.integers(3, 60))
        angle = 2 * np.pi * np.arange(count) / count
        radius = random.uniform(20, 60) + random.normal(0, 6, count)
        center = random.uniform(20, 108, 2)
        vertices = center + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        image = Image.new("L", (128, 128))
        corners = [tuple(vertex) for vertex in np.trunc(vertices).tolist()]
        ImageDraw.Draw(image).polygon(corners, fill=1)
        ImageDraw.Draw(image).polygon(corners, outline=1)
        x, y = np.trunc(vertices).astype(np.int64).T
        parity = np.zeros((128, 128), np.int64)
        np.add.at(parity, crossings(x, y, 128), 1)
        mine = np.maximum(np.cumsum(parity, 1) % 2, drawn(vertices, 128))
        differing += (mine != np.asarray(image)).sum()
        total += mine.sum()
    assert differing / total < 1e-4
