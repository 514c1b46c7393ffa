"""Tables of categories on disk, folders of published files, and the cache of their frames."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import contracting_table
from safetensors.numpy import save_file

from fdsl_gpu import frames, tables
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.tables import (
    load_ifs_folder,
    load_ifs_table,
    load_shipped_table,
    save_category,
    save_ifs_table,
    save_packed,
)

GOOD = "0.5,0.1,-0.2,0.4,1,0,0.25\n0.3,-0.6,0.6,0.3,0,1,0.75\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FDSL_GPU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Two published files: (tmp_path/categories)/00000.csv and 00001.csv."""
    path = tmp_path / "categories"
    path.mkdir()
    (path / "00000.csv").write_text(GOOD)
    (path / "00001.csv").write_text("0.5,0,0,0.5,1,1,1\n")
    return path


def not_computed(*_arguments):
    raise AssertionError("the frames were computed again")


# the shipped table


def test_shipped_table_has_the_published_numbers_of_maps():
    table = load_shipped_table("fractaldb-1k")
    assert np.bincount(table.num_maps).tolist() == [0, 0, 231, 294, 218, 146, 77, 34]
    assert table.maps.shape == (1000, 7, 6)
    assert table.boxes.shape == (1000, 25, 4)
    beyond = np.arange(7) >= table.num_maps[:, None]
    assert np.isnan(table.maps[beyond]).all()
    assert (table.probs[beyond] == 0).all()
    assert np.abs(table.maps[~beyond]).max() < 1
    assert np.array_equal(table.weights, fractaldb.weight_rows())


def test_shipped_table_has_the_published_expanding_maps():
    table = load_shipped_table("fractaldb-1k")
    linear = np.nan_to_num(table.maps[..., :4]).reshape(1000, 7, 2, 2)
    largest = np.linalg.svd(linear, compute_uv=False)[..., 0]
    assert (largest.max(1) > 1).sum() == 866


def test_shipped_probabilities_follow_the_areas():
    table = load_shipped_table("fractaldb-1k")
    for maps, probs, count in zip(table.maps, table.probs, table.num_maps, strict=True):
        assert np.array_equal(probs[:count], fractaldb.probabilities(maps[:count]))


def test_first_of_ten_thousand_categories_are_those_of_one_thousand(monkeypatch):
    path = Path(tables.__file__).parent / "data" / "fractaldb-10k.safetensors"
    monkeypatch.setattr(tables, "cached_boxes", lambda maps, *_: np.zeros((len(maps), 25, 4)))
    few, many = load_shipped_table("fractaldb-1k"), load_ifs_table(path)
    assert many.maps.shape == (10_000, 7, 6)
    assert np.array_equal(many.maps[:1000], few.maps, equal_nan=True)
    assert np.array_equal(many.probs[:1000], few.probs)
    assert len(np.unique(many.maps[:, 0], axis=0)) == 10_000


def test_packed_maps_are_the_table(tmp_path, monkeypatch):
    few = load_shipped_table("fractaldb-1k")
    monkeypatch.setattr(tables, "cached_boxes", lambda *_: few.boxes)
    save_packed(tmp_path / "t.safetensors", few)
    loaded = load_ifs_table(tmp_path / "t.safetensors")
    for name in ("maps", "probs", "weights"):
        assert np.array_equal(getattr(loaded, name), getattr(few, name), equal_nan=True)
    with pytest.raises(ValueError, match="not those of their areas"):
        save_packed(tmp_path / "t.safetensors", contracting_table())


def test_unknown_shipped_table():
    with pytest.raises(ValueError, match="the package has no table 'fractaldb-7'"):
        load_shipped_table("fractaldb-7")


# safetensors


