"""The search: the published categories, whatever interrupts it, and clear words where it fails."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fdsl_gpu import search as search_module
from fdsl_gpu.cli import main
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas import fractaldb
from fdsl_gpu.render import render
from fdsl_gpu.search import SearchConfig, search
from fdsl_gpu.tables import load_ifs_folder, load_ifs_table, load_shipped_table

SMALL = {"num_points": 2000, "canvas_size": 48, "seed": 5}
"""One of eleven candidates passes."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FDSL_GPU_CACHE", str(tmp_path / "cache"))


def contents(folder):
    """Everything in a folder of categories but how the search got there."""
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.csv")}


def defined_categories(config):
    """The same search written down plainly, from the definition."""
    random, found, walked = np.random.RandomState(config.seed), [], 0
    while len(found) < config.num_categories:
        maps, probs = fractaldb.candidate(random, config.num_maps, config.coefficients)
        walk = fractaldb.walk(maps, probs, random.random_sample(config.num_points))
        hit = fractaldb.canvas(*walk, config.canvas_size)
        walked += 1
        if hit.sum() / float(config.canvas_size**2) >= config.fill_rate:
            found.append(np.column_stack([maps, probs]))
    return found, walked


def test_search_finds_the_published_categories(tmp_path):
    result = search(SearchConfig(tmp_path / "out", num_categories=5))
    files = sorted((tmp_path / "out").glob("*.csv"))
    assert [file.name for file in files] == [f"{number:05d}.csv" for number in range(5)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert digest[:16] == "0b7466c905c3daf1"  # of the published files
    assert result.num_categories == 5
    shipped, found = load_shipped_table("fractaldb-1k"), load_ifs_folder(tmp_path / "out")
    assert np.array_equal(shipped.boxes[:5], found.boxes)


def test_search_writes_the_published_files(tmp_path, reference_data):
    search(SearchConfig(tmp_path / "out", num_categories=10))
    for path in (tmp_path / "out").glob("*.csv"):
        assert path.read_bytes() == (reference_data / "fractaldb-1k" / path.name).read_bytes()


def test_shipped_categories_are_the_published_ones(reference_data):
    table = load_shipped_table("fractaldb-1k")
    files = sorted((reference_data / "fractaldb-1k").glob("*.csv"))
    assert files
    for path in files:
        published = np.loadtxt(path, delimiter=",")
        number = int(path.stem)
        own = slice(table.num_maps[number])
        assert np.array_equal(table.maps[number, own], published[:, :6])
        assert np.array_equal(table.probs[number, own], published[:, 6])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_maps": (1, 8), "coefficients": (-0.7, 0.9)},
        {"num_maps": (3, 3), "coefficients": (-1.2, 1.2), "fill_rate": 0.1},
        {"fill_rate": 0.25, "canvas_size": 33},
    ],
    ids=str,
)
def test_search_equals_its_definition(tmp_path, settings):
    config = SearchConfig(tmp_path / "out", num_categories=6, **{**SMALL, **settings})
    expected, walked = defined_categories(config)
    assert search(config).num_candidates == walked
    table = load_ifs_folder(config.output)
    for number, category in enumerate(expected):
        own = slice(table.num_maps[number])
        assert np.array_equal(table.maps[number, own], category[:, :6])
        assert np.array_equal(table.probs[number, own], category[:, 6])


@pytest.mark.parametrize("fill_rate, needed", [(0.2, 52_429), (0.25, 65_536), (1e-9, 1)])
def test_fill_rate_means_what_the_published_quotient_means(fill_rate, needed):
    assert search_module._check(SearchConfig(fill_rate=fill_rate)) == needed
    assert needed / 512**2 >= fill_rate > (needed - 1) / 512**2


def test_search_carried_on_equals_one_in_a_single_run(tmp_path):
    for number in (3, 3, 8):
        search(SearchConfig(tmp_path / "parts", num_categories=number, **SMALL))
    once = search(SearchConfig(tmp_path / "whole", num_categories=8, **SMALL))
    again = search(SearchConfig(tmp_path / "parts", num_categories=8, **SMALL))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert again.num_candidates == once.num_candidates


KILLED = """
import sys
from pathlib import Path
from fdsl_gpu import search
search.SAVE_SECONDS = 0.02
search.search(search.SearchConfig(Path(sys.argv[1]), 90, num_points=20_000, canvas_size=160))
"""


def test_search_killed_at_any_moment_finds_the_same(tmp_path):
    killed = 0
    for least in (0, 20, 50):
        process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "killed"])
        while process.poll() is None and len(contents(tmp_path / "killed")) <= least:
            time.sleep(0.002)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed == 3
    settings = {"num_categories": 90, "num_points": 20_000, "canvas_size": 160}
    resumed = search(SearchConfig(tmp_path / "killed", **settings))
    whole = search(SearchConfig(tmp_path / "whole", **settings))
    assert resumed.num_candidates == whole.num_candidates
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.name for path in (tmp_path / "killed").iterdir()} == names


