import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import timm
import torch
from test_targets import make_folder

from fdsl_gpu.checkpoints import save_weights
from fdsl_gpu.cli import main
from fdsl_gpu.evaluate import EvaluateConfig, evaluate
from fdsl_gpu.finetune import FinetuneConfig, finetune
from fdsl_gpu.fitting import Pictures, fit, new_model, renew_statistics, share_of_rate, top1
from fdsl_gpu.pretrain import PretrainConfig, pretrain
from fdsl_gpu.targets import load_target
from fdsl_gpu.weights import read_weights

CPU = torch.device("cpu")
TINY = FinetuneConfig(
    scratch=True,
    model="test_resnet",
    image_size=32,
    steps=12,
    batch_size=8,
    val_per_class=4,
    lr=(1e-2,),
    log_interval=6,
    device="cpu",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes that differ in brightness."""
    return make_folder(tmp_path_factory.mktemp("images"), num_train=16, num_val=20)


def tiny(folder, output, **settings):
    return dataclasses.replace(TINY, target=str(folder), output=output, **settings)


def test_the_best_rate_on_validation_images_is_tested_once(folder, tmp_path, monkeypatch):
    target = load_target(str(folder))
    judged = []

    def spy(model, pictures, places, *arguments):
        judged.append(set(map(int, places)))
        return top1(model, pictures, places, *arguments)

    monkeypatch.setattr("fdsl_gpu.finetune.top1", spy)
    seen = []
    config = tiny(folder, tmp_path / "run", lr=(1e-7, 1e-2))
    result = finetune(config, lambda *progress: seen.append(progress))
    assert result.lr == 1e-2 and result.test_top1 > 95 and result.num_test == 40
    assert result.val_top1[1e-2] > result.val_top1[1e-7]
    assert [done for done, _, _ in seen] == list(range(1, 25)) and {t for _, t, _ in seen} == {24}
    val, again, test = judged  # twice the validation images, then the test split, and no more
    assert val == again and len(val) == 8 and val <= set(target.pool)
    assert test == set(target.test)
    saved = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (saved["lr"], saved["test_top1"]) == (1e-2, result.test_top1)
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["update"], row["lr"]) for row in rows] == [
        (update, lr) for lr in ("1e-07", "0.01") for update in ("6", "12")
    ]
    # what was kept is the model that was tested
    evaluation = evaluate(EvaluateConfig(tmp_path / "run"))
    assert evaluation.top1 == result.test_top1 and evaluation.num_images == 40
    assert evaluation.low < evaluation.top1 <= evaluation.high


def test_a_run_is_repeated_bit_for_bit_from_its_settings(folder, tmp_path, capsys):
    first = finetune(tiny(folder, tmp_path / "first", crop_scale=(0.5, 1.0), hflip=0.5))
    options = ["--config", tmp_path / "first" / "run.toml", "--output", tmp_path / "second"]
    assert main(["finetune", *map(str, options)]) == 0
    assert "test" in capsys.readouterr().err
    second = json.loads((tmp_path / "second" / "result.json").read_text())
    assert second["test_top1"] == first.test_top1
    one, two = (read_weights(tmp_path / name).tensors for name in ("first", "second"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A short run on four categories of fractals."""
    output = tmp_path_factory.mktemp("runs") / "pretrained"
    end = pretrain(
        PretrainConfig(
            output=output,
            model="test_resnet",
            model_settings={},
            image_size=32,
            supersample=2,
            mean=0.2,
            std=0.4,
            dataset_settings={"num_points": 2_000, "num_walks": 256, "num_categories": 4},
            batch_size=16,
            epochs=1,
            epoch_size=160,
            val_size=120,
            warmup_epochs=0,
            mixup=0.0,
            cutmix=0.0,
            device="cpu",
        )
    )
    return output, end


def test_a_run_on_fractals_is_fine_tuned_as_it_was_pre_trained(
    folder, pretrained, tmp_path, caplog
):
    output, _ = pretrained
    with caplog.at_level("INFO", "fdsl_gpu"):
        finetune(
            tiny(folder, tmp_path, scratch=False, checkpoint=output, model=None, image_size=None)
        )
    assert "loaded 90 tensors" in caplog.text and "new: fc.weight, fc.bias" in caplog.text
    text = (tmp_path / "run.toml").read_text()
    assert 'model = "test_resnet"' in text and "image_size = 32" in text
    assert "0.2,\n    0.2," in text  # the mean of pre-training


def test_held_out_fractals_are_judged_as_in_the_run(pretrained, tmp_path):
    output, end = pretrained
    evaluation = evaluate(EvaluateConfig(output, num_samples=120))
    assert evaluation.top1 == end.learned["val_top1"]
    assert (evaluation.num_images, evaluation.num_classes) == (120, 4)
    assert "held-out images of fractaldb-1k" in str(evaluation)
    # the same weights where nothing lies beside them
    path = tmp_path / "alone.safetensors"
    path.write_bytes((output / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"no run.toml lies beside"):
        evaluate(EvaluateConfig(path))
    told = EvaluateConfig(
        path,
        dataset="fractaldb-1k",
        dataset_settings={"num_points": 2_000, "num_walks": 256, "num_categories": 4},
        supersample=2,
        num_samples=120,
    )
    assert evaluate(told).top1 == evaluation.top1
    with pytest.raises(ValueError, match="another number of classes"):
        evaluate(dataclasses.replace(told, dataset_settings={"num_categories": 5}))
    with pytest.raises(ValueError, match="either --dataset or --target"):
        evaluate(dataclasses.replace(told, target="digits"))


def test_only_the_head_learns_at_a_layer_decay_near_nothing(folder, tmp_path):
    config = tiny(folder, tmp_path, layer_decay=1e-4, weight_decay=0.0).with_defaults(None)
    model = new_model(config, 2, None, CPU)
    before = {name: value.clone() for name, value in model.named_parameters()}
    pictures = Pictures(load_target(str(folder)), config, training=False)
    list(fit(model, pictures, np.arange(8), config, 1e-2, CPU))
    moved = {
        name: (value - before[name]).abs().max().item() for name, value in model.named_parameters()
    }
    assert moved["fc.weight"] > 1e-2
    assert max(moved[name] for name in moved if not name.startswith("fc.")) < 1e-3


def test_schedules():
    def rates(**settings):
        config = dataclasses.replace(TINY, **settings)
        return [share_of_rate(step, 9, config) for step in range(9)]

    assert rates(sched="constant") == [1.0] * 9
    assert rates(sched="step") == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)
    assert rates()[0] == 1 and rates()[3] == pytest.approx(0.75) and rates()[8] < 0.05
    assert rates(warmup_steps=2)[:3] == pytest.approx([1 / 3, 2 / 3, 1])


def test_statistics_are_those_of_the_training_images(folder, tmp_path):
    config = tiny(folder, tmp_path, batch_size=16).with_defaults(None)
    pictures = Pictures(load_target(str(folder)), config, training=False)
    model = new_model(config, 2, None, CPU)
    places = np.arange(32)
    momentum = model.bn1.momentum
    renew_statistics(model, pictures, places, config, CPU)
    images = torch.stack([pictures[int(place)][0] for place in places])
    with torch.no_grad():
        expected = model.conv1(images).mean((0, 2, 3))
    assert torch.allclose(model.bn1.running_mean, expected, atol=1e-3)
    assert model.bn1.momentum == momentum and not model.training
    # a model without such layers has nothing to renew
    plain = new_model(dataclasses.replace(config, model="test_vit"), 2, None, CPU)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    renew_statistics(plain, pictures, places, config, CPU)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_few_steps_are_judged_with_new_statistics():
    assert TINY.renews(100)
    assert not dataclasses.replace(TINY, steps=1000).renews(100)
    assert dataclasses.replace(TINY, steps=5000, renew_statistics=True).renews(100)
    assert dataclasses.replace(TINY, steps=None, epochs=3).num_steps(100) == 3 * 12


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"scratch": False}, "give either --checkpoint FILE or --scratch"),
        ({"checkpoint": "x.pth"}, "give either --checkpoint FILE or --scratch"),
        ({"partial": True}, "leave it out of --scratch"),
        ({"epochs": 3}, "give either --steps or --epochs"),
        ({"steps": None}, "give either --steps or --epochs"),
        ({"lr": (1e-2, 1e-3), "val_per_class": 0}, "val_per_class must be at least 1, or lr a"),
        ({"lr": ()}, "lr must be positive"),
        ({"lr": (math.nan,)}, "lr must be positive"),
        ({"model": None}, "name the --model"),
        ({"model": "resnet5"}, "unknown model 'resnet5'; did you mean 'resnet50'"),
        ({"opt": "adamy"}, "unknown optimiser 'adamy'"),
        ({"mean": (0.5, 0.5)}, "mean needs one value, or one for each of the 3"),
        ({"std": (0.0,)}, "std must be positive"),
        ({"layer_decay": 0.0}, r"layer_decay must be in \(0, 1\]"),
        ({"hflip": 2.0}, r"hflip must be in \[0, 1\]"),
        ({"crop_scale": (0.5, 2.0)}, "crop_scale must be 0 < low <= high <= 1"),
        ({"train_per_class": 100}, "has 16 images to learn from, and 104 are wanted"),
        ({"image_size": 2}, "image_size must be at least 3"),
        ({"precision": "fp16"}, "precision 'fp16' needs a GPU"),
        ({"model_settings": {"depth": 3}}, "cannot take 3-channel images"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(folder, tmp_path, settings, message):
    output = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        finetune(tiny(folder, output, **settings))
    assert not output.exists()


def test_a_checkpoint_that_does_not_fit_ends_the_run_before_it_starts(folder, tmp_path):
    path = tmp_path / "other.safetensors"
    save_weights(path, timm.create_model("test_vit", num_classes=3), {"arch": "test_vit"})
    config = tiny(folder, tmp_path / "run", scratch=False, checkpoint=path)
    with pytest.raises(ValueError, match=r"other.safetensors \(of test_vit\) does not fit"):
        finetune(config)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_left_alone(folder, tmp_path):
    finetune(tiny(folder, tmp_path, test=False))
    assert json.loads((tmp_path / "result.json").read_text())["test_top1"] is None
    with pytest.raises(ValueError, match="holds another run; choose another --output"):
        finetune(tiny(folder, tmp_path))


def test_a_rate_that_diverges_is_left_out_and_said(folder, tmp_path, caplog):
    config = tiny(folder, tmp_path / "run", lr=(1e30, 1e-2), opt="sgd", log_interval=1)
    result = finetune(config)
    assert result.lr == 1e-2 and result.val_top1[1e30] is None
    assert "learning rate 1e+30: the loss is infinite" in caplog.text
    with pytest.raises(RuntimeError, match="the loss became infinite at every learning rate"):
        finetune(dataclasses.replace(config, output=tmp_path / "none", lr=(1e30,)))


def test_the_model_of_a_run_is_not_asked_about_other_classes(folder, tmp_path):
    finetune(tiny(folder, tmp_path / "run", steps=1, test=False))
    other = make_folder(tmp_path / "other", ("cow", "pig"))
    with pytest.raises(ValueError, match="not those of .*: cat, dog there, cow, pig here"):
        evaluate(EvaluateConfig(tmp_path / "run", target=str(other)))
    three = make_folder(tmp_path / "three", ("cat", "cow", "dog"))
    with pytest.raises(ValueError, match="2 classes apart that are not those"):
        evaluate(EvaluateConfig(tmp_path / "run", target=str(three)))
