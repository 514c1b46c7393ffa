"""The contours are those of the published laws; the fast drawing is the definition's."""

import dataclasses
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from contour_cases import CASES, assert_same, blank, defined, samples_of
from PIL import Image, ImageDraw

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.backends.numba.contours import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contour_drawing import grays, polygons, unit_circle
from fdsl_gpu.formulas.contours import RCDB, SEG_RCDB, VISUAL_ATOM, ContourFormula
from fdsl_gpu.formulas.line_noise import gradients, line_noise
from fdsl_gpu.preview import PreviewConfig, preview
from fdsl_gpu.stream import FormulaStream

NAMES = ["rcdb-1k", "rcdb-21k", "visualatom-1k", "visualatom-1k-argparse", "visualatom-21k"]


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


# images, as PIL paints them one line after another


def painted(samples, sample):
    """Image and masks by PIL, given the vertices: lines, then fills in the published order."""
    size = samples.image_size
    image = Image.new("L", (size, size), samples.background)
    masks = {name: Image.new("L", (size, size), 0) for name in ("M1", "M2", "M3")}
    for number in range(samples.category.shape[1]):
        value = int(samples.category[sample, number]) + 1
        corners = [
            list(zip(x.tolist(), y.tolist(), strict=True))
            for x, y in polygons(samples, sample, number)
        ]
        for polygon, gray in zip(corners, grays(samples, sample, number), strict=True):
            closed = [*polygon, polygon[0]]
            ImageDraw.Draw(image).line(closed, fill=int(gray))
            ImageDraw.Draw(masks["M1"]).line(closed, fill=value)
        inner, outer = corners[0], corners[-1]
        ring, disc = ImageDraw.Draw(masks["M2"]), ImageDraw.Draw(masks["M3"])
        ring.polygon(outer, fill=value)
        ring.polygon(inner, fill=0)
        ring.line([*inner, inner[0]], fill=value)
        ring.line([*outer, outer[0]], fill=value)
        disc.polygon(outer, fill=value)
        disc.line([*outer, outer[0]], fill=value)
    return np.asarray(image), {name: np.asarray(mask) for name, mask in masks.items()}


@pytest.mark.parametrize("case", ["rcdb", "tiny", "visualatom", "wild", "triangles"])
def test_definition_is_what_pil_paints(case):
    samples = samples_of(case)
    (images,) = defined(samples)
    for sample, image in enumerate(images):
        np.testing.assert_array_equal(image[0], painted(samples, sample)[0])


@pytest.mark.parametrize("mask", ["M1", "M2", "M3"])
def test_masks_are_what_pil_paints(mask):
    formula = dataclasses.replace(SEG_RCDB, mask=mask, max_orbits=20)
    samples = formula.instance(np.arange(3, dtype=np.uint64), 0, View(160))
    images, masks = defined(samples)
    for sample in range(3):
        image, expected = painted(samples, sample)
        np.testing.assert_array_equal(images[sample, 0], image)
        differing = (masks[sample] != expected[mask]).mean()
        # PIL's fill takes a pixel more where two edges of a polygon meet
        assert differing == 0 if mask == "M1" else differing < 5e-4
        assert len(np.unique(masks[sample])) > 8


def test_a_ring_erases_what_lies_below_its_hole():
    formula = dataclasses.replace(
        SEG_RCDB, num_instances=2, mask="M2", max_shift=0, min_radius=40, max_radius=40,
        min_vertices=100, max_noise=0.0, max_growth=0.0,
    )  # fmt: skip
    samples = formula.instance(np.arange(1, dtype=np.uint64), 0, View(512))
    # a small ring's outline, and around it the hole of a larger one
    radius = samples.radius.copy()
    radius[:, 0], radius[:, 1] = 20, 60
    _, masks = defined(dataclasses.replace(samples, radius=radius))
    assert set(np.unique(masks)) == {0, samples.category[0, 1] + 1}


# the fast drawing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_numba_draws_the_definition(case, channels):
    samples = samples_of(case)
    expected, actual = defined(samples, channels), blank(samples, channels)
    draw(samples, *actual)
    assert_same(actual, expected)
    assert len(np.unique(expected[0])) > 1 or case == "tiny"


@pytest.mark.parametrize("name", [*NAMES, "segrcdb"])
@pytest.mark.parametrize("image_size", [33, 224])
def test_backends_draw_alike(name, image_size):
    indices = torch.arange(2) + 2**33
    drawn = [
        render(name, indices, image_size=image_size, seed=3, backend=backend, split="val")
        for backend in ("numpy", "numba")
    ]
    assert_same(*drawn)
    assert drawn[0][0].float().std() > 1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_no_samples_give_no_images(backend):
    images, masks = render("segrcdb", [], image_size=8, backend=backend)
    assert images.shape == (0, 3, 8, 8) and masks.shape == (0, 8, 8)


