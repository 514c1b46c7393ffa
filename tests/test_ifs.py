import dataclasses

import numpy as np
import pytest
from conftest import contracting_table
from painter import paint

from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.ifs import IfsFormula, palette, splat, walk
from fdsl_gpu.formulas.ifs_table import pad_size, thresholds, to_pixel_space

INDICES = np.array([0, 1, 2, 2**33 + 5, 2**62 - 1, 2**63 + 4, 77], np.uint64)


def drawn(formula, instance):
    images = np.full((len(instance.label), 3, *[instance.image_size] * 2), 0xCD, np.uint8)
    formula.draw_numpy(instance, images)
    return images


@pytest.mark.parametrize("drawing", ["patch_gray", "patch_color", "point_gray", "point_color"])
@pytest.mark.parametrize("image_size", [3, 31, 64])
def test_definition_equals_the_sequential_painter(small_ifs, drawing, image_size):
    formula = dataclasses.replace(small_ifs, drawing=drawing)
    instance = formula.instance(INDICES, 2**40 + 3, View(image_size))
    images = drawn(formula, instance)
    for sample in range(len(INDICES)):
        np.testing.assert_array_equal(images[sample], paint(instance, sample))


@pytest.mark.parametrize("mask", ["per_image", "full"])
def test_other_masks_equal_the_sequential_painter(small_ifs, mask):
    formula = dataclasses.replace(small_ifs, mask=mask)
    instance = formula.instance(INDICES[:3], 0, View(33))
    images = drawn(formula, instance)
    for sample in range(3):
        np.testing.assert_array_equal(images[sample], paint(instance, sample))


@pytest.mark.parametrize("orientation", range(8))
def test_every_orientation_and_crop_equals_the_painter(small_ifs, orientation):
    whole = small_ifs.instance(INDICES[:2], 0, View(40))
    instance = dataclasses.replace(
        whole,
        orientation=np.full(2, orientation, np.int32),
        corner=np.array([[0, 9], [17, 3]], np.int32),
        image_size=23,
    )
    images = drawn(small_ifs, instance)
    for sample in range(2):
        np.testing.assert_array_equal(images[sample], paint(instance, sample))


def test_sample_depends_on_its_index_and_seed_alone(small_ifs):
    together = drawn(small_ifs, small_ifs.instance(INDICES, 0, View(32)))
    alone = drawn(small_ifs, small_ifs.instance(INDICES[3:4], 0, View(32)))
    np.testing.assert_array_equal(together[3], alone[0])
    other_seed = drawn(small_ifs, small_ifs.instance(INDICES[3:4], 1, View(32)))
    assert (other_seed != alone).any()


def test_odd_and_single_steps_use_the_words_of_their_pair(small_ifs):
    longer = small_ifs.instance(INDICES[:1], 0, View(32))
    x, y = walk(longer, 0)
    for steps in (1, 2, 5):
        formula = dataclasses.replace(small_ifs, num_points=steps * 128)
        shorter = walk(formula.instance(INDICES[:1], 0, View(32)), 0)
        np.testing.assert_array_equal(shorter[0], x[:steps])
        np.testing.assert_array_equal(shorter[1], y[:steps])


def test_points_follow_the_probabilities():
    table = contracting_table(num_maps=(4,))
    formula = IfsFormula(table, num_points=200_000)
    instance = formula.instance(np.arange(1, dtype=np.uint64), 0, View(64))
    # maps that forget where they came from show which of them was chosen
    maps = np.zeros((1, 8, 6), np.float32)
    maps[0, :, 4] = np.minimum(np.arange(8), 3)
    x, _ = walk(dataclasses.replace(instance, maps=maps), 0)
    shares = np.bincount(x.astype(int).ravel(), minlength=4) / x.size
    np.testing.assert_allclose(shares, table.probs[0], atol=4 * 0.5 / x.size**0.5)


