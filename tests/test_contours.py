"""The contours are those of the published laws."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from contour_cases import NAMES

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contour_drawing import grays, polygons, unit_circle
from fdsl_gpu.formulas.contours import RCDB, VISUAL_ATOM, ContourFormula
from fdsl_gpu.formulas.line_noise import gradients, line_noise

# the pieces of the law


@pytest.mark.parametrize("num_vertices", [3, 4, 7, 8, 97, 600, 1000, 1024])
def test_circle_is_sine_and_cosine_rounded_once(num_vertices):
    cos, sin = unit_circle(num_vertices)
    for v in range(num_vertices):
        angle = 2 * math.pi * v / num_vertices
        # half a unit in the last place of float32, and what float64 itself is off
        assert abs(cos[v] - math.cos(angle)) <= 2**-25 * max(abs(cos[v]), 2**-20) + 1e-15
        assert abs(sin[v] - math.sin(angle)) <= 2**-25 * max(abs(sin[v]), 2**-20) + 1e-15
    if num_vertices % 4 == 0:
        assert cos[num_vertices // 4] == 0 and sin[num_vertices // 2] == 0


def test_noise_has_the_published_distribution():
    words = np.random.default_rng(0).integers(0, 2**32, 2_000_000, dtype=np.uint32)
    noise = 0.4 * line_noise(words).astype(np.float64)
    assert abs(noise.mean()) < 0.001
    assert noise.std() == pytest.approx(0.3290, abs=0.0005)
    assert noise.min() == pytest.approx(-0.952, abs=0.001)
    assert noise.max() == pytest.approx(0.952, abs=0.001)
    values, counts = np.unique(gradients()[:256], return_counts=True)
    assert values.tolist() == [-1, *range(1, 9)] and counts.tolist() == [128, *[16] * 8]


def test_numbers_of_vertices_are_a_truncated_exponential():
    vertices = get_dataset("rcdb-21k").formula.categories[:, 0]
    random = np.random.default_rng(0)
    drawn = np.floor(random.exponential(100, 2_000_000))
    drawn = drawn[(drawn >= 3) & (drawn <= 200)]
    bins = np.arange(3, 202, 11)
    expected = np.histogram(drawn, bins)[0] / len(drawn) * len(vertices)
    chi2 = ((np.histogram(vertices, bins)[0] - expected) ** 2 / expected).sum()
    assert vertices.min() >= 3 and vertices.max() <= 200
    assert chi2 < 45  # 17 degrees of freedom: 1 in 4,000


def test_categories_of_visualatom():
    columns = VISUAL_ATOM.categories.T
    vertices, orbits, noise, growth, radius, ellipse_x, ellipse_y, first, second = columns
    for values, low, high in (
        (vertices, 200, 1000),
        (orbits, 1, 200),
        (noise, 0, 4),
        (growth, 0, 0.1),
        (radius, 10, 60),
        (ellipse_x, 1, 2),
        (ellipse_y, 1, 2),
        (first, 0, 20),
        (second, 0, 20),
    ):
        assert low <= values.min() < low + 0.06 * (high - low)
        assert high >= values.max() > high - 0.06 * (high - low)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.035 * (high - low))


def test_frequencies_differ_unless_both_are_zero():
    formula = dataclasses.replace(VISUAL_ATOM, num_categories=60_000, max_frequency=3)
    first, second = formula.categories[:, 7:].T
    assert not ((first == second) & (first > 0)).any()
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    assert pairs.shape[1] == 4 + 3 * 3
    expected = np.where(pairs[0] == 0, 60_000 / 16, 60_000 / 12)
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_variant_with_the_arguments_defaults():
    table = get_dataset("visualatom-1k-argparse").formula.categories
    noise, growth, radius = table[:, 2], table[:, 3], table[:, 4]
    assert noise.min() >= 2 and noise.max() < 6 and noise.max() > 5.9
    assert growth.max() < 0.01 and radius.min() == 0 and radius.max() == 50


def test_fewer_categories_are_the_first_of_more():
    for family in ("rcdb", "visualatom"):
        few, many = (get_dataset(f"{family}-{size}").formula.categories for size in ("1k", "21k"))
        np.testing.assert_array_equal(few, many[:1000])
    other = dataclasses.replace(RCDB, category_seed=1).categories
    assert (other[:, 2] != RCDB.categories[:, 2]).all()


@pytest.mark.parametrize(
    "name, max_shift", [("rcdb-1k", 400), ("visualatom-1k", 512), ("segrcdb", 512)]
)
def test_centers_are_uniform(name, max_shift):
    described = describe(name, range(2000), seed=7)
    for axis in ("center_x", "center_y"):
        centers = described[axis]
        assert ((2 * centers) % 1 == 0).all()
        assert centers.min() >= (512 - max_shift) / 2 and centers.max() <= (512 + max_shift) / 2
        assert np.ptp(centers) > 0.98 * max_shift
        assert centers.mean() == pytest.approx(256, abs=0.05 * max_shift)


def test_what_an_image_draws_for_itself_and_what_its_category_fixes():
    rcdb, atom = (describe(name, range(3000), seed=1) for name in ("rcdb-1k", "visualatom-1k"))
    for described, own in ((rcdb, {"radius", "ellipse_x", "ellipse_y"}), (atom, set())):
        category = described["label"]
        first = np.unique(category, return_index=True)[1]
        for name in set(described) - {"label", "category"}:
            fixed = described[name] == described[name][first][category]
            assert fixed.all() == (name not in own | {"center_x", "center_y"}), name
    assert rcdb["radius"].min() == 0 and rcdb["radius"].max() == 100
    assert rcdb["ellipse_x"].min() >= 1 and rcdb["ellipse_x"].max() < 2


def test_grays_are_uniform_and_256_is_drawn_as_255():
    indices = np.arange(40, dtype=np.uint64)
    for formula, shares in ((RCDB, 257), (VISUAL_ATOM, 256)):
        samples = dataclasses.replace(formula, max_orbits=1000).instance(indices, 0, View(8))
        drawn = np.concatenate([grays(samples, number, 0) for number in indices.astype(int)])
        counts = np.bincount(drawn, minlength=256)
        expected = np.full(256, len(drawn) / shares)
        expected[255] *= shares - 255
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert len(counts) == 256 and abs(chi2 - 255) < 4 * math.sqrt(2 * 255)


def law(formula, index, size, num_orbits):
    """Radial distance of every vertex of each orbit from the centre, over its direction."""
    samples = formula.instance(np.array([index], np.uint64), 0, View(size))
    samples = dataclasses.replace(samples, num_orbits=np.full_like(samples.num_orbits, num_orbits))
    cos, sin = unit_circle(int(samples.num_vertices[0, 0])).astype(float)
    x, y = np.moveaxis(np.array(list(polygons(samples, 0, 0)), float), 1, 0)  # [L, V] each
    center = samples.center[0, 0].astype(float)
    described = {name: each[0] for name, each in samples.describe().items()}
    return x - center[0], y - center[1], cos, sin, described


@pytest.mark.parametrize("formula, factor", [(RCDB, 2), (VISUAL_ATOM, 1)], ids=["rcdb", "atom"])
@pytest.mark.parametrize("size", [512, 4096])
def test_an_orbit_grows_by_coefficient_growth_waves_and_noise(formula, factor, size):
    formula = dataclasses.replace(
        formula, min_vertices=900, max_vertices=1000, mean_vertices=None, min_noise=1.0
    )
    num_orbits, scale = 60, size / 512
    for index in range(3):
        x, y, cos, sin, shape = law(formula, index, size, num_orbits)
        angle = np.arctan2(sin, cos)
        wave = 0.5 * np.sin(shape["frequency_1"] * angle) + 0.5 * np.sin(
            shape["frequency_2"] * angle
        )
        for place, toward, ellipse in ((x, cos, "ellipse_x"), (y, sin, "ellipse_y")):
            ahead = abs(toward) > 0.3  # where dividing by the direction keeps a pixel's precision
            walked = place[-1, ahead] / toward[ahead] / scale - shape["radius"] * shape[ellipse]
            steady = num_orbits * (shape["noise"] + shape["growth"] + wave[ahead])
            spread = 0.329 * factor * shape["noise"] * math.sqrt(num_orbits)
            assert np.mean(walked - steady) == pytest.approx(0, abs=5 * spread / 25 + 2 / scale)
            assert np.std(walked - steady) == pytest.approx(spread, rel=0.12)
            # noise is white from vertex to vertex
            neighbours = np.corrcoef((walked - steady)[:-1], (walked - steady)[1:])[0, 1]
            assert abs(neighbours) < 0.15
        both = (abs(cos) > 0.5) & (abs(sin) > 0.5)
        x_noise, y_noise = (
            (np.diff(place[:, both], axis=0) / toward[both]).ravel()
            for place, toward in ((x, cos), (y, sin))
        )
        waves = np.tile(wave[both], num_orbits - 1)  # what the two have in common
        correlation = np.corrcoef(x_noise / scale - waves, y_noise / scale - waves)[0, 1]
        assert abs(correlation) < 0.03


def test_a_smaller_canvas_shows_the_same_contour():
    large, _ = render("visualatom-1k", range(8), image_size=512, channels=1)
    small, _ = render("visualatom-1k", range(8), image_size=256, channels=1)
    lit = torch.nn.functional.max_pool2d((large > 0).float(), 5, 2, 2)
    drawn = (small > 0).float()
    assert ((lit * drawn).sum() / drawn.sum()).item() > 0.97


# what is refused


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"min_vertices": 2}, "min_vertices must be in [3, 1024], got 2"),
        ({"max_vertices": 1025}, "max_vertices must be in [3, 1024], got 1025"),
        ({"min_vertices": 9, "max_vertices": 8}, "min_vertices must be at most max_vertices"),
        ({"mean_vertices": 0.0}, "mean_vertices must be positive or None, got 0.0"),
        ({"max_orbits": 0}, "max_orbits must be in [1, 1023], got 0"),
        ({"max_frequency": -1}, "max_frequency must be in [0, 1024], got -1"),
        ({"max_noise": float("nan")}, "max_noise must be in [0, 64], got nan"),
        ({"min_noise": 5.0}, "min_noise must be at most max_noise, got 5.0 and 4.0"),
        ({"max_radius": 2000}, "max_radius must be in [0, 1024], got 2000"),
        ({"max_ellipse": 0.5}, "max_ellipse must be in [1, 16], got 0.5"),
        ({"background": 256}, "background must be in [0, 255], got 256"),
        ({"num_categories": 0}, "num_categories must be in [1, 16777216], got 0"),
        ({"num_instances": 2}, "num_instances must be 1 where an image has one class, got 2"),
        ({"num_instances": 33, "mask": "M1"}, "num_instances must be in [1, 32], got 33"),
        ({"mask": "M4"}, "mask must be None or one of ('M1', 'M2', 'M3'), got 'M4'"),
        ({"mask": "M1"}, "num_categories must be at most 255 with a mask"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(ValueError) as error:
        get_dataset("rcdb-1k").replace(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize("name", [*NAMES, "segrcdb"])
def test_a_canvas_of_three_pixels_still_draws(name):
    images, _ = render(name, range(64), image_size=3)
    assert images.float().std() > 1


def test_defaults_are_those_of_rcdb():
    assert ContourFormula() == RCDB == get_dataset("rcdb-1k").formula
