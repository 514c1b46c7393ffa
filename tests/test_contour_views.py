"""Contours through a view: turned, cut out, and drawn sharp in windows of any size."""

import dataclasses

import numpy as np
import pytest
import torch
from contour_cases import SMALL, blank

from fdsl_gpu import FormulaStream, describe, get_dataset, render
from fdsl_gpu.backends.numba.contours import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contour_drawing import pixels, polygons
from fdsl_gpu.formulas.contours import RCDB, SEG_RCDB, VISUAL_ATOM
from fdsl_gpu.pretrain_config import PretrainConfig

INDICES = np.arange(300, dtype=np.uint64)
TURNED = View(26, canvas_size=41, crop="random", hflip=0.5, vflip=0.5, rot90=True)


def drawn(formula, view, indices=INDICES):
    samples = formula.instance(indices, 7, view)
    arrays = blank(samples)
    draw(samples, *arrays)
    return samples, arrays


def turned(array, code):
    array = array.swapaxes(-1, -2) if code & 4 else array
    array = array[..., ::-1, :] if code & 1 else array
    return array[..., ::-1] if code & 2 else array


@pytest.mark.parametrize("mask", [None, "M1", "M2", "M3"])
def test_a_turned_and_cut_canvas_has_the_pixels_of_the_whole_one(mask):
    """Lines, fills and holes alike, though a fill looks at its rows from one side only."""
    formula = dataclasses.replace(RCDB, **SMALL)
    if mask is not None:
        formula = dataclasses.replace(SEG_RCDB, **SMALL, mask=mask, num_instances=4)
    _, whole = drawn(formula, View(41))
    samples, seen = drawn(formula, TURNED)
    described = samples.describe()
    codes, corners = described["view_turn"], described["view_corner"]
    assert set(codes) == set(range(8)) and len(np.unique(corners)) > 10
    for canvas, image in zip(whole, seen, strict=True):
        for sample, (top, left) in enumerate(corners):
            expected = turned(canvas[sample], codes[sample])[..., top : top + 26, left : left + 26]
            np.testing.assert_array_equal(image[sample], expected)


def test_a_window_of_the_whole_canvas_shows_the_canvas():
    # far from the canvas's edge, where a fraction of a pixel is cut off toward the other side
    formula = dataclasses.replace(VISUAL_ATOM, **SMALL, max_shift=0, max_radius=60)
    window = View(64, crop="resized", scale=(1.0, 1.0), ratio=(1.0, 1.0))
    (seen,), (whole,) = drawn(formula, window)[1], drawn(formula, View(64))[1]
    # a place may be rounded over a pixel's edge when it is moved by the margin
    assert (seen != whole).sum() <= 3 and (whole > 0).sum() > 20_000


def test_windows_enlarge_and_move_the_places_of_vertices():
    formula = dataclasses.replace(RCDB, **SMALL)
    view = View(200, 64, "resized", (0.1, 1.0), rotation=(-30, 30))
    seen, whole = formula.instance(INDICES, 7, view), formula.instance(INDICES, 7, View(64))
    described = seen.describe()
    left, top, width, height = described["view_window"].T
    angle = np.deg2rad(described["view_degrees"])
    assert (width / 64).min() < 0.4 and len(np.unique(angle)) > 100
    for sample in range(20):
        first, last = next(polygons(whole, sample, 0)), next(polygons(seen, sample, 0))
        # the middle of a pixel stands for the vertex in it
        x = first[0] + 0.5 - (left[sample] + width[sample] / 2)
        y = first[1] + 0.5 - (top[sample] + height[sample] / 2)
        cos, sin = np.cos(angle[sample]), np.sin(angle[sample])
        across, down = 200 / width[sample], 200 / height[sample]
        # counterclockwise, with rows downwards
        column = 100 + across * (cos * x + sin * y)
        row = 100 + down * (cos * y - sin * x)
        assert abs(last[0] + 0.5 - column).max() <= across + 1
        assert abs(last[1] + 0.5 - row).max() <= down + 1


def test_places_are_mapped_in_float32_before_they_are_cut_off():
    samples = dataclasses.replace(
        RCDB.instance(INDICES[:1], 0, View(8)),
        affine=np.array([[2, 0.5, 0, -1, 0.25, 7.5]], np.float32),
        turn=np.array([[0, -1, 1, 0, 9, 2]], np.int32),
    )
    x, y = np.array([1.5, -1.0], np.float32), np.array([1.0, 2.0], np.float32)
    # on the canvas (3.75, 6.5) and (-0.75, 5.5), whose fractions are cut off toward zero
    column, row = pixels(samples, 0, x, y)
    assert column.tolist() == [9 - 6, 9 - 5] and row.tolist() == [3 + 2, 0 + 2]


def test_a_view_is_described_and_streamed():
    view = View(32, 64, "resized", (0.3, 1.0), hflip=0.5)
    described = describe("visualatom-1k", range(6), view=view)
    assert described["view_window"].shape == (6, 4) and set(described["view_turn"]) <= {0, 2}
    plain = describe("visualatom-1k", range(6))
    for name, values in plain.items():
        np.testing.assert_allclose(values, described[name], rtol=1e-6)
    batches = list(FormulaStream("visualatom-1k", 3, image_size=view, num_samples=6))
    images = torch.cat([images for images, _ in batches])
    expected = render("visualatom-1k", range(6), image_size=view, backend="numpy")[0]
    assert torch.equal(images, expected)
    assert not torch.equal(images, render("visualatom-1k", range(6), image_size=32)[0])


def test_published_crops_can_be_pre_trained_with():
    PretrainConfig(dataset="rcdb-1k", crop="resized", canvas_size=512, device="cpu").validate()


@pytest.mark.parametrize(
    "changes", [{"scale": (1e-6, 1.0)}, {"ratio": (0.01, 1.0)}, {"ratio": (1.0, 90.0)}]
)
def test_windows_that_enlarge_too_much_are_refused(changes):
    view = View(2048, crop="resized", **{"scale": (0.01, 1.0), **changes})
    with pytest.raises(ValueError, match="a side of at most 131072 pixels, got .* raise the least"):
        render("rcdb-1k", [0], image_size=view)
    mixture = get_dataset("rcdb-1k+visualatom-1k")
    with pytest.raises(ValueError, match="a side of at most 131072 pixels"):
        FormulaStream(mixture, 4, image_size=view)


def test_the_windows_that_are_taken_where_none_fits_are_bounded_too():
    # a ratio of 0.01 never fits: the longest window of that ratio has 1 % of the canvas's width
    view = View(8192, crop="resized", scale=(1.0, 1.0), ratio=(0.01, 0.01))
    with pytest.raises(ValueError, match="got 819200"):
        RCDB.check_view(view)
    RCDB.check_view(View(8192, crop="resized", scale=(1.0, 1.0), ratio=(0.1, 0.1)))


def test_a_run_with_such_windows_leaves_nothing_behind(tmp_path):
    run = PretrainConfig(dataset="rcdb-1k", crop="resized", crop_scale=(1e-12, 1.0), device="cpu")
    with pytest.raises(ValueError, match="lie too far apart"):
        run.validate()
