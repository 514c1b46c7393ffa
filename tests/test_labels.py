import numpy as np
import pytest

from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import VALIDATION_INDEX


@pytest.mark.parametrize("num_classes", [1, 2, 3, 5, 64, 1000, 21_000])
def test_every_block_holds_each_category_once(num_classes):
    indices = np.arange(3 * num_classes, dtype=np.uint64) + np.uint64(10**12 * num_classes)
    blocks = balanced_labels(indices, 5, num_classes).reshape(3, num_classes)
    np.testing.assert_array_equal(np.sort(blocks, 1), np.tile(np.arange(num_classes), (3, 1)))


def test_order_depends_on_block_seed_and_split():
    indices = np.arange(100, dtype=np.uint64)
    orders = [
        balanced_labels(indices, 0, 100),
        balanced_labels(indices + np.uint64(100), 0, 100),
        balanced_labels(indices, 1, 100),
        balanced_labels(indices + np.uint64(VALIDATION_INDEX), 0, 100),
    ]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert (first == second).mean() < 0.1


def test_any_index_can_be_looked_up_alone():
    indices = np.arange(50, dtype=np.uint64) + np.uint64(990)
    together = balanced_labels(indices, 3, 1000)
    alone = [balanced_labels(indices[i : i + 1], 3, 1000)[0] for i in range(50)]
    assert together.tolist() == alone


def test_orders_are_as_random_as_shuffles():
    num_blocks, num_classes = 2000, 100
    labels = balanced_labels(np.arange(num_blocks * num_classes, dtype=np.uint64), 3, num_classes)
    blocks = labels.reshape(num_blocks, num_classes)
    places = np.zeros((num_classes, num_classes))
    np.add.at(places, (np.tile(np.arange(num_classes), (num_blocks, 1)), blocks), 1)
    expected = num_blocks / num_classes
    dof = (num_classes - 1) ** 2
    assert abs(((places - expected) ** 2 / expected).sum() / dof - 1) < 5 * np.sqrt(2 / dof)
    for lag in (1, 2, 8, 32):
        differences = (blocks[:, lag:] - blocks[:, :-lag]) % num_classes
        counts = np.bincount(differences.ravel(), minlength=num_classes)[1:]
        chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (num_classes - 2)
        assert abs(chi2 - 1) < 5 * np.sqrt(2 / (num_classes - 2)), lag
