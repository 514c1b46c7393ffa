"""Sigma-factor fractals: systems, jitter, colours, several to an image; the same pixels."""

import colorsys
import dataclasses

import numpy as np
import pytest
import torch
from graded_cases import CASES, defined, formula, instance

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.backends.numba.graded_ifs import draw
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.blur import blur_weights, blurred
from fdsl_gpu.formulas.diamond_square import amplitudes, field, hsv_to_rgb, num_levels
from fdsl_gpu.formulas.graded_drawing import BOX_STEPS, count, paint, patched, walk
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula
from fdsl_gpu.formulas.jitter import jittered
from fdsl_gpu.formulas.sigma_factor import sigma_factor
from fdsl_gpu.rng import philox


@pytest.mark.parametrize("case", CASES)
def test_numba_draws_the_definition(case):
    samples = instance(case)
    expected = defined(samples)
    actual = np.full_like(expected, 78)
    draw(samples, actual)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 1


def test_buffers_are_left_as_they_were_found():
    """Other sizes and numbers of walks in between change nothing."""
    images = {name: np.empty_like(defined(instance(name))) for name in ("crowded", "published")}
    for _ in range(2):
        for name, drawn in images.items():
            draw(instance(name), drawn)
            np.testing.assert_array_equal(drawn, defined(instance(name)))


def test_categories_are_the_published_systems():
    maps, num_maps = GradedIfsFormula(num_categories=400).categories
    assert (np.bincount(num_maps)[2:] > 100).all() and set(num_maps) == {2, 3, 4}
    for own, count_ in zip(maps, num_maps, strict=True):
        factor = sigma_factor(own[:count_])
        assert (5 + count_) / 2 <= factor <= (6 + count_) / 2
        assert np.linalg.svd(own[:, :4].reshape(-1, 2, 2), compute_uv=False).max() <= 1 + 1e-9
    assert GradedIfsFormula(num_categories=10).categories[0] == pytest.approx(maps[:10])


@pytest.mark.parametrize("kind", ["one_map", "fractaldb", "svd", "singular_values"])
def test_jitter_changes_what_it_says_and_stays_contractive(kind):
    maps, num_maps = (
        np.tile(array, (4, *(1,) * (array.ndim - 1)))
        for array in GradedIfsFormula(num_categories=300).categories
    )
    indices = np.arange(len(maps), dtype=np.uint64)
    varied = jittered(maps, num_maps, kind, 3, indices, np.full(len(maps), 4))
    singular = np.linalg.svd(varied[..., :4].reshape(*maps.shape[:2], 2, 2), compute_uv=False)
    assert singular.max() <= 1 + 1e-9
    changed = (varied != maps) & (np.arange(4) < num_maps[:, None])[:, :, None]
    assert changed.any((1, 2)).mean() > 0.5
    maps_changed = changed.any(2).sum(1)
    if kind == "fractaldb":
        # one coefficient of every map, all times the same factor
        assert changed.sum(2).max() == 1
        ratios = np.where(changed, varied / maps, 1)
        assert set(np.round(np.unique(ratios), 9)) <= {0.8, 0.9, 1.0, 1.1, 1.2}
        return
    assert maps_changed.max() == 1, "of one map alone"
    sample, which = np.nonzero(changed.any(2))
    before, after = maps[sample, which], varied[sample, which]
    values = [np.linalg.svd(m[:, :4].reshape(-1, 2, 2), compute_uv=False) for m in (before, after)]
    if kind == "one_map":
        ratio = after / before
        assert (abs(ratio - ratio[:, :1]) < 1e-9).all()
        assert ratio.min() >= 0.8 and ratio.max() < 1.1 and ratio.mean() < 0.96
    elif kind == "svd":
        np.testing.assert_allclose(values[0], values[1], atol=1e-9)
        moved = (after[:, 4:] != before[:, 4:]).any(1)
        assert 0.25 < moved.mean() < 0.42
        assert abs((after - before)[moved, 4:]).max() <= 0.5
        assert (after[moved, :4] == before[moved, :4]).all()
    else:
        factors = np.array([sigma_factor(v[:n]) for v, n in zip(varied, num_maps, strict=True)])
        assert ((5 + num_maps) / 2 <= factors + 1e-9).all()
        assert (factors <= (6 + num_maps) / 2 + 1e-9).all()
        ratio = values[1] / values[0]
        np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], rtol=1e-6)


def test_the_eight_turns_are_turns_of_one_walk():
    samples = GradedIfsFormula(num_categories=1, jitter="none").instance(
        np.arange(60, dtype=np.uint64), 0, View(24)
    )
    same = dataclasses.replace(samples, index=np.zeros_like(samples.index))
    x, y = walk(same, 0, 0)
    turns = [
        (sign_x * u, sign_y * v)
        for u, v in ((x, y), (y, x))
        for sign_x in (1, -1)
        for sign_y in (1, -1)
    ]
    seen = set()
    for sample in range(1, 60):
        points = walk(same, sample, 0)
        found = [k for k, turn in enumerate(turns) if np.array_equal(points, turn)]
        assert len(found) == 1
        seen.update(found)
    assert seen == set(range(8))


