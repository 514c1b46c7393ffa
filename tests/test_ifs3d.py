"""3D fractals: what is published, what the camera sees, and the same pixels on every backend."""

import dataclasses

import numpy as np
import pytest
import torch
from ifs3d_cases import ALL, contracting_table_3d, instance

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.backends.numba import exfractaldb as compiled
from fdsl_gpu.backends.numba.ifs3d import draw
from fdsl_gpu.formulas import exfractaldb
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.camera import equator, random_rotations, seen
from fdsl_gpu.formulas.ifs3d import Ifs3dFormula, project
from fdsl_gpu.rng import philox
from fdsl_gpu.tables3d import load_shipped_table_3d


def test_weight_rows_change_one_coefficient_each():
    rows = exfractaldb.weight_rows()
    changed = rows != 1
    assert rows.shape == (145, 12)
    assert sorted(changed.sum(1)) == [0] + [1] * 144
    factors = np.sort(np.unique(rows[changed]))
    np.testing.assert_allclose(
        factors, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    )
    assert len(np.unique(rows, axis=0)) == 145


@pytest.mark.parametrize("count, least", [(121, 0.5), (97, 0.6), (73, 0.7), (49, 0.8), (25, 0.9)])
def test_smaller_tables_of_weights_are_the_published_ones(count, least):
    """One coefficient a row, its factors ascending, the row of ones in the middle of the first."""
    steps = round((1 - least) * 10)
    factors = [*np.arange(10 - steps, 10), *np.arange(11, 11 + steps)]
    rows = [(column, factor) for column in range(12) for factor in factors]
    rows.insert(steps, (0, 10))
    numbers = exfractaldb.weight_row_numbers(count)
    table = np.ones((count, 12))
    table[range(count), [column for column, _ in rows]] = [factor / 10 for _, factor in rows]
    np.testing.assert_array_equal(exfractaldb.weight_rows()[numbers], table)


def test_fewer_weights_draw_milder_instances():
    spec = get_dataset("exfractaldb-1k")
    mild = spec.replace(num_weights=25)
    rows = describe(mild, range(4000))["weight_row"]
    assert set(rows) == set(range(25))
    factors = mild.formula.drawn.weights
    assert set(np.unique(factors)) == {0.9, 1.0, 1.1}
    # the row of ones alone draws what the category's own parameters draw
    images, _ = render(spec.replace(num_weights=1), [3, 2**40], image_size=31)
    only = dataclasses.replace(
        spec, formula=dataclasses.replace(spec.formula, table=spec.formula.table.with_rows([6]))
    )
    assert torch.equal(images, render(only, [3, 2**40], image_size=31)[0])
    assert (images != render(spec, [3, 2**40], image_size=31)[0]).any()


@pytest.mark.parametrize(
    "name, count, message",
    [
        ("exfractaldb-1k", 24, r"num_weights must be one of \(145, 121, .*got 24"),
        ("3d-ofdb-1k", 25, "this data set has 2 of its own; leave it out"),
    ],
)
def test_weights_that_are_not_there_are_refused(name, count, message):
    with pytest.raises(ValueError, match=message):
        get_dataset(name).replace(num_weights=count)


def test_candidates_have_the_published_ranges():
    candidates = [exfractaldb.candidate(5, number) for number in range(600)]
    counts = np.bincount([len(maps) for maps in candidates], minlength=8)
    assert (counts[:2] == 0).all() and len(counts) == 8
    assert (abs(counts[2:] - 100) < 40).all()
    values = np.concatenate([maps.ravel() for maps in candidates])
    assert values.min() >= -1 and values.max() < 1
    assert abs(values.mean()) < 0.02 and abs(values.var() - 1 / 3) < 0.02
    maps = candidates[0]
    volumes = abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    np.testing.assert_allclose(exfractaldb.probabilities(maps), volumes / volumes.sum())


@pytest.mark.parametrize("number", range(8))
def test_compiled_walks_frames_and_spreads_are_the_definitions(number):
    maps = exfractaldb.candidate(3, number)
    probs = exfractaldb.probabilities(maps)
    rows = exfractaldb.weight_rows()[[6, 0, 40, 144]]
    np.testing.assert_array_equal(compiled.walk(maps, probs), exfractaldb.walk(maps, probs))
    walks = [exfractaldb.walk(maps * row, probs) for row in rows]
    frames = [exfractaldb.frame(points) for points in walks]
    np.testing.assert_array_equal(compiled.frames(maps, probs, rows), frames)
    np.testing.assert_array_equal(compiled.spread(maps, probs), exfractaldb.spread(walks[0]))


