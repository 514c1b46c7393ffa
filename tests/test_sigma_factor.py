import numpy as np
import pytest

from fdsl_gpu.formulas.sigma_factor import sample_system, sigma_factor


@pytest.mark.parametrize("num_maps", [2, 3, 4, 7])
def test_every_system_contracts_and_has_its_factor(num_maps):
    for category in range(200):
        share = (category + 0.5) / 200
        factor = (5 + num_maps) / 2 + share / 2  # the published range
        system = sample_system(num_maps, factor, 3, category)
        singular = np.linalg.svd(system[:, :4].reshape(-1, 2, 2), compute_uv=False)
        assert (singular <= 1 + 1e-9).all() and (singular >= -1e-9).all()
        assert sigma_factor(system) == pytest.approx(factor, abs=1e-9)
        assert (np.abs(system[:, 4:]) <= 1).all()


@pytest.mark.parametrize("factor", [0.01, 1.0, 5.9])
def test_extreme_factors_are_reached(factor):
    systems = [sample_system(2, factor, 0, category) for category in range(50)]
    assert all(sigma_factor(system) == pytest.approx(factor, abs=1e-9) for system in systems)


def test_half_of_the_maps_are_reflections():
    systems = np.concatenate([sample_system(3, 4.2, 0, category) for category in range(400)])
    reflects = systems[:, 0] * systems[:, 3] - systems[:, 1] * systems[:, 2] < 0
    assert abs(reflects.mean() - 0.5) < 4 * 0.5 / len(systems) ** 0.5


def test_a_system_is_a_function_of_seed_and_category():
    np.testing.assert_array_equal(sample_system(2, 3.5, 1, 5), sample_system(2, 3.5, 1, 5))
    assert (sample_system(2, 3.5, 1, 5) != sample_system(2, 3.5, 2, 5)).all()
    assert (sample_system(2, 3.5, 1, 5) != sample_system(2, 3.5, 1, 6)).all()


@pytest.mark.parametrize(
    "num_maps, factor, message",
    [
        (1, 1.0, "num_maps must be at least 2, got 1"),
        (2, 6.0, r"factor must be in \(0, 6\), got 6.0"),
        (2, 0.0, r"factor must be in \(0, 6\), got 0.0"),
    ],
)
def test_impossible_systems_are_refused(num_maps, factor, message):
    with pytest.raises(ValueError, match=message):
        sample_system(num_maps, factor, 0, 0)