def test_a_saved_table_is_the_table_that_is_loaded(tmp_path):
    table = contracting_table()
    path = tmp_path / "table.safetensors"
    save_ifs_table(path, table, seed=7)
    loaded = load_ifs_table(path)
    for name in ("maps", "probs", "weights", "boxes"):
        assert np.array_equal(getattr(loaded, name), getattr(table, name), equal_nan=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.safetensors"]
    os.umask(umask := os.umask(0))
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # not for its owner alone
    header = path.read_bytes()
    about = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    assert about == {"formula": "ifs", "format": "1", "seed": "7"}


def test_a_table_without_frames_gets_them_computed(tmp_path, folder):
    table = load_ifs_folder(folder)
    about = {"formula": "ifs", "format": "1"}
    save_file({"maps": table.maps, "probs": table.probs}, tmp_path / "t.safetensors", about)
    loaded = load_ifs_table(tmp_path / "t.safetensors")
    assert np.array_equal(loaded.boxes, table.boxes)
    assert np.array_equal(loaded.weights, fractaldb.weight_rows())


def tables_that_cannot_be_used():
    good = vars(contracting_table(num_maps=(2, 3)))
    arrays = {name: good[name] for name in ("maps", "probs", "weights", "boxes")}
    about = {"formula": "ifs", "format": "1"}
    missing = {name: value for name, value in arrays.items() if name != "probs"}
    maps_end_to_end = np.full((5, 6), 0.5)
    part_nan = arrays["maps"].copy()
    part_nan[1, 2, 4] = np.nan
    return {
        "format": (arrays, {**about, "format": "2"}, "not a table of IFS categories in format 1"),
        "metadata": (arrays, None, "not a table of IFS categories"),
        "missing": (missing, about, r"must hold maps \[K, M, 6\] and probs \[K, M\]"),
        "columns": ({**arrays, "maps": arrays["maps"][:, :, :5]}, about, "six coefficients"),
        "boxes": ({**arrays, "boxes": arrays["boxes"][:1]}, about, r"boxes \[K, R, 4\]"),
        "nan": ({**arrays, "maps": part_nan}, about, "category 1 of .* row 3, column e is nan"),
        "packed": (
            {"maps": maps_end_to_end, "num_maps": np.array([2, 4], np.uint8)},
            about,
            "as many maps",
        ),
        "sum": ({**arrays, "probs": arrays["probs"] * 0.9}, about, "category 0 .* sum to 1"),
    }


@pytest.mark.parametrize("case", tables_that_cannot_be_used().items(), ids=lambda case: case[0])
def test_unusable_tables_are_refused(tmp_path, case):
    arrays, about, message = case[1]
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    save_file(arrays, tmp_path / "t.safetensors", about)
    with pytest.raises(ValueError, match=message):
        load_ifs_table(tmp_path / "t.safetensors")


def test_a_truncated_table_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    save_ifs_table(path, contracting_table())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a safetensors file that can be read"):
        get_dataset(path)


# folders of category files


def test_a_folder_loads_in_the_order_of_its_names(folder):
    (folder / "notes.txt").write_text("not a category")
    table = load_ifs_folder(folder)
    assert table.num_maps.tolist() == [2, 1]
    assert table.maps[0, 1].tolist() == [0.3, -0.6, 0.6, 0.3, 0, 1]
    assert table.probs.tolist() == [[0.25, 0.75], [1, 0]]
    assert np.isnan(table.maps[1, 1]).all()
    # x' = y' = 0.5 x + 1 from the origin: x goes to 2, and with factor 1.8 on a to 10
    assert np.allclose(table.boxes[1, 2], [0, 2, 0, 2])
    assert np.allclose(table.boxes[1, 4], [0, 10, 0, 2])


def test_a_category_is_saved_with_all_its_digits(tmp_path):
    category = np.array([[1 / 3, -2 / 3, 0.1, 1e-17, -1, 1, 1]])
    save_category(tmp_path / "00000.csv", category)
    assert (tmp_path / "00000.csv").read_text() == (
        "3.333333333333333148e-01,-6.666666666666666297e-01,1.000000000000000056e-01,"
        "1.000000000000000072e-17,-1.000000000000000000e+00,1.000000000000000000e+00,"
        "1.000000000000000000e+00\n"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "1 to 8 maps .*, got 0"),
        ("\n\n", "1 to 8 maps .*, got 0"),
        ("1,2,3,4,5,6\n", "7 columns .* got 6"),
        (GOOD + "1,2,3\n", "7 columns .* got 3"),
        ("a,b,c,d,e,f,p\n" + GOOD, "every value must be a number"),
        (GOOD.replace("0.1", "nan"), "row 1, column b is nan"),
        (GOOD.replace("0.6,", "inf,", 1), "row 2, column b is -inf"),
        (GOOD.replace("0.75", "0.7"), "sum to 1, got 0.95"),
        (GOOD.replace("0.25", "-0.25").replace("0.75", "1.25"), "not be negative, got -0.25"),
        (9 * "0.5,0,0,0.5,0,0,0.111111111\n", "1 to 8 maps .*, got 9"),
    ],
    ids=["empty", "blank", "six", "ragged", "heading", "nan", "inf", "sum", "negative", "nine"],
)
def test_unusable_category_files_are_refused_by_name(folder, text, message):
    (folder / "00001.csv").write_text(text)
    with pytest.raises(ValueError, match=f"00001.csv: .*{message}"):
        get_dataset(folder)


