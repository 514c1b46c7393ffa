"""FractalDB as published: its definition against known results, its compiled code against both."""

import hashlib

import numpy as np
import pytest

from fdsl_gpu.backends.numba import fractaldb as compiled
from fdsl_gpu.backends.numba import mt19937
from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.replay import replay_fractaldb
from fdsl_gpu.tables import load_shipped_table

# (category, weight row, SHA-256 of the pixels hit, and of those covered) at 362 px and 200,000
# points, as the published renderer drew them; (5, 4) ends in NaN, (12, 16) is 50,000 times as large
# as its unweighted category
PUBLISHED = [
    (0, 2, "02e68d89300e2c95", "a5e7d9f0da59a696"),
    (1, 2, "9b1159cf9c106e1e", "434efbf90b52a984"),
    (7, 0, "0b03c44644bed59f", "601200912f132479"),
    (23, 13, "18148a70ca5b8591", "1f7a3d534f551f69"),
    (42, 24, "c6ca21e43f43a922", "26bd6b228fa33ba0"),
    (99, 18, "f6fea7e68bf35ad4", "c6b929aed17d1090"),
    (5, 4, "fba0e7d535cf7215", "0e7afd3898c18eeb"),
    (12, 16, "09ab8b3bd7e1f966", "d8b2515dcb3d055b"),
]


def candidates(count, seed=3, **ranges):
    """Random systems; every third has coefficients so large that most of its walks end in NaN."""
    random = np.random.RandomState(seed)
    systems = [fractaldb.candidate(random, **ranges) for _ in range(count)]
    return [(maps * (1, 1, 3)[k % 3], probs) for k, (maps, probs) in enumerate(systems)]


def uniforms(count, seed=4):
    return np.random.RandomState(seed).random_sample(count)


# the definition


def test_a_walk_applies_the_first_map_whose_bound_is_not_below_the_uniform():
    maps = np.array([[0.5, 0, 0, 0.5, 1, 0], [0, 1, 1, 0, 0, 2.0]])
    probs = np.array([0.25, 0.5])  # the bounds are 0.25 and 0.75
    x, y = fractaldb.walk(maps, probs, np.array([0.25, 0.3, 0.9, 0.1, 0.1]))
    # first map, second map, neither (the point is repeated), first map; the last uniform is unused
    assert x.tolist() == [0, 1, 0, 0, 1]
    assert y.tolist() == [0, 0, 3, 3, 1.5]


def test_nan_rule_deletes_the_hundred_points_before_the_first_nan():
    x, y = np.arange(300.0), -np.arange(300.0)
    x[250:] = y[251:] = np.nan
    kept_x, kept_y = fractaldb.drop_nan(x, y)
    assert kept_x.tolist() == list(range(150))
    assert np.array_equal(kept_y, -kept_x)


def test_nan_rule_applies_to_y_on_what_x_left():
    x, y = np.arange(300.0), np.arange(300.0)
    x[250], y[120] = np.nan, np.nan
    # x deletes 150..250; y's NaN is still at 120 and deletes 20..120
    assert fractaldb.drop_nan(x, y)[0].tolist() == [*range(20), *range(121, 150), *range(251, 300)]


def test_nan_rule_counts_from_the_end_where_there_are_no_hundred_points():
    x, y = np.arange(300.0), np.zeros(300)
    x[30] = np.nan
    # -70..29 and 30: the last seventy, the first thirty, and the NaN itself
    assert fractaldb.drop_nan(x, y)[0].tolist() == list(range(31, 230))


