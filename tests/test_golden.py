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
    ("fractaldb-1k", 1): "c16c6324f1fd3628",
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