def test_a_frame_normalises_a_walk():
    maps = np.nan_to_num(contracting_table_3d().maps[2, :4])
    points = exfractaldb.walk(maps, np.full(4, 0.25))
    scale, *shift = exfractaldb.frame(points)
    scaled = scale * points
    assert scaled.max() - scaled.min() == pytest.approx(2)
    # the published centroid divides by one too many: short of it by a ten-thousandth
    moved = scaled + shift
    assert abs(moved.mean(0)).max() < 2e-4
    assert exfractaldb.spread(points) == pytest.approx(moved.var(0), rel=1e-9)
    assert np.isnan(exfractaldb.frame(points * 1e7)).all()
    points[5, 1] = np.nan
    assert np.isnan(exfractaldb.frame(points)).all()


def test_every_category_that_ships_spreads_along_every_axis():
    table = load_shipped_table_3d("exfractaldb-1k")
    assert len(table.maps) == 1000
    assert np.isfinite(table.frames[:, 6]).all(), "row 6 is all ones"
    for number in range(0, 1000, 5):
        own = table.num_maps[number]
        maps, probs = table.maps[number, :own], table.probs[number, :own]
        assert (compiled.spread(maps, probs) > 0.05).all(), number


def perspective(points, rotation, size):
    """Window coordinates as OpenGL's documentation has them: look-at, then a perspective matrix."""
    eye, up = rotation @ [4, 0, 0], rotation @ [0, 1, 0]
    forward = -eye / np.linalg.norm(eye)
    side = np.cross(forward, up)
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(side, forward), -forward])
    near, far, focal = 1.0, 100.0, 1 / np.tan(np.radians(45) / 2)
    projection = np.zeros((4, 4))
    projection[0, 0] = projection[1, 1] = focal
    projection[2, 2] = (far + near) / (near - far)
    projection[2, 3] = 2 * far * near / (near - far)
    projection[3, 2] = -1
    looked = (points - eye) @ axes.T
    clip = np.column_stack([looked, np.ones(len(points))]) @ projection.T
    device = clip[:, :3] / clip[:, 3:]
    return (device[:, :2] + 1) / 2 * size, (abs(device[:, 2]) <= 1) & (clip[:, 3] > 0)


@pytest.mark.parametrize("views", ["equator12", "random"])
def test_the_camera_is_that_of_opengl(views):
    random = np.random.default_rng(0)
    words = philox(1, np.arange(20), 0, 1)
    if views == "random":
        rotations = random_rotations(words[1:])
    else:
        rotations, _ = equator(np.arange(20) % 12, words[0], "radians")
    # maps that send everything to one point each: conjugated, their translation is where it is seen
    points = random.uniform(-2.5, 2.5, (20, 8, 3))
    maps = np.zeros((20, 8, 12))
    maps[:, :, 9:] = points
    frames = np.column_stack([random.uniform(0.5, 2, 20), random.uniform(-0.5, 0.5, (20, 3))])
    conjugate, start, offset = seen(maps, frames, rotations, 224)
    for sample in range(20):
        shown = frames[sample, 0] * points[sample] + frames[sample, 1:]
        expected, inside = perspective(shown, rotations[sample], 224)
        column, row = project(*conjugate[sample, :, 9:].T, offset[sample])
        np.testing.assert_array_equal(column != -1, inside)
        np.testing.assert_allclose(column[inside], expected[inside, 0], atol=0.01, rtol=1e-4)
        np.testing.assert_allclose(row[inside], expected[inside, 1], atol=0.01, rtol=1e-4)
        origin, _ = perspective(frames[sample : sample + 1, 1:], rotations[sample], 224)
        np.testing.assert_allclose(project(*start[sample], offset[sample]), origin[0], rtol=1e-4)