def test_walks_begin_on_the_attractor_and_stay():
    """The fixed point of the first map is there: no step is wasted on the way to it."""
    samples = GradedIfsFormula(num_categories=20, jitter="none").instance(
        np.arange(20, dtype=np.uint64), 1, View(32)
    )
    ratios = []
    for sample in range(20):
        x, y = walk(samples, sample, 0)
        a, b, c, d, e, f = samples.maps[sample, 0, 0].astype(np.float64)
        start = samples.start[sample, 0]
        np.testing.assert_allclose(
            [a * start[0] + b * start[1] + e, c * start[0] + d * start[1] + f], start, atol=1e-5
        )
        # the extent of the first steps is that of all, but for rare tips
        for values in (x, y):
            extent = values[:BOX_STEPS].max() - values[:BOX_STEPS].min()
            ratios.append(extent / (values.max() - values.min()))
    assert np.median(ratios) > 0.98 and min(ratios) > 0.6


def test_a_patch_is_pasted_at_every_point():
    """Counting first and patching then is what pasting a patch for each point gives."""
    random = np.random.default_rng(0)
    column, row = random.uniform(-2, 12, (2, 500)).astype(np.float32)
    patch = 0b101_110_001
    counts = patched(count(column, row, 10), np.int32(patch))
    expected = np.zeros((8, 8), int)
    for x, y in zip(column, row, strict=True):
        if not (0 <= x < 10 and 0 <= y < 10):
            continue
        for cell in range(9):
            r, c = int(y) - 1 + cell // 3 - 1, int(x) - 1 + cell % 3 - 1
            if patch >> (8 - cell) & 1 and 0 <= r < 8 and 0 <= c < 8:
                expected[r, c] += 1
    np.testing.assert_array_equal(counts, expected)


def test_density_turns_the_hue_and_what_lies_outside_is_cut_off():
    counts = np.array([[0, 1, 2], [4, 8, 0], [3, 0, 5]], np.int32)
    image = np.full((3, 4, 4), 9, np.uint8)
    paint(image, counts, np.array([10, 255, 255], np.int32), np.array([2, -1], np.int32))
    assert (image[:, :2] == 9).all() and (image[:, :, 2:] == 9).all()
    for row, column_, value in ((2, 0, 1), (2, 1, 2), (3, 0, 8)):
        hue = (int(value / 8 * 255) + 10) % 256
        rgb = np.array(colorsys.hsv_to_rgb(hue / 180 % 1, 1, 1)) * 255
        assert abs(image[:, row, column_] - rgb).max() <= 2
    assert (image[:, 3, 1] == 9).all(), "no point, no paint"


def test_hues_are_those_of_opencv():
    hue, saturation, value = np.random.default_rng(1).integers(0, 256, (3, 2000))
    expected = [
        colorsys.hsv_to_rgb(h / 180 % 1, s / 255, v / 255)
        for h, s, v in zip(hue, saturation, value, strict=True)
    ]
    drawn = hsv_to_rgb(hue, saturation, value)
    assert abs(drawn.T - 255 * np.array(expected)).max() <= 2.5