def test_frame_fills_the_canvas_inside_its_padding():
    x, y = np.array([0.0, -2.0, 6.0]), np.array([0.0, 0.5, 0.25])
    box = fractaldb.frame(x, y)
    assert box.tolist() == [-2, 6, 0, 0.5]
    assert fractaldb.to_pixels(x, *box[:2], 362).tolist() == [6 + 350 // 4, 6, 356]
    assert fractaldb.to_pixels(y, *box[2:], 362).tolist() == [6, 356, 181]


def test_frame_keeps_a_positive_minimum_as_the_published_rescale_does():
    values = np.array([1.0, 1.25, 1.5])
    # v / (max - min) * 350 + 6, without subtracting the minimum: beyond the canvas of 362
    box = fractaldb.frame(values, values)
    assert fractaldb.to_pixels(values, *box[:2], 362).tolist() == [706, 881, 1056]
    assert not fractaldb.canvas(values, values, 362).any()


def test_points_without_extent_are_drawn_in_the_corner():
    hit = fractaldb.canvas(np.zeros(3), np.array([0.0, 1.0, 2.0]), 20)
    assert np.argwhere(hit).tolist() == [[6, 0], [10, 0], [14, 0]]


def test_a_patch_lies_at_plus_one_to_plus_three_of_its_point():
    hit = np.zeros((12, 12), bool)
    hit[2, 5] = hit[10, 11] = hit[9, 0] = True
    expected = np.zeros((12, 12), bool)
    expected[3:6, 6:9] = True
    expected[10:12, 1:4] = True
    assert np.array_equal(fractaldb.coverage(hit), expected)


def test_weight_rows_change_one_coefficient_at_a_time():
    rows = fractaldb.weight_rows()
    changed = [
        tuple(map(float, (column, row[column])))
        for row in rows
        for column in range(6)
        if row[column] != 1
    ]
    assert changed == [(c, w) for c in range(6) for w in (0.2, 0.6, 1.4, 1.8)]
    assert (rows[2] == 1).all()
    assert fractaldb.weight_rows(0.1)[3, 0] == 1.1


def test_weight_rows_are_the_published_ones(reference_data):
    published = np.loadtxt(reference_data / "weights_0.4.csv", delimiter=",")
    assert np.array_equal(fractaldb.weight_rows(), published)


# the compiled code


def test_generator_gives_the_numbers_of_the_legacy_one():
    random = np.random.RandomState(9)
    key, position = mt19937.seeded(9)
    scratch = np.empty(20_000, np.uint32)
    for count in (1, 311, 312, 313, 10_000):
        numbers = np.empty(count)
        ahead = key.copy()
        position_ahead = mt19937.advance(ahead, position, 2 * count)
        position = mt19937.doubles(key, position, scratch, numbers)
        assert np.array_equal(numbers, random.random_sample(count))
        assert position_ahead == position
        assert np.array_equal(ahead, key)
        for ranges in (((2, 7), (-1, 1)), ((3, 3), (-0.8, 1.3)), ((1, 8), (0, 2))):
            maps, probs, position = mt19937.candidate(key, position, *ranges)
            expected = fractaldb.candidate(random, *ranges)
            assert np.array_equal(maps, expected[0])
            assert np.array_equal(probs, expected[1])


@pytest.mark.parametrize("num_maps", range(1, 9))
def test_compiled_walk_is_the_definition(num_maps):
    for maps, probs in candidates(6, num_maps=(num_maps, num_maps)):
        for scale in (1, 0.9):  # 0.9: some uniforms are above the last bound
            expected = fractaldb.walk(maps, probs * scale, uniforms(3000))
            actual = compiled.walk(maps, probs * scale, uniforms(3000))
            assert np.array_equal(actual, expected, equal_nan=True)


def test_some_of_the_walks_tested_end_in_nan():
    ends = [np.isnan(compiled.walk(*system, uniforms(3000))[0][-1]) for system in candidates(30)]
    assert 5 < sum(ends) < 25


def test_compiled_walk_repeats_points_of_a_system_without_area():
    maps, probs = np.array([[1.0, 2, 2, 4, 1, 1]]), np.array([np.nan])
    expected = fractaldb.walk(maps, probs, uniforms(5))
    assert expected[0].tolist() == [0] * 5
    assert np.array_equal(compiled.walk(maps, probs, uniforms(5)), expected)


@pytest.mark.parametrize("num_points", [500, 3000])  # 500: a walk may diverge in its first hundred
def test_compiled_boxes_are_the_frames_of_the_definition(num_points):
    weights = np.concatenate(
        [fractaldb.weight_rows(), 1.5 * np.ones((9, 6)), 1e9 * np.ones((1, 6))]
    )
    early = 0
    for maps, probs in candidates(6):
        boxes = compiled.boxes(maps, probs, weights, uniforms(num_points))
        for weight, box in zip(weights, boxes, strict=True):
            x, y = fractaldb.walk(maps * weight, probs, uniforms(num_points))
            early += bool(np.isnan(x[:100]).any())
            expected = fractaldb.frame(*fractaldb.drop_nan(x, y))
            assert np.array_equal(box, expected, equal_nan=True)
    assert early == 6


@pytest.mark.parametrize("size, num_points", [(31, 1000), (64, 9000)])
def test_compiled_verdict_counts_the_pixels_of_the_definition(size, num_points):
    for number, (maps, probs) in enumerate(candidates(15)):
        random = np.random.RandomState(number)
        state = random.get_state(legacy=False)["state"]
        x, y = fractaldb.walk(maps, probs, random.random_sample(num_points))
        count = int(fractaldb.canvas(x, y, size).sum())
        verdicts = [
            compiled.fills(
                maps,
                probs,
                state["key"].copy(),
                state["pos"],
                num_points=num_points,
                size=size,
                needed=needed,
            )
            for needed in (count, count + 1)
        ]
        assert verdicts == [True, False]


# what ships


@pytest.mark.parametrize("category, weight_row", [(0, 2), (5, 4), (12, 16), (999, 24)])
def test_shipped_frames_are_those_of_the_definition(category, weight_row):
    table = load_shipped_table("fractaldb-1k")
    own = slice(table.num_maps[category])
    maps = table.maps[category, own] * table.weights[weight_row]
    walk = fractaldb.walk(maps, table.probs[category, own], fractaldb.walk_uniforms())
    frame = fractaldb.frame(*fractaldb.drop_nan(*walk))
    assert np.array_equal(table.boxes[category, weight_row], frame)


@pytest.mark.parametrize("category, weight_row, points_hash, coverage_hash", PUBLISHED)
def test_replay_is_what_the_published_renderer_drew(
    category, weight_row, points_hash, coverage_hash
):
    masks = replay_fractaldb(category, weight_row)
    hashes = [hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16] for mask in masks]
    assert hashes == [points_hash, coverage_hash]


