"""The arithmetic of the studies in benchmarks/: pairing, intervals, going on."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def transfer(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("transfer")
    sys.modules.pop("transfer")


def rows_of(scores):
    """Rows as transfer.csv has them, from {arm: {seed: top-1}}."""
    return [
        {"target": "t", "per_class": "5", "steps": "20", "arm": arm, "seed": str(seed)}
        | {"test_top1": str(score)}
        for arm, seeds in scores.items()
        for seed, score in seeds.items()
    ]


def test_differences_are_paired_by_seed(transfer):
    config = transfer.TransferConfig(targets=("t:5",), steps=(20,))
    scores = {
        "fractals": {0: 80.0, 1: 84.0, 2: 91.0, 3: 50.0},  # no scratch of seed 3 yet
        "scratch": {0: 75.0, 1: 80.0, 2: 85.0},
        "shuffled": {0: 75.0},  # one pair says nothing about spread
    }
    fractals, scratch = transfer.summarise(rows_of(scores), config)
    assert (fractals["num_seeds"], fractals["mean"], fractals["minus_scratch"]) == (3, 85.0, 5.0)
    # gains of 5, 4, 6: deviation 1, and 4.303 is Student's 97.5 % point of two degrees of freedom
    half = 4.303 / 3**0.5
    assert (fractals["low"], fractals["high"]) == pytest.approx((5 - half, 5 + half), abs=0.01)
    assert (scratch["mean"], scratch["std"]) == (80.0, 5.0) and "low" not in scratch


def test_a_row_that_was_cut_off_is_left_out(transfer, tmp_path):
    path = tmp_path / "rows.csv"
    transfer.write_rows(path, ["a", "b"], [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    assert transfer.read_rows(path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    path.write_text(path.read_text()[: -len(",4\n")])
    assert transfer.read_rows(path) == [{"a": "1", "b": "2"}]
    assert transfer.read_rows(tmp_path / "absent.csv") == []


def test_a_study_goes_on_with_more_seeds_but_not_with_other_settings(transfer, tmp_path):
    config = transfer.TransferConfig(results=tmp_path)
    transfer.open_study(config)
    transfer.open_study(replace(config, seeds=9, weights=tmp_path))
    with pytest.raises(ValueError, match="transfer.toml is of a study with other settings"):
        transfer.open_study(replace(config, lr=(1e-3,)))


def test_finished_cells_are_not_run_again(transfer, tmp_path, monkeypatch):
    config = transfer.TransferConfig(
        results=tmp_path, weights=tmp_path, targets=("digits:5",), steps=(20,), seeds=2
    )
    for arm in ("fractals", "shuffled"):
        (tmp_path / f"{arm}.safetensors").touch()
    ran = []

    def cell(config, pictures, per_class, seed, arm, settings):
        ran.append((seed, arm))
        if len(ran) == 4:
            raise KeyboardInterrupt
        row = dict.fromkeys(transfer.COLUMNS, 0)
        row |= {"target": "digits", "per_class": per_class, "seed": seed, "arm": arm, "steps": 20}
        yield row | {"test_top1": 50.0 + seed}

    monkeypatch.setattr(transfer, "run_cell", cell)
    with pytest.raises(KeyboardInterrupt):
        transfer.run(config)
    assert len(transfer.read_rows(tmp_path / "transfer.csv")) == 3
    transfer.run(config)
    assert ran[3:] == [(1, "fractals"), (1, "fractals"), (1, "shuffled"), (1, "scratch")]
    summary = transfer.read_rows(tmp_path / "transfer-summary.csv")
    assert [row["minus_scratch"] for row in summary] == ["0.0", "0.0", ""]
    assert (tmp_path / "transfer.png").stat().st_size > 0


@pytest.mark.parametrize(
    "held_out, gain, passes", [(56.0, 5.0, True), (56.0, 1.0, False), (1.6, 5.0, False)]
)
def test_the_smoke_check_wants_fractals_learnt_and_digits_gained(
    transfer, monkeypatch, capsys, held_out, gain, passes
):
    smoke = importlib.import_module("transfer_smoke")
    monkeypatch.setattr(smoke, "pretrain_arm", lambda *_, **__: {"held_out_top1": held_out})
    monkeypatch.setattr(smoke, "load_target", lambda name: None)
    monkeypatch.setattr(smoke, "Pictures", lambda *_, **__: None)
    # what fine-tuning would read: there is no file here
    monkeypatch.setattr(smoke, "finetuning", lambda config, seed, path: path)

    def cell(config, pictures, per_class, seed, arm, settings):
        assert (settings is None) == (arm == "scratch")
        yield {"test_top1": 80.0 + seed + (gain if arm == "fractals" else 0.0)}

    monkeypatch.setattr(smoke, "run_cell", cell)
    assert smoke.main() == (0 if passes else 1)
    assert ("passed" if passes else "FAILED") in capsys.readouterr().out
    sys.modules.pop("transfer_smoke")