def test_eight_maps_are_not_too_many(folder):
    (folder / "00001.csv").write_text(8 * "0.5,0,0,0.5,0,1,0.125\n")
    assert load_ifs_folder(folder).num_maps.tolist() == [2, 8]


def test_a_category_file_that_is_no_text(folder):
    (folder / "00001.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match=r"00001.csv cannot be read"):
        load_ifs_folder(folder)


def test_a_folder_without_category_files(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no category files in"):
        get_dataset(tmp_path / "empty")


# the cache of frames


def test_frames_are_computed_once(folder, cache, monkeypatch):
    first = load_ifs_folder(folder)
    assert len(list(cache.rglob("*.npy"))) == 1
    monkeypatch.setattr(frames, "compute_boxes", not_computed)
    assert np.array_equal(load_ifs_folder(folder).boxes, first.boxes)


def test_frames_are_kept_in_parts_and_an_interrupted_computation_goes_on(
    folder, cache, monkeypatch, caplog
):
    expected = load_ifs_folder(folder).boxes
    (cache / "frames").rename(cache / "before")
    monkeypatch.setattr(frames, "PART", 1)
    computed, compute = [], frames.compute_boxes

    def interrupted(maps, *rest):
        if computed:
            raise KeyboardInterrupt
        computed.append(len(maps))
        return compute(maps, *rest)

    monkeypatch.setattr(frames, "compute_boxes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_ifs_folder(folder)
    told = []
    monkeypatch.setattr(frames, "compute_boxes", lambda *all: told.append(1) or compute(*all))
    with caplog.at_level(logging.INFO, "fdsl_gpu"):
        assert np.array_equal(load_ifs_folder(folder).boxes, expected)
    assert computed == [1] and told == [1]  # the first part came from the disk
    assert "frames of 1 of 2 categories" in caplog.text


def test_frames_of_other_categories_are_others(folder, cache):
    first = load_ifs_folder(folder)
    (folder / "00001.csv").write_text("0.5,0,0,0.5,2,1,1\n")
    second = load_ifs_folder(folder)
    assert len(list(cache.rglob("*.npy"))) == 2
    assert np.array_equal(first.boxes[0], second.boxes[0])
    assert np.allclose(second.boxes[1, 2], [0, 4, 0, 2])


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01", None], ids=["empty", "cut", "shape"])
def test_damaged_frames_are_computed_again(folder, cache, damage, caplog):
    first = load_ifs_folder(folder)
    (path,) = cache.rglob("*.npy")
    if damage is None:
        np.save(path, np.zeros((3, 3)))
    else:
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "fdsl_gpu"):
        assert np.array_equal(load_ifs_folder(folder).boxes, first.boxes)
    assert "computing them again" in caplog.text
    assert np.array_equal(np.load(path), first.boxes)


def test_frames_that_cannot_be_kept_are_used_and_said(folder, cache, caplog):
    cache.write_text("a file in the way")
    with caplog.at_level(logging.WARNING, "fdsl_gpu"):
        assert np.allclose(load_ifs_folder(folder).boxes[1, 2], [0, 2, 0, 2])
    assert "set FDSL_GPU_CACHE to a folder that can be written" in caplog.text


def test_where_frames_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("FDSL_GPU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert frames.cache_folder() == tmp_path / "xdg" / "fdsl_gpu"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert frames.cache_folder() == tmp_path / "home" / ".cache" / "fdsl_gpu"


def test_progress_of_the_frames():
    table, told = contracting_table(num_maps=(2, 3, 4)), []
    boxes = frames.compute_boxes(
        table.maps, table.probs, table.weights, lambda *report: told.append(report)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    x, y = fractaldb.walk(
        table.maps[0, :2] * table.weights[1], table.probs[0, :2], fractaldb.walk_uniforms()
    )
    assert np.array_equal(boxes[0, 1], fractaldb.frame(x, y))
