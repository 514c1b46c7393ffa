import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from bezier_cases import CASES, INDICES, blank, defined, samples_of
from PIL import Image, ImageDraw

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.backends.numba.bezier import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.bezier import BezierFormula, bernstein, strokes

# the law


@pytest.mark.parametrize("num_points, num_vertices", [(2, 2), (3, 7), (8, 64), (32, 1000)])
def test_shares_are_bernsteins_polynomials(num_points, num_vertices):
    shares = bernstein(num_points, num_vertices)
    degree = num_points - 1
    for vertex in {0, 1, num_vertices // 3, num_vertices - 1}:
        t = Fraction(vertex, num_vertices - 1)
        for point in range(num_points):
            exact = math.comb(degree, point) * t**point * (1 - t) ** (degree - point)
            # half a unit of float32 in the last place, and some 32 roundings of float64
            tolerance = Fraction(1, 2**24) * exact * Fraction(101, 100) + Fraction(1, 2**140)
            assert abs(Fraction(float(shares[point, vertex])) - exact) <= tolerance
    np.testing.assert_allclose(shares.sum(0, dtype=np.float64), 1, atol=1e-6)


def de_casteljau(points, t):
    """The place at t of the curve with these control points, [P, 2], in float64."""
    while len(points) > 1:
        points = points[:-1] * (1 - t) + points[1:] * t
    return points[0]


def test_a_stroke_follows_the_curve_of_its_control_points():
    formula = BezierFormula(stroke_jitter=0.0, max_points=9, num_strokes=2)
    samples = formula.instance(INDICES, 5, View(2000))
    for sample in range(len(INDICES)):
        lines = list(strokes(samples, sample))
        assert len(lines) == 2 * samples.num_curves[sample]
        for number, (x, y) in enumerate(lines):
            points = samples.points[sample, number // 2, : samples.num_points[sample]]
            for vertex in range(0, 64, 9):
                place = de_casteljau(points.astype(np.float64), vertex / 63)
                # a fraction of a pixel is cut off
                assert abs(place - (x[vertex], y[vertex])).max() < 1.01


def test_categories_have_their_numbers_and_places_of_control_points():
    described = describe("bezier-1k", range(4000), seed=3)
    label, points = described["label"], described["points"]
    first = np.unique(label, return_index=True)[1]
    for name in ("num_points", "num_curves"):
        np.testing.assert_array_equal(described[name], described[name][first][label])
    assert np.bincount(described["num_points"][first])[3:].min() > 120  # 1,000 over six numbers
    assert np.bincount(described["num_curves"][first])[2:].min() > 190  # and over four
    assert described["num_points"].max() == 8 and described["num_curves"].max() == 5
    own = np.arange(5)[:, None] < described["num_curves"][:, None, None]
    own = own & (np.arange(8) < described["num_points"][:, None, None])
    assert not points[~own].any()
    # what an image adds to its category's place is uniform: two of them differ by a triangle
    difference = (points - points[first][label])[own]
    moved = difference[difference != 0]
    assert 0.19 < abs(moved).max() < 0.2
    assert moved.std() == pytest.approx(0.1 * math.sqrt(2 / 3), rel=0.02)
    places = points[own]
    assert abs(places - 0.5).max() < 0.7 + 0.1
    assert places.mean() == pytest.approx(0.5, abs=0.02)
    assert places.std() == pytest.approx(math.sqrt((1.4**2 + 0.2**2) / 12), rel=0.03)


def test_strokes_stay_near_their_curve():
    spread = []
    for jitter in (0.0, 0.06):
        formula = BezierFormula(stroke_jitter=jitter)
        samples = formula.instance(INDICES, 0, View(4096))
        lines = np.array(list(strokes(samples, 0)), float).reshape(-1, 16, 2, 64)
        spread.append(lines.std(1)[..., 0].mean())  # at the first control point
    assert spread[0] == 0
    assert spread[1] == pytest.approx(0.06 * 4096 / math.sqrt(3), rel=0.2)


def test_categories_do_not_depend_on_how_many_there_are():
    few, many = BezierFormula(num_categories=3), BezierFormula(num_categories=1000)
    indices = np.arange(1000, dtype=np.uint64)
    still = dataclasses.replace(many, jitter=0.0).instance(indices, 1, View(64))
    other = dataclasses.replace(few, jitter=0.0).instance(indices[:3], 9, View(64))
    for sample, label in enumerate(other.label):
        same = np.flatnonzero(still.label == label)[0]
        np.testing.assert_array_equal(other.points[sample], still.points[same])
    seeded = dataclasses.replace(many, jitter=0.0, category_seed=1).instance(indices, 1, View(64))
    assert (seeded.points[:, 0, 0] != still.points[:, 0, 0]).all()


@pytest.mark.parametrize("case", CASES)
def test_definition_is_what_pil_paints(case):
    samples = samples_of(case)
    words = np.arange(samples.num_curves.max() * samples.num_strokes)
    for sample, image in enumerate(defined(samples)):
        levels = set(np.unique(image)) - {samples.background}
        assert case == "white" or levels or case in ("tiny", "dots", "wild")
        # the last stroke that reaches a pixel gives its gray: paint their numbers
        size = samples.image_size
        numbers = Image.new("I", (size, size))
        for number, (x, y) in zip(words, strokes(samples, sample), strict=False):
            ImageDraw.Draw(numbers).line(
                list(zip(x.tolist(), y.tolist(), strict=True)), fill=int(number) + 1
            )
        numbers = np.asarray(numbers)
        assert (image[0][numbers == 0] == samples.background).all()
        for number in set(np.unique(numbers)) - {0}:
            assert len(np.unique(image[0][numbers == number])) == 1


def test_grays_are_uniform():
    formula = BezierFormula(min_curves=1, max_curves=1, num_strokes=1, spread=0.5)
    samples = formula.instance(np.arange(5120, dtype=np.uint64), 0, View(9))
    images = blank(samples)
    draw(samples, images)
    counts = np.bincount(images.max((1, 2, 3)), minlength=256)
    chi2 = ((counts - 20) ** 2 / 20).sum()
    assert abs(chi2 - 255) < 4 * math.sqrt(2 * 255)


# the fast drawing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_numba_draws_the_definition(case, channels):
    samples = samples_of(case)
    images = blank(samples, channels)
    draw(samples, images)
    np.testing.assert_array_equal(images, defined(samples, channels))


@pytest.mark.parametrize("image_size", [33, 224])
def test_backends_draw_alike(image_size):
    drawn = [
        render("bezier-1k", range(2), image_size=image_size, seed=3, backend=backend, split="val")
        for backend in ("numpy", "numba")
    ]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert drawn[0][0].float().std() > 10


def test_threads_change_no_pixel():
    samples = samples_of("several curves", np.arange(9, dtype=np.uint64))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        images = blank(samples)
        draw(samples, images)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(images, defined(samples))


def test_no_samples_give_no_images():
    for backend in ("numpy", "numba"):
        images, labels = render("bezier-1k", [], image_size=8, backend=backend)
        assert images.shape == (0, 3, 8, 8) and labels.shape == (0,)


# what is refused


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"min_points": 1}, "min_points must be in [2, 32], got 1"),
        ({"max_points": 33}, "max_points must be in [2, 32], got 33"),
        ({"min_points": 9}, "min_points must be at most max_points, got 9 and 8"),
        ({"min_curves": 6}, "min_curves must be at most max_curves, got 6 and 5"),
        ({"min_curves": 0}, "min_curves must be in [1, 1023], got 0"),
        ({"num_strokes": 0}, "num_strokes must be in [1, 1023], got 0"),
        ({"num_strokes": 205}, "max_curves 5 x num_strokes 205: lower one"),
        ({"num_vertices": 1}, "num_vertices must be in [2, 1024], got 1"),
        ({"spread": float("nan")}, "spread must be in [0, 16], got nan"),
        ({"jitter": -0.1}, "jitter must be in [0, 16], got -0.1"),
        ({"stroke_jitter": 17.0}, "stroke_jitter must be in [0, 16], got 17.0"),
        ({"max_gray": 256}, "max_gray must be in [0, 255], got 256"),
        ({"background": -1}, "background must be in [0, 255], got -1"),
        ({"num_categories": 0}, "num_categories must be in [1, 16777216], got 0"),
        ({"category_seed": -1}, "category_seed must be in [0, 18446744073709551615], got -1"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError) as error:
        get_dataset("bezier-1k").replace(**settings)
    assert message in str(error.value)


def test_other_views_are_refused():
    with pytest.raises(ValueError, match="'bezier-1k' can be drawn at any image_size, but"):
        render("bezier-1k", [0], image_size=View(32, canvas_size=64, crop="center"))