def test_random_views_are_uniform_rotations():
    rotations = random_rotations(philox(4, np.arange(20_000), 0, 1)[1:])
    products = rotations @ rotations.swapaxes(1, 2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
    # every entry has mean 0 and variance 1/3; the angle has density (1 - cos) / pi
    assert abs(rotations.mean(0)).max() < 0.02
    assert abs(rotations.var(0) - 1 / 3).max() < 0.02
    cosine = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    assert abs(cosine.mean() + 0.5) < 0.02


@pytest.mark.parametrize("jitter, most", [("degrees", np.pi), ("radians", 180), ("none", 0)])
def test_cameras_on_the_equator(jitter, most):
    view = np.arange(24_000) % 12
    rotations, degrees = equator(view, philox(0, np.arange(24_000), 0, 1)[0], jitter)
    assert abs(degrees).max() == pytest.approx(most, rel=0.01)
    assert abs(degrees.mean()) <= most / 50
    direction = rotations[:, :, 0]
    assert abs(direction[:, 1]).max() == 0, "all of them stand on the equator"
    angle = np.degrees(np.arctan2(-direction[:, 2], direction[:, 0]))
    off = (angle - 30 * (view + 1) - degrees + 180) % 360 - 180
    assert abs(off).max() < 1e-9
    np.testing.assert_array_equal(rotations @ [0, 1, 0], np.tile([0.0, 1, 0], (24_000, 1)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", ALL)
def test_numba_draws_the_definition(case, channels):
    samples = instance(case)
    if samples.drawing.endswith("color"):
        channels = 3
    shape = (len(samples.label), channels, samples.image_size, samples.image_size)
    # whatever was there before must not shine through
    expected, actual = np.full(shape, 77, np.uint8), np.full(shape, 78, np.uint8)
    Ifs3dFormula(contracting_table_3d()).draw_numpy(samples, expected)
    draw(samples, actual)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 1


def test_a_window_shows_that_part_of_the_canvas():
    """A crop drawn through maps is the crop of a canvas drawn whole, but for rounding."""
    formula = Ifs3dFormula(contracting_table_3d(), num_points=3000)
    indices = np.arange(12, dtype=np.uint64)
    view = View(48, 48, crop="resized", scale=(0.999, 0.999), ratio=(1, 1), vflip=1.0)
    images = np.empty((2, 12, 1, 48, 48), np.uint8)
    formula.draw_numpy(formula.instance(indices, 0, View(48)), images[0])
    formula.draw_numpy(formula.instance(indices, 0, view), images[1])
    flipped = images[1, :, :, ::-1]
    both = ((images[0] > 0) & (flipped > 0)).sum((1, 2, 3))
    either = ((images[0] > 0) | (flipped > 0)).sum((1, 2, 3))
    assert (both > 0.6 * either).all(), both / either


def test_rows_that_diverge_are_never_drawn():
    table = contracting_table_3d()
    frames = table.frames.copy()
    frames[:, 1] = np.nan
    frames[3, 0] = np.nan
    formula = Ifs3dFormula(dataclasses.replace(table, frames=frames))
    samples = formula.instance(np.arange(700, dtype=np.uint64), 0, View(16))
    drawn = {label: set(samples.weight_row[samples.label == label]) for label in range(7)}
    assert drawn.pop(3) == {2}
    assert all(rows == {0, 2} for rows in drawn.values())
    one_row = dataclasses.replace(table, frames=frames).with_one_row(0, otherwise=2)
    samples = Ifs3dFormula(one_row).instance(np.arange(70, dtype=np.uint64), 0, View(16))
    np.testing.assert_array_equal(samples.weight_row == 1, samples.label == 3)
    frames[3, 2] = np.nan
    with pytest.raises(ValueError, match="all weight rows of category 3 diverge"):
        dataclasses.replace(table, frames=frames)


def test_stored_images_are_twelve_a_category():
    spec = get_dataset("3d-ofdb-1k").replace(num_categories=2)
    images, labels = render(spec, range(200), image_size=64)
    drawn = {
        label: {image.numpy().tobytes() for image in images[labels == label]} for label in (0, 1)
    }
    assert [len(each) for each in drawn.values()] == [12, 12]
    assert (images.float().mean((1, 2, 3)) > 0).all()


def test_data_sets_and_what_they_say():
    described = describe("mvfractaldb-1k", range(300))
    assert set(described) == {"label", "weight_row", "camera", "camera_jitter"}
    assert set(described["camera"]) == set(range(12))
    assert abs(described["camera_jitter"]).max() < 3.2
    assert describe("exfractaldb-1k", [3])["camera_rotation"].shape == (1, 3, 3)
    images, _ = render("exfractaldb-1k", range(40), image_size=64)
    assert set(images.unique().tolist()) == {0, 255}
    rates = (images > 0).float().mean((1, 2, 3))
    assert rates.min() > 0.002 and rates.max() < 0.5
    with pytest.raises(ValueError, match="jitter must be one of .*'degrees'"):
        get_dataset("mvfractaldb-1k").replace(jitter="turns")
    with pytest.raises(ValueError, match="walks='fixed' .* views='equator12'"):
        get_dataset("exfractaldb-1k").replace(walks="fixed")