def test_replay_equals_the_published_masks(reference_data):
    masks = np.load(reference_data / "official_masks.npz")
    pairs = zip(masks["category"], masks["weight_row"], strict=True)
    for number, (category, weight_row) in enumerate(pairs):
        points, coverage = replay_fractaldb(
            category,
            weight_row,
            image_size=int(masks["image_size"]),
            num_points=int(masks["num_points"]),
        )
        assert np.array_equal(np.packbits(points), masks["point"][number])
        assert np.array_equal(np.packbits(coverage), masks["coverage"][number])


def test_replay_pads_by_six_pixels_at_every_size_and_flips():
    points, coverage = replay_fractaldb(0, 2, image_size=40, num_points=20_000)
    rows, columns = np.nonzero(points)
    # the last row and column hit are 34, and the flip counts rows from below
    assert (rows.min(), rows.max()) == (39 - 34, 39 - 6)
    assert (columns.min(), columns.max()) == (6, 34)
    rows, columns = np.nonzero(coverage)
    assert (rows.min(), rows.max()) == (39 - 37, 39 - 7)
    assert (columns.min(), columns.max()) == (7, 37)


def test_replay_of_the_start_alone():
    points, coverage = replay_fractaldb(0, 2, image_size=16, num_points=1)
    assert np.argwhere(points).tolist() == [[15, 0]]  # no extent: the corner, flipped
    assert coverage.sum() == 9


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"category": 1000}, "category"),
        ({"category": -1}, "category"),
        ({"weight_row": 25}, "weight_row"),
        ({"image_size": 12}, "image_size"),
        ({"image_size": 10**6}, "image_size"),
        ({"num_points": 0}, "num_points"),
    ],
)
def test_replay_names_the_number_that_is_out_of_range(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} must be in"):
        replay_fractaldb(**{"category": 0, "weight_row": 2, **arguments})
