"""The search for 3D categories: what it finds, whatever interrupts it, and clear words."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import fdsl_gpu
from fdsl_gpu import get_dataset, render
from fdsl_gpu.cli import main
from fdsl_gpu.formulas import exfractaldb
from fdsl_gpu.search3d import Search3dConfig, search_3d
from fdsl_gpu.tables3d import save_ifs3d_table


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FDSL_GPU_CACHE", str(tmp_path / "cache"))


def test_it_finds_the_categories_that_ship(tmp_path):
    result = search_3d(Search3dConfig(tmp_path / "found", num_categories=3))
    # read without its frames, which take seconds
    shipped = load_file(Path(fdsl_gpu.__file__).parent / "data" / "exfractaldb-1k.safetensors")
    found = load_file(tmp_path / "found" / "table.safetensors")
    for name in ("maps", "probs"):
        np.testing.assert_array_equal(found[name], shipped[name][:3])
    state = json.loads((tmp_path / "found" / "search.json").read_text())
    assert result.num_candidates == state["num_candidates"] == state["found"][-1] + 1
    # every candidate is judged as the definition judges it
    for number in range(40):
        maps = exfractaldb.candidate(0, number)
        walk = exfractaldb.walk(maps, exfractaldb.probabilities(maps))
        passes = bool((exfractaldb.spread(walk) > 0.05).all())
        assert passes == (number in state["found"]), number


def test_an_interrupted_search_goes_on_and_finds_the_same(tmp_path):
    class Stopped(Exception):
        pass

    def stop_at(number):
        def report(stage, done, total):
            assert stage == "categories" and done <= total == 5
            if done == number:
                raise Stopped

        return report

    config = Search3dConfig(tmp_path / "a", num_categories=5, min_variance=0.02)
    for number in (1, 3):
        with pytest.raises(Stopped):
            search_3d(config, stop_at(number))
    resumed = search_3d(config)
    whole = search_3d(Search3dConfig(tmp_path / "b", num_categories=5, min_variance=0.02))
    assert resumed.num_candidates == whole.num_candidates
    tables = [load_file(tmp_path / name / "table.safetensors") for name in "ab"]
    np.testing.assert_array_equal(tables[0]["maps"], tables[1]["maps"])
    more = search_3d(Search3dConfig(tmp_path / "a", num_categories=7, min_variance=0.02))
    assert more.num_categories == 7


def test_its_table_is_a_data_set(tmp_path, capsys):
    folder = tmp_path / "found"
    arguments = ["search-3d", "-o", str(folder), "--num-categories", "2", "--min-variance", "0.02"]
    assert main(arguments) == 0
    assert "2 categories of" in capsys.readouterr().out
    spec = get_dataset(folder / "table.safetensors")
    assert spec.num_classes == 2
    assert spec.maps.shape == (2, 7, 12) and spec.probs.shape == (2, 7)
    images, labels = render(spec, range(4), image_size=48)
    assert (images.float().mean((1, 2, 3)) > 0).all() and set(labels.tolist()) == {0, 1}


def test_what_cannot_be_searched_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"min_variance must be in \(0, 1\), got 1"):
        search_3d(Search3dConfig(tmp_path, min_variance=1))
    with pytest.raises(RuntimeError, match="candidates in a row .* lower min_variance"):
        search_3d(Search3dConfig(tmp_path / "a", min_variance=0.9, max_rejected=10))
    search_3d(Search3dConfig(tmp_path / "b", num_categories=2, min_variance=0.02))
    with pytest.raises(ValueError, match="holds 2 categories already"):
        search_3d(Search3dConfig(tmp_path / "b", num_categories=1, min_variance=0.02))
    with pytest.raises(ValueError, match="choose another output"):
        search_3d(Search3dConfig(tmp_path / "b", num_categories=2, min_variance=0.03))
    (tmp_path / "b" / "search.json").write_text("{")
    with pytest.raises(ValueError, match="is not the state of a search"):
        search_3d(Search3dConfig(tmp_path / "b", num_categories=2, min_variance=0.02))


def test_tables_that_are_none_are_refused(tmp_path):
    maps, probs = np.zeros((1, 2, 12)), np.array([[0.5, 0.6]])
    save_ifs3d_table(tmp_path / "sum.safetensors", maps, probs)
    with pytest.raises(ValueError, match="category 0 of .*: probabilities must"):
        get_dataset(tmp_path / "sum.safetensors")
    save_ifs3d_table(tmp_path / "shape.safetensors", maps[..., :6], probs)
    with pytest.raises(ValueError, match=r"must hold maps \[K, M, 12\]"):
        get_dataset(tmp_path / "shape.safetensors")
