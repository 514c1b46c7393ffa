"""Which images a data set of 2D IFS has: fresh, published, by turns, by coverage."""

import dataclasses

import numpy as np
import pytest
from conftest import contracting_table

from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.one_p_frac import base_system
from fdsl_gpu.formulas.sigma_factor import sigma_factor
from fdsl_gpu.render import describe, render
from fdsl_gpu.rng import VALIDATION_INDEX


def published(**settings):
    table = contracting_table(num_maps=(2, 3, 4), num_weights=3)
    settings = {"num_points": 128 * 8, "num_walks": 128, "num_patches": 5, **settings}
    return IfsFormula(table, instances="published", **settings)


def drawn(formula, indices, seed=0):
    return render(DatasetSpec("x", 1, formula), indices, image_size=24, seed=seed)[0].numpy()


@pytest.mark.parametrize("num_turns", [1, 2, 4])
def test_published_epoch_holds_each_image_once(num_turns):
    formula = published(num_turns=num_turns)
    count = 3 * 3 * 5 * num_turns  # categories x rows x patch draws x turns
    for epoch in (0, 1, 10**9):
        indices = np.arange(count, dtype=np.uint64) + np.uint64(epoch * count)
        instance = formula.instance(indices, 0, View(16))
        images = {
            (*key, *patch)
            for key, patch in zip(
                zip(instance.label, instance.weight_row, instance.turn, strict=True),
                map(tuple, instance.patch_key),
                strict=True,
            )
        }
        assert len(images) == count
        # one walk for each (category, weight row), five patch draws shared by the turns
        walks = set(zip(instance.label, instance.weight_row, instance.walk_index, strict=True))
        assert len(walks) == 9 and len({walk[2] for walk in walks}) == 9
        assert len({tuple(patch) for patch in instance.patch_key}) == 45


def test_published_epochs_come_in_other_orders_with_the_same_pixels():
    formula, count = published(), 3 * 3 * 5 * 4
    first = drawn(formula, range(count))
    second = drawn(formula, range(count, 2 * count))
    assert (first != second).any()

    def as_set(images):
        return sorted(image.tobytes() for image in images)

    assert as_set(first) == as_set(second)


def test_validation_shares_the_published_geometries():
    formula = published()
    training = formula.instance(np.arange(180, dtype=np.uint64), 0, View(16))
    indices = np.arange(180, dtype=np.uint64) + np.uint64(VALIDATION_INDEX)
    validation = formula.instance(indices, 0, View(16))
    assert set(training.walk_index) == set(validation.walk_index)
    assert (training.weight_row != validation.weight_row).any()


def test_rotations_are_quarter_turns_of_one_drawing():
    formula = published(turns="rotations")
    described = describe(DatasetSpec("x", 1, formula), range(180))
    instance = formula.instance(np.arange(180, dtype=np.uint64), 0, View(24))
    images = drawn(formula, range(180))
    groups = {}
    for i in range(180):
        groups.setdefault(tuple(instance.patch_key[i]), {})[int(described["rotation"][i])] = i
    for group in groups.values():
        for turns, i in group.items():
            expected = np.rot90(images[group[0]], turns, axes=(1, 2))
            np.testing.assert_array_equal(images[i], expected)


def test_least_coverage_leaves_out_blank_rows():
    table = contracting_table(num_maps=(2, 3, 4), num_weights=3)
    coverage = np.array([[0.2, 0.01, 0.3], [0.0, 0.0, 0.04], [0.5, 0.5, 0.5]])
    formula = IfsFormula(dataclasses.replace(table, coverage=coverage), min_coverage=0.05)
    instance = formula.instance(np.arange(600, dtype=np.uint64), 0, View(16))
    rows = [set(instance.weight_row[instance.label == label].tolist()) for label in range(3)]
    assert rows == [{0, 2}, {2}, {0, 1, 2}]
    counts = np.bincount(instance.weight_row[instance.label == 0], minlength=3)
    assert abs(counts[0] - 100) < 4 * 50**0.5


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"instances": "new"}, "instances must be one of"),
        ({"turns": "spins"}, "turns must be one of"),
        ({"num_turns": 3}, "num_turns must be 1, 2 or 4, got 3"),
        ({"num_patches": 0}, r"num_patches must be in \[1, 65536\], got 0"),
        ({"min_coverage": 1.0}, r"min_coverage must be in \[0, 1\), got 1.0"),
        ({"min_coverage": 0.1}, "min_coverage leaves out published instances"),
    ],
)
def test_contradicting_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(published(), **settings)


def test_coverage_must_be_known_to_be_asked_for():
    formula = IfsFormula(contracting_table(), min_coverage=0.1)
    with pytest.raises(ValueError, match="min_coverage needs a table that knows its coverage"):
        formula.instance(np.arange(1, dtype=np.uint64), 0, View(16))


def test_ofdb_is_one_image_a_category():
    for name, factor in (("ofdb-1k", 0.2), ("ofdb-1k-paper", 1.0)):
        spec = get_dataset(name)
        assert spec.formula.table.weights.tolist() == [[factor, 1, 1, 1, 1, 1]]
        first, labels = render(spec, range(0, 1000, 250), image_size=48)
        for epoch in (1, 7):
            order = describe(spec, range(epoch * 1000, (epoch + 1) * 1000))["label"]
            again = [epoch * 1000 + int(np.flatnonzero(order == label)[0]) for label in labels]
            images, _ = render(spec, again, image_size=48)
            np.testing.assert_array_equal(images, first)
    np.testing.assert_array_equal(get_dataset("ofdb-1k").maps, get_dataset("fractaldb-1k").maps)


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.1, 0.2])
def test_one_p_frac_perturbs_one_fractal(delta):
    spec = get_dataset("1p-frac" if delta == 0.1 else f"1p-frac-{delta}")
    base, probs = base_system(3.5, 0)
    assert abs(sigma_factor(base) - 3.5) <= 0.1
    assert spec.maps.shape == (1000, 2, 6)
    factors = spec.maps / base
    assert (np.abs(factors - 1) <= delta).all()
    assert np.abs(factors - 1).max() > 0.99 * delta
    # all twelve coefficients vary on their own; leaving out what fills too little ties them a bit
    correlations = np.corrcoef(factors.reshape(1000, 12).T) - np.eye(12)
    assert np.abs(correlations).max() < 0.5
    np.testing.assert_allclose(spec.probs, np.tile(probs, (1000, 1)))
    assert spec.formula.num_points == 100_000


def test_one_p_frac_images_are_lit_enough():
    images, _ = render("1p-frac", range(0, 1000, 40), image_size=512)
    assert (images[:, 0] > 0).float().mean((1, 2)).min() > 0.04


def test_near_blank_variants_of_fractaldb_can_be_left_out():
    spec = get_dataset("fractaldb-1k").replace(min_coverage=0.05)
    coverage = spec.formula.table.coverage
    # the published variants: some 5 % nearly blank, some 12 % below 5 %
    assert 0.03 < (coverage < 0.01).mean() < 0.07
    assert 0.09 < (coverage < 0.05).mean() < 0.14
    described = describe(spec, range(2000))
    kept = coverage[described["label"], described["weight_row"]]
    assert kept.min() >= 0.05
    images, _ = render(spec, range(200), image_size=64)
    assert (images > 0).float().mean((1, 2, 3)).min() > 0.01
