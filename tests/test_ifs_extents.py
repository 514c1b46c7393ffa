"""Samples whose frame is not in a table: a first pass over the walk finds it."""

import dataclasses

import numpy as np
import pytest
from ifs_cases import defined, formula, instance

from fdsl_gpu.backends.numba import ifs as numba_ifs
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.formulas.ifs import IfsFormula, extents, framed, walk
from fdsl_gpu.formulas.view import View
from fdsl_gpu.render import describe

INDICES = np.arange(300, dtype=np.uint64)


def test_weights_are_uniform_and_independent_of_each_other():
    continuous = dataclasses.replace(formula("continuous"), weight_step=0.4)
    described = continuous.instance(np.arange(20_000, dtype=np.uint64), 0, View(16)).describe()
    weights = described["weights"]
    assert weights.shape == (20_000, 6)
    assert "weight_row" not in described
    assert 0.2 <= weights.min() < 0.201 and 1.799 < weights.max() < 1.8
    # five standard errors of a uniform mean, and of a correlation of independent numbers
    assert np.abs(weights.mean(0) - 1).max() < 5 * 1.6 / np.sqrt(12 * 20_000)
    correlations = np.corrcoef(weights.T) - np.eye(6)
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


def test_maps_are_the_weighted_ones_and_describe_names_them():
    continuous = formula("continuous")
    samples = continuous.instance(INDICES, 5, View(16))
    described = describe(DatasetSpec("x", 1, continuous), INDICES, seed=5)
    np.testing.assert_array_equal(described["weights"], samples.describe()["weights"])
    expected = continuous.table.padded_maps[samples.label] * described["weights"][:, None]
    np.testing.assert_array_equal(samples.maps, expected.astype(np.float32))


def test_extents_are_those_of_the_finite_points():
    samples = instance("continuous_diverging")
    boxes = extents(samples)
    for sample, (left, right, top, bottom) in enumerate(boxes):
        x, y = walk(samples, sample)
        points = [
            (float(a), float(b))
            for a, b in zip(x.ravel(), y.ravel(), strict=True)
            if abs(a) < np.inf and abs(b) < np.inf
        ]
        if not points:
            assert np.isnan([left, right, top, bottom]).all()
            continue
        assert (left, top) == tuple(np.min(points, 0))
        assert (right, bottom) == tuple(np.max(points, 0))
    assert np.isnan(boxes).any(1).tolist() == [False, False, True, False]
    assert not defined(samples)[2:].any()


def test_an_image_fills_its_canvas_from_margin_to_margin():
    samples = framed(instance("continuous"))
    for sample in range(len(samples.label)):
        x, y = walk(samples, sample)
        for values in (x, y):
            np.testing.assert_allclose([values.min(), values.max()], [0, 29], atol=1e-3)


@pytest.mark.parametrize("case", ["continuous", "continuous_seen_askew", "continuous_diverging"])
def test_numba_draws_the_same(case):
    samples = instance(case)
    images = np.full(tuple(defined(samples).shape), 0xCD, np.uint8)
    numba_ifs.draw(samples, images)
    np.testing.assert_array_equal(images, defined(samples).numpy())


@pytest.mark.parametrize("step", [0, 0.51, -0.1])
def test_weight_step_out_of_range(step):
    with pytest.raises(ValueError, match=f"weight_step must be in .0, 0.5., got {step}"):
        dataclasses.replace(formula("continuous"), weight_step=step)


def test_min_coverage_is_for_weight_rows():
    with pytest.raises(ValueError, match="min_coverage leaves out continuous instances"):
        IfsFormula(formula("continuous").table, instances="continuous", min_coverage=0.1)