def test_pixel_space_walks_like_the_formula_and_projects():
    random = np.random.default_rng(0)
    maps = random.uniform(-0.7, 0.7, (1, 3, 6))
    box = np.array([[-3.0, 2.0, -1.0, 4.0]])
    pixel_maps, start = to_pixel_space(maps, box, 224)
    pad, point, pixel = pad_size(224), np.zeros(2), start[0].astype(np.float64)
    for choice in random.integers(0, 3, 50):
        a, b, c, d, e, f = maps[0, choice]
        point = np.array([a * point[0] + b * point[1] + e, c * point[0] + d * point[1] + f])
        a, b, c, d, e, f = pixel_maps[0, choice].astype(np.float64)
        pixel = np.array([a * pixel[0] + b * pixel[1] + e, c * pixel[0] + d * pixel[1] + f])
        projected = (point - box[0, ::2]) / (box[0, 1::2] - box[0, ::2]) * (224 - 2 * pad) + pad
        np.testing.assert_allclose(pixel, projected, atol=1e-3)


def test_points_outside_and_nan_are_dropped():
    x = np.array([[-0.5, 2.0, np.nan, np.inf, 0.0, 2.999, 3.0]], np.float32)
    y = np.array([[1.0, 1.0, 1.0, 1.0, -1e-9, 0.5, 0.0]], np.float32)
    canvas = splat(x, y, 3)
    expected = np.zeros((3, 3), np.int32)
    expected[1, 2], expected[0, 2] = 2, 6
    np.testing.assert_array_equal(canvas, expected)


def test_frame_without_extent_draws_nothing(small_ifs):
    table = contracting_table()
    table.boxes[...] = 1.0
    formula = dataclasses.replace(small_ifs, table=table)
    assert not drawn(formula, formula.instance(INDICES, 0, View(32))).any()


def test_no_negative_zero_reaches_a_drawing(small_ifs):
    table = contracting_table()
    table.maps[:, 0, :] = -0.0
    instance = dataclasses.replace(small_ifs, table=table).instance(INDICES, 0, View(32))
    assert not np.signbit(instance.maps[instance.maps == 0]).any()
    assert not np.signbit(instance.start[instance.start == 0]).any()


def test_thresholds_split_the_words_by_probability():
    limits = thresholds(np.array([[2.0, 1.0, 1.0], [1.0, 0.0, 0.0]]))
    assert limits.tolist() == [[2**31, 3 * 2**30], [2**32 - 1, 2**32 - 1]]


def test_palette_turns_the_hue_with_red_and_blue_swapped():
    colors = palette()
    assert colors.shape == (128, 3)
    # V = 0.75 and V(1 - S) = 0.1875 of 255, truncated; hue 0 is red, stored as blue
    assert colors[0].tolist() == [47, 47, 191]
    assert set(colors.max(1)) == {191} and set(colors.min(1)) == {47}
    assert len(np.unique(colors, axis=0)) == 128


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"drawing": "patch"}, "drawing must be one of"),
        ({"mask": "half"}, "mask must be one of"),
        ({"num_points": 0}, r"num_points must be in \[1, 134217728\], got 0"),
        ({"num_walks": 1000}, r"num_walks must be a power of two in \[128, 4096\], got 1000"),
        ({"burn_in": 3}, "burn_in must be even and not negative, got 3"),
        ({"num_categories": 8}, r"num_categories must be in \[1, 7\] or left out, got 8"),
    ],
)
def test_settings_out_of_range_are_refused(small_ifs, setting, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(small_ifs, **setting)


def test_num_categories_keeps_the_first_ones(small_ifs):
    indices = np.arange(60, dtype=np.uint64)
    few = dataclasses.replace(small_ifs, num_categories=3)
    instance = few.instance(indices, 1, View(32))
    assert few.num_classes == 3
    assert np.array_equal(np.bincount(instance.label), [20, 20, 20])
    # a sample of category k has the maps of category k of the whole table
    assert np.array_equal(instance.num_maps, np.array([2, 3, 4])[instance.label])
