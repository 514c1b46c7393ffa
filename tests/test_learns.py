"""The arithmetic of benchmarks/learns.py: chance, intervals, several runs, going on."""

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
    names = ("rcdb-1k", "segrcdb", "wacv-1k-multi")
    return learns.LearnsConfig(results=tmp_path, quick=True, datasets=names)


def test_a_data_set_is_learnt_and_judged(learns, quick):
    single, masks, several = learns.study(quick)
    assert (single["categories"], single["images"], single["chance"]) == ("1000", "256", "0.1")
    assert float(single["times_chance"]) == pytest.approx(10 * float(single["score"]), abs=0.1)
    assert (masks["categories"], masks["images"], masks["low"]) == ("254", "48", "")
    assert float(masks["chance"]) == pytest.approx(100 / 254, abs=1e-3)
    assert 100 / 254 < float(masks["prior"]) < 50
    # one to five of 1,000 categories, three on average; two runs of 256 images
    assert (several["images"], several["low"]) == ("512", "")
    assert float(several["prior"]) == pytest.approx(0.3, abs=0.05)
    assert float(several["prior"]) < float(several["chance"]) < 2
    assert learns.read_rows(quick.results / "learns.csv") == [single, masks, several]


def test_a_second_run_goes_on_with_the_model_of_the_first(learns, quick):
    first, second = learns.runs_of("wacv-1k-multi", quick)
    assert (first["dataset_settings"]["fractals"], "dataset_settings" in second) == ((1, 1), False)
    one, _ = learns.pretrain("wacv-1k-multi", [first], 0)
    # nothing is learnt at such a rate: the weights are those that the first run left
    frozen = second | {"lr": 1e-30, "warmup_lr": 0.0, "min_lr": 0.0}
    two, _ = learns.pretrain("wacv-1k-multi", [first, frozen], 0)
    for before, after in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(before, after, atol=1e-7, rtol=0)
    assert (one.spec.target, two.spec.target) == ("class", "multi_hot")


def test_finished_data_sets_are_not_run_again_but_changed_ones_are(learns, quick, monkeypatch):
    ran = []

    def learn(name, runs, seed):
        ran.append((name, seed))
        if len(ran) == 2:
            raise KeyboardInterrupt
        row = dict.fromkeys(learns.COLUMNS, 1) | {"score": len(ran)}
        return row | learns.described(name, runs, seed)

    monkeypatch.setattr(learns, "learn", learn)
    two = replace(quick, datasets=("rcdb-1k", "wacv-1k-multi"))
    with pytest.raises(KeyboardInterrupt):
        learns.study(two)
    scores = [row["score"] for row in learns.study(two)]
    assert scores == ["1", "3"] and len(ran) == 3  # the first stays, the one that was cut off runs
    learns.study(replace(quick, seed=7, datasets=("rcdb-1k",)))
    assert ran[3:] == [("rcdb-1k", 7)]
    monkeypatch.setitem(learns.PRETRAINING, "lr", 1e-3)
    learns.study(replace(quick, datasets=("rcdb-1k",)))
    rows = learns.read_rows(quick.results / "learns.csv")
    assert [(row["dataset"], row["seed"], row["score"]) for row in rows] == [
        ("rcdb-1k", "0", "5"),
        ("rcdb-1k", "7", "4"),
        ("wacv-1k-multi", "0", "3"),
    ]


def test_data_sets_are_judged_as_published(learns):
    config = learns.LearnsConfig()
    for name in config.datasets:
        last, spec = learns.runs_of(name, config)[-1], learns.get_dataset(name)
        if spec.target == "mask":
            same = {key: getattr(spec.formula, key) for key in last if hasattr(spec.formula, key)}
            assert len(same) == 3 and same.items() <= last.items()
        else:
            assert learns.PretrainConfig(dataset=name, **last).spec() == spec
    with pytest.raises(ValueError, match="datasets must be of .*got 'digits'"):
        learns.runs_of("digits", config)


def test_the_interval_is_wilsons(learns):
    # Wilson's interval of 20 of 4,000: 0.324 % .. 0.771 %
    assert learns.wilson_interval(0.005, 4000)[0] == pytest.approx(0.00324, abs=1e-5)
    assert learns.wilson_interval(0.0, 100)[0] == 0.0
