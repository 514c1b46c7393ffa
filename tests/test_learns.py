"""The arithmetic of benchmarks/learns.py: chance, intervals, going on."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def learns(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("learns")
    sys.modules.pop("learns")


@pytest.fixture
def quick(learns, tmp_path):
    return learns.LearnsConfig(results=tmp_path, quick=True, datasets=("rcdb-1k", "wacv-1k-multi"))


def test_a_data_set_is_learnt_and_judged(learns, quick):
    single, several = learns.study(quick)
    assert [single["dataset"], several["dataset"]] == ["rcdb-1k", "wacv-1k-multi"]
    assert (single["categories"], single["images"], single["chance"]) == ("1000", "128", "0.1")
    assert float(single["times_chance"]) == pytest.approx(10 * float(single["score"]), abs=0.1)
    # one to five of 100 categories, three on average
    assert float(several["prior"]) == pytest.approx(3, abs=0.5) and several["low"] == ""
    assert float(several["prior"]) < float(several["chance"]) < 15
    assert learns.read_rows(quick.results / "learns.csv") == [single, several]


def test_finished_data_sets_are_not_run_again_but_changed_ones_are(learns, quick, monkeypatch):
    ran = []

    def learn(run):
        ran.append((run.dataset, run.seed))
        if len(ran) == 2:
            raise KeyboardInterrupt
        row = dict.fromkeys(learns.COLUMNS, 1) | {"score": len(ran)}
        return row | learns.described(run)

    monkeypatch.setattr(learns, "learn", learn)
    with pytest.raises(KeyboardInterrupt):
        learns.study(quick)
    scores = [row["score"] for row in learns.study(quick)]
    assert scores == ["1", "3"] and len(ran) == 3  # the first stays, the one that was cut off runs
    learns.study(replace(quick, seed=7, datasets=("rcdb-1k",)))
    assert ran[3:] == [("rcdb-1k", 7)]
    rows = learns.read_rows(quick.results / "learns.csv")
    assert [(row["dataset"], row["score"]) for row in rows] == [
        ("rcdb-1k", "4"),
        ("wacv-1k-multi", "3"),
    ]


def test_the_settings_are_of_whole_data_sets_where_that_is_enough(learns):
    config = learns.LearnsConfig()
    for name in config.datasets:
        run = learns.pretraining(name, config)
        categories = {
            "rcdb-21k": 21_000,
            "visualatom-21k": 21_000,
            "wacv-1k": 100,
            "wacv-1k-multi": 100,
        }
        assert run.spec().num_classes == categories.get(name, 1_000)
    with pytest.raises(ValueError, match="datasets must be of .*got 'digits'"):
        learns.pretraining("digits", config)


def test_the_interval_is_wilsons(learns):
    # Wilson's interval of 20 of 4,000: 0.324 % .. 0.771 %
    assert learns.wilson_low(0.005, 4000) == pytest.approx(0.00324, abs=1e-5)
    assert learns.wilson_low(0.0, 100) == 0.0


def test_a_ranking_at_random_of_one_category_has_the_mean_of_inverse_ranks(learns):
    labels = torch.nn.functional.one_hot(torch.arange(20_000) % 10, 10).float()
    expected = 100 * sum(1 / rank for rank in range(1, 11)) / 10
    assert learns.ranked_at_random(labels, 0) == pytest.approx(expected, rel=0.03)