def test_threads_change_no_pixel():
    samples = samples_of("segrcdb_M2", np.arange(9, dtype=np.uint64))
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(blank(samples))
            draw(samples, *drawn[-1])
    finally:
        torch.set_num_threads(before)
    assert_same(*drawn)
    assert_same(drawn[0], defined(samples))


def test_scratch_is_left_clean():
    first, second = samples_of("segrcdb_M2"), samples_of("segrcdb_M2", seed=5)
    alone, after = blank(second), blank(second)
    draw(second, *alone)
    draw(first, *blank(first))
    draw(second, *after)
    assert_same(alone, after)
    assert_same(alone, defined(second))


# streams


@pytest.mark.parametrize("name", ["rcdb-1k", "visualatom-1k", "segrcdb"])
def test_stream_goes_on_where_it_stopped(name):
    def stream():
        return FormulaStream(name, 3, image_size=24, seed=5, num_samples=12, channels=1)

    batches = list(stream())
    images, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = render(name, range(12), image_size=24, seed=5, channels=1)
    assert_same((images, targets), expected)
    first = stream()
    iterator = iter(first)
    next(iterator)
    next(iterator)
    resumed = stream()
    resumed.load_state_dict(first.state_dict())
    for one, other in zip(resumed, batches[2:], strict=True):
        assert_same(one, other)


def test_masks_name_the_contours_of_their_image():
    images, masks = render("segrcdb", range(4), image_size=128, channels=1)
    described = describe("segrcdb", range(4))
    assert masks.shape == (4, 128, 128) and masks.dtype == torch.int64
    for sample in range(4):
        values = set(masks[sample].unique().tolist()) - {0}
        assert len(values) > 8 and values <= set((described["category"][sample] + 1).tolist())
        # M1 labels the lines and nothing else
        assert not ((images[sample, 0] > 0) & (masks[sample] == 0)).any()
    assert get_dataset("segrcdb").num_classes == 255
    np.testing.assert_array_equal(described["label"], described["category"][:, -1] + 1)


def test_worker_processes_change_nothing():
    from torch.utils.data import DataLoader

    streams = [
        FormulaStream("segrcdb", 2, image_size=16, num_samples=8, channels=1) for _ in range(2)
    ]
    alone, shared = list(streams[0]), list(DataLoader(streams[1], batch_size=None, num_workers=2))
    for one, other in zip(alone, shared, strict=True):
        assert_same(one, other)


def test_preview_shows_masks_below_their_images(tmp_path):
    sizes = {}
    for rows in (1, 2):
        config = PreviewConfig("segrcdb", tmp_path / f"{rows}.png", rows, 3, image_size=64)
        with Image.open(preview(config)) as picture:
            sheet = np.asarray(picture)
        colors = np.unique(sheet[-66:, -130:].reshape(-1, 3), axis=0)
        assert len(np.unique(colors.max(1) - colors.min(1))) > 1  # the last row has colours
        sizes[rows] = sheet.shape[0]
    assert sizes[2] > sizes[1] + 2 * 64
    with pytest.raises(ValueError, match="categories cannot be chosen"):
        preview(PreviewConfig("segrcdb", tmp_path / "x.png", categories=(3,)))


def test_example_learns_masks_and_shows_them(tmp_path):
    example = Path(__file__).parents[1] / "examples" / "segmentation.py"
    output = tmp_path / "figure.png"
    losses, score = runpy.run_path(str(example))["main"](
        steps=12, batch_size=8, image_size=32, width=8, output=output
    )
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert 0 < score <= 1
    with Image.open(output) as picture:
        assert picture.size == (2 * 3 * 36, 2 * 8 * 36)


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


def test_other_views_are_refused():
    with pytest.raises(ValueError, match="'rcdb-1k' can be drawn at any image_size, but not"):
        render("rcdb-1k", [0], image_size=View(32, canvas_size=64, crop="center"))


@pytest.mark.parametrize("name", [*NAMES, "segrcdb"])
def test_a_canvas_of_three_pixels_still_draws(name):
    images, _ = render(name, range(64), image_size=3)
    assert images.float().std() > 1


def test_defaults_are_those_of_rcdb():
    assert ContourFormula() == RCDB == get_dataset("rcdb-1k").formula
