"""Golden hashes: the pixels of every data set, as they were when its version was set.

A change here is a change of pixels: raise the data set's version; `python tests/test_golden.py`
prints the new hashes.
"""

import hashlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fdsl_gpu import tables
from fdsl_gpu.catalog import CATALOG
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.frames import compute_boxes
from fdsl_gpu.render import render
from fdsl_gpu.rng import VALIDATION_INDEX

INDICES = [0, 1, 2, 3, 1000, 2**33 + 1, 2**62 - 1]
SEEDS = (0, 2**40 + 5)

# (data set, version) -> first 16 digits of the SHA-256 of images and targets, both splits
GOLDEN = {
    ("1p-frac", 1): "88a38caa36732dce",
    ("1p-frac-0.01", 1): "54c2988473c595cf",
    ("1p-frac-0.05", 1): "2f611bf2722d0cf7",
    ("1p-frac-0.2", 1): "a6143487445edf57",
    ("3d-ofdb-1k", 1): "110796ebf4db35bd",
    ("3d-ofdb-1k-paper", 1): "97a72eb703cfad9c",
    ("bezier-1k", 1): "663d48bfd1574003",
    ("exfractaldb-1k", 1): "2736550d39d46a29",
    ("fractaldb-1k", 1): "c16c6324f1fd3628",
    ("fractaldb-10k", 1): "842713bbc518243d",
    ("fractaldb-1k-color", 1): "01d776d385789f57",
    ("mvfractaldb-1k", 1): "79e05bbca8f46c67",
    ("ofdb-1k", 1): "0924994343d2d4ad",
    ("ofdb-1k-paper", 1): "b4b332164f425151",
    ("perlin-100", 1): "ab0bb0153c03e368",
    ("perlin-1k", 1): "130bf02b3d67a92c",
    ("rcdb-1k", 1): "df50bca0e22d37da",
    ("rcdb-21k", 1): "f26c513493ddc4f8",
    ("segrcdb", 1): "d26f2d8fea30cf39",
    ("visualatom-1k", 1): "12813626b91befff",
    ("visualatom-1k-argparse", 1): "163575dc111e0017",
    ("visualatom-21k", 1): "15d27a1b98f4528d",
    ("wacv-1k", 1): "885a590ad03a9de9",
    ("wacv-1k-multi", 1): "4909853122c5a96c",
}


def boxes_of_samples(maps, probs, weights):
    """The frames of the categories that INDICES show: those of all 10,000 take a minute."""
    splits = np.array([[0], [VALIDATION_INDEX]], np.uint64)
    indices = (np.array(INDICES, np.uint64) + splits).ravel()
    own = np.unique([balanced_labels(indices, seed, len(maps)) for seed in SEEDS])
    boxes = np.full((len(maps), len(weights), 4), np.nan)
    boxes[own] = compute_boxes(maps[own], probs[own], weights)
    return boxes


def dataset_named(name):
    if name != "fractaldb-10k":
        return get_dataset(name)
    path = Path(tables.__file__).parent / "data" / f"{name}.safetensors"
    with mock.patch.object(tables, "cached_boxes", boxes_of_samples):
        return DatasetSpec(name, CATALOG[name][0], IfsFormula(tables.load_ifs_table(path)))


def pixels_hash(dataset):
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for image_size, seed in zip((33, 96), SEEDS, strict=True):
            for array in render(dataset, INDICES, image_size=image_size, seed=seed, split=split):
                digest.update(array.numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_pixels_are_those_of_the_version(name):
    dataset = dataset_named(name)
    assert pixels_hash(dataset) == GOLDEN[name, dataset.version]


if __name__ == "__main__":
    for dataset in map(dataset_named, sorted(CATALOG)):
        print(f'    ("{dataset.name}", {dataset.version}): "{pixels_hash(dataset)}",')