def slow_diamond_square(key_words, amplitude):
    """The algorithm point by point, as its authors have it."""
    levels = len(amplitude)
    s = 2**levels + 1
    grid, rng = {}, key_words

    def noise(r, c, m):
        return int(rng[r * s + c] * 2 * m >> 16) - m

    for r in (0, s - 1):
        for c in (0, s - 1):
            grid[r, c] = int(rng[r * s + c])
    for level, m in enumerate(map(int, amplitude)):
        gap = 2 ** (levels - level - 1)
        for r in range(gap, s, 2 * gap):
            for c in range(gap, s, 2 * gap):
                near = [grid[r + i, c + j] for i in (-gap, gap) for j in (-gap, gap)]
                grid[r, c] = sum(near) // 4 + noise(r, c, m)
        for r in range(0, s, gap):
            for c in range(0 if r // gap % 2 else gap, s, 2 * gap):
                up, down = r - gap if r else s - 1 - gap, r + gap if r < s - 1 else gap
                left, right = c - gap if c else s - 1 - gap, c + gap if c < s - 1 else gap
                near = grid[up, c] + grid[down, c] + grid[r, left] + grid[r, right]
                grid[r, c] = near // 4 + noise(r, c, m)
    return np.array([[grid[r, c] for c in range(s)] for r in range(s)])


@pytest.mark.parametrize("image_size", [3, 9, 20])
def test_backgrounds_are_diamond_square_noise(image_size):
    from fdsl_gpu.rng import mix

    words = philox(9, np.arange(50), 0, 6)
    amplitude = amplitudes(words[2], image_size)
    size = 2 ** num_levels(image_size) + 1
    assert size > image_size and amplitude.shape[1] == num_levels(image_size)
    assert (amplitude[:, 0] == 32768).all(), "half of the unit, then less by exp(-0.4) .. exp(-0.8)"
    ratio = amplitude[:, 1] / amplitude[:, 0]
    assert ratio.min() >= np.exp(-0.8) - 1e-4 and ratio.max() <= np.exp(-0.4)
    bits = mix(np.arange(size**2, dtype=np.uint32), *words[:2, 0]) >> np.uint32(16)
    expected = slow_diamond_square(bits.astype(np.int64), amplitude[0])
    np.testing.assert_array_equal(field(words[:2, 0], amplitude[0]), expected)


def test_several_fractals_are_all_named():
    described = describe("wacv-1k-multi", range(400), seed=2)
    images, target = render("wacv-1k-multi", range(400), image_size=32, seed=2)
    assert target.shape == (400, 1000) and target.dtype == torch.float32
    counts = (described["category"] >= 0).sum(1)
    assert (np.bincount(counts, minlength=6)[1:] > 50).all() and counts.max() == 5
    for row in range(400):
        own = described["category"][row]
        assert set(np.flatnonzero(target[row])) == set(own[own >= 0])
    assert set(target.unique().tolist()) == {0.0, 1.0}
    # labels of the first fractal are balanced
    whole = describe("wacv-1k-multi", range(1000))
    assert sorted(whole["label"]) == list(range(1000))
    np.testing.assert_array_equal(whole["label"], whole["category"][:, 0])


def test_sizes_and_places_are_the_published_ones():
    samples = get_dataset("wacv-1k-multi").formula.instance(
        np.arange(3000, dtype=np.uint64), 0, View(200)
    )
    there = samples.category >= 0
    sides, corners = samples.size[there], samples.corner[there]
    assert sides.min() == 30 and sides.max() == 119 and abs(sides.mean() - 74.5) < 1
    assert (samples.size[~there] == 0).all()
    centre = corners + sides[:, None] // 2
    assert centre.min() == 0 and centre.max() == 199


def test_one_fractal_an_image_has_a_label():
    images, labels = render("wacv-1k", range(64), image_size=64)
    assert labels.dtype == torch.int64 and images.shape == (64, 3, 64, 64)
    assert (labels.numpy() == describe("wacv-1k", range(64))["label"]).all()
    plain = get_dataset("wacv-1k").replace(background="black", window="whole")
    lit = (render(plain, range(64), image_size=64)[0] > 0).any(1).float().mean((1, 2))
    assert lit.min() > 0.01 and lit.max() < 0.99
    assert formula("published").num_classes == 50


def test_a_blur_is_a_gaussian_over_nine_pixels():
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 9), np.uint8)
    image[0] = 255
    words = np.array([[0, 0, 0], [0, 2**31, 2**32 - 1]], np.uint32)
    for sigma, weight in zip((0.5, 0.75, 1), blur_weights(words, 1.0), strict=True):
        actual = blurred(image, weight).astype(int)
        kernel = np.exp(-np.array([1, 0, 1]) / (2 * sigma**2))
        kernel /= kernel.sum()
        wide = np.pad(image, ((0, 0), (1, 1), (1, 1)), "reflect").astype(float)
        windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))
        expected = np.einsum("cyxij,i,j->cyx", windows, kernel, kernel)
        assert abs(actual - expected).max() < 2
        assert (actual[0] == 255).all()
    np.testing.assert_array_equal(blurred(image, 0), image)


def test_weights_of_a_blur_are_not_near_a_tie():
    """So that no C library's exponential rounds one of them to another whole number."""
    sigma = 0.5 + np.arange(512) / 1024
    side = np.exp(-0.5 / sigma**2)
    exact = 256 * side / (1 + 2 * side)
    assert abs(exact % 1 - 0.5).min() > 1e-4
    words = np.array([np.zeros(512), np.arange(512) * 2**23], np.uint32)
    np.testing.assert_array_equal(blur_weights(words, 0.5), np.rint(exact))


def test_so_many_images_are_blurred():
    spec = get_dataset("wacv-1k").replace(blur=0.25)
    indices = np.arange(2000, dtype=np.uint64)
    weights = spec.formula.instance(indices, 5, View(16)).blur
    assert 0.2 < (weights > 0).mean() < 0.3
    assert set(np.unique(weights[weights > 0])) == set(range(27, 71))
    # the others are as they were
    plain, _ = render("wacv-1k", range(20), image_size=33, seed=5)
    some, _ = render(spec, range(20), image_size=33, seed=5)
    same = (plain == some).flatten(1).all(1).numpy()
    np.testing.assert_array_equal(same, weights[:20] == 0)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"fractals": (0, 2)}, r"fractals must be least, most in \[1, 8\], got \(0, 2\)"),
        ({"jitter": "some"}, "jitter must be one of .*'one_map'.* got 'some'"),
        ({"min_size": 0.7}, "min_size must be above 0 and at most max_size, got 0.7"),
        ({"num_points": 2**21}, "num_points must be in"),
        ({"blur": 1.5}, r"blur must be in \[0, 1\], got 1.5"),
        ({"max_maps": 9}, "max_maps must be at most 8"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        GradedIfsFormula(**settings)


def test_views_are_refused_by_name():
    with pytest.raises(ValueError, match="wacv-1k.*whole canvas only, .*'crop': 'random'"):
        render("wacv-1k", [0], image_size=View(32, 48, crop="random"))
