"""Golden hashes: the pixels of every data set, as they were when its version was set.

A change here is a change of pixels: raise the data set's version; `python tests/test_golden.py`
prints the new hashes.
"""

import hashlib

import pytest

from fdsl_gpu.datasets import get_dataset, list_datasets
from fdsl_gpu.render import render

INDICES = [0, 1, 2, 3, 1000, 2**33 + 1, 2**62 - 1]

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


def pixels_hash(name):
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for image_size, seed in ((33, 0), (96, 2**40 + 5)):
            for array in render(name, INDICES, image_size=image_size, seed=seed, split=split):
                digest.update(array.numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", list_datasets())
def test_pixels_are_those_of_the_version(name):
    assert pixels_hash(name) == GOLDEN[name, get_dataset(name).version]


if __name__ == "__main__":
    for dataset in list_datasets():
        print(f'    ("{dataset}", {get_dataset(dataset).version}): "{pixels_hash(dataset)}",')