def test_folder_and_table_are_the_same_data_set(tmp_path):
    search(SearchConfig(tmp_path / "out", num_categories=3, **SMALL))
    folder = get_dataset(tmp_path / "out")
    table = get_dataset(tmp_path / "out" / "table.safetensors")
    assert folder.num_classes == table.num_classes == 3
    assert np.array_equal(folder.maps, table.maps, equal_nan=True)
    images = [
        render(dataset, range(6), image_size=40, backend="numpy")[0] for dataset in (folder, table)
    ]
    assert images[0].any()
    assert (images[0] == images[1]).all()


def test_command_searches_and_its_settings_file_starts_it_again(tmp_path, capsys):
    options = ["--num-points", "2000", "--canvas-size", "48", "--seed", "5", "--num-maps", "2", "4"]
    words = ["search", "--output", str(tmp_path / "out"), "--num-categories", "3", *options]
    assert main(words) == 0
    assert "3 categories of" in capsys.readouterr().out
    before = contents(tmp_path / "out")
    assert main(["search", "--config", str(tmp_path / "out" / "search.toml")]) == 0
    assert contents(tmp_path / "out") == before
    assert len(before) == 3
    assert main([*words, "--seed", "-3"]) == 2
    assert "error: seed must be in [0, 2**32), got -3" in capsys.readouterr().err


def test_progress_counts_categories_and_frames(tmp_path):
    told = []
    config = SearchConfig(tmp_path / "out", num_categories=3, **SMALL)
    search(config, lambda *report: told.append(report))
    assert told == [(kind, n, 3) for kind in ("categories", "frames") for n in (1, 2, 3)]


def test_search_gives_up_and_keeps_what_it_found(tmp_path):
    config = SearchConfig(
        tmp_path / "out", num_categories=500, max_rejected=60, **{**SMALL, "fill_rate": 0.25}
    )
    with pytest.raises(RuntimeError, match="60 candidates in a row fill less than 0.25") as error:
        search(config)
    found = len(contents(config.output))
    assert 0 < found < 500
    assert f"{found} of 500 categories" in str(error.value)
    assert load_ifs_folder(config.output).maps.shape[0] == found
    # the next start goes on after the candidates that were rejected
    before = contents(config.output)
    more = SearchConfig(config.output, num_categories=found + 1, **{**SMALL, "fill_rate": 0.25})
    search(more)
    expected, _ = defined_categories(more)
    own = load_ifs_table(config.output / "table.safetensors")
    assert np.array_equal(own.probs[found, : len(expected[-1])], expected[-1][:, 6])
    assert before.items() <= contents(config.output).items()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_categories": 0}, "num_categories must be in"),
        ({"num_categories": 100_001}, "num_categories must be in"),
        ({"fill_rate": 0.0}, "fill_rate must be in"),
        ({"fill_rate": float("nan")}, "fill_rate must be in"),
        ({"fill_rate": 0.4}, "fill_rate 0.4 asks for 104858 of 262144 pixels"),
        ({"fill_rate": 0.99, "num_points": 10**6}, "hit at most 251001"),
        ({"seed": -1}, "seed must be in"),
        ({"num_points": 99}, "num_points must be in"),
        ({"canvas_size": 12}, "canvas_size must be in"),
        ({"num_maps": (2, 3, 4)}, "num_maps must be two numbers"),
        ({"num_maps": (5, 2)}, "num_maps must be least and most"),
        ({"num_maps": (2, 9)}, "num_maps must be least and most"),
        ({"coefficients": (1.0, -1.0)}, "coefficients must be low and high"),
        ({"coefficients": (0.0, float("inf"))}, "coefficients must be low and high"),
        ({"max_rejected": 0}, "max_rejected must be at least 1"),
    ],
    ids=str,
)
def test_search_refuses_settings_before_it_makes_anything(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        search(SearchConfig(tmp_path / "out", **settings))
    assert not (tmp_path / "out").exists()


def test_search_leaves_the_categories_of_others_alone(tmp_path):
    (tmp_path / "00000.csv").write_text("mine")
    with pytest.raises(ValueError, match="holds category files but no search.safetensors"):
        search(SearchConfig(tmp_path, num_categories=1))
    assert contents(tmp_path) == {"00000.csv": b"mine"}


def test_search_does_not_go_on_with_other_settings(tmp_path):
    search(SearchConfig(tmp_path / "out", num_categories=2, **SMALL))
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match="seed 5 there and 6 here"):
        search(SearchConfig(tmp_path / "out", num_categories=4, **{**SMALL, "seed": 6}))
    with pytest.raises(ValueError, match="holds 2 categories already"):
        search(SearchConfig(tmp_path / "out", num_categories=1, **SMALL))
    assert contents(tmp_path / "out") == before


def test_search_refuses_a_truncated_state(tmp_path):
    search(SearchConfig(tmp_path / "out", num_categories=2, **SMALL))
    state = tmp_path / "out" / "search.safetensors"
    os.truncate(state, 1000)
    with pytest.raises(ValueError, match="is not the state of a search"):
        search(SearchConfig(tmp_path / "out", num_categories=4, **SMALL))


def test_search_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError, match="cannot write"):
        search(SearchConfig(tmp_path / "file" / "out", num_categories=1, **SMALL))
