"""Learning from images of several categories: loss, score, and a run."""

import csv
import math

import pytest
import torch

from fdsl_gpu.evaluate import EvaluateConfig, evaluate
from fdsl_gpu.multi_hot import average_precisions, multi_hot_losses, ranked_at_random
from fdsl_gpu.pretrain import PretrainConfig, pretrain


def samples():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 12, generator=random)
    target = (torch.rand(30, 12, generator=random) < 0.3).float()
    target[:, 0] = 1
    return logits, target


def test_losses_weigh_what_is_there_against_what_is_not():
    logits, target = samples()
    for row, there, loss in zip(logits, target, multi_hot_losses(logits, target), strict=True):
        expected = 0.0
        for logit, is_there in zip(row.tolist(), there.tolist(), strict=True):
            prob = 1 / (1 + math.exp(-logit))
            weight = 12 / there.sum().item()
            expected -= weight * math.log(prob) if is_there else math.log(1 - prob)
        assert loss.item() == pytest.approx(expected / 12, rel=1e-5)


def test_average_precision_is_the_mean_over_those_that_are_there():
    logits, target = samples()
    for row, there, score in zip(logits, target, average_precisions(logits, target), strict=True):
        own = [k for k in range(12) if there[k]]
        shares = [
            sum(row[other] >= row[k] for other in own) / sum(row[j] >= row[k] for j in range(12))
            for k in own
        ]
        assert score.item() == pytest.approx(float(sum(shares)) / len(own), rel=1e-5)
    perfect = average_precisions(target, target)
    assert (perfect == 1).all()


def test_a_ranking_at_random_of_one_category_has_the_mean_of_inverse_ranks():
    target = torch.nn.functional.one_hot(torch.arange(20_000) % 10, 10).float()
    expected = sum(1 / rank for rank in range(1, 11)) / 10
    assert ranked_at_random(target, 0) == pytest.approx(expected, rel=0.03)


def config(folder, **settings):
    settings = {
        "dataset": "wacv-1k-multi",
        "dataset_settings": {"num_categories": 4, "num_points": 1000, "background": "black"},
        "model": "test_resnet",
        "model_settings": {},
        "image_size": 32,
        "batch_size": 16,
        "epochs": 2,
        "epoch_size": 64,
        "val_size": 32,
        "warmup_epochs": 0,
        "mixup": 0.0,
        "cutmix": 0.0,
        "smoothing": 0.0,
        "ema_decay": 0.9,
        **settings,
    }
    return PretrainConfig(output=folder, **settings)


def test_a_run_logs_its_mean_average_precision(tmp_path):
    end = pretrain(config(tmp_path / "run"))
    assert end.update == 8
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert "val_top1" not in rows[0]
    for name in ("val_map", "val_map_ema"):
        assert 25 < float(rows[-1][name]) <= 100, "four categories of which some are there"
    assert end.learned["val_map"] == float(rows[-1]["val_map"])


def test_a_run_is_evaluated_by_its_mean_average_precision(tmp_path):
    end = pretrain(config(tmp_path / "run", ema_decay=None))
    result = evaluate(EvaluateConfig(tmp_path / "run", num_samples=32))
    # the held-out images that the run itself was judged on
    assert result.mean == pytest.approx(end.learned["val_map"], rel=1e-4)
    assert result.low < result.mean < result.high and 40 < result.chance < 90
    assert str(result).startswith(f"mean average precision {result.mean:.2f} % of 32 held-out")


def test_what_several_categories_cannot_have_is_said(tmp_path):
    with pytest.raises(ValueError, match="pass --mixup 0 --smoothing 0$"):
        config(tmp_path, mixup=0.8, smoothing=0.1).validate()
    with pytest.raises(ValueError, match="'segrcdb' has mask targets: examples/segmentation.py"):
        config(tmp_path, dataset="segrcdb", dataset_settings={}).validate()
