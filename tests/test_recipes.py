import pytest

from fdsl_gpu.cli import _parse, main
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.recipes import list_recipes, recipe_path
from fdsl_gpu.settings import load_settings


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_a_run_that_could_start(name):
    config = load_settings(PretrainConfig, recipe_path(name))
    config.validate()
    assert config.spec().num_classes == (21_000 if "-21k-" in name else 1_000)
    assert config.image_size == 224 < (config.canvas_size or 0)


def test_recipes_say_what_was_published():
    names = [f"fractaldb-1k-{model}" for model in ("resnet50", "deit-tiny")]
    names += ["ofdb-1k-deit-tiny", "1p-frac-vit-tiny"]
    names += ["rcdb-21k-deit-base", "visualatom-21k-deit-base"]
    assert set(names) == set(list_recipes())
    resnet, deit, ofdb, one, rcdb, atom = (
        load_settings(PretrainConfig, recipe_path(name)) for name in names
    )
    assert (resnet.opt, resnet.lr, resnet.weight_decay, resnet.batch_size) == (
        "sgd",
        0.1,
        1e-4,
        256,
    )
    assert (resnet.epochs, resnet.sched, resnet.decay_epochs) == (90, "step", 30)
    assert resnet.spec().settings()["instances"] == "published"
    assert (deit.opt, deit.weight_decay, deit.epochs, deit.warmup_epochs) == (
        "adamw",
        0.05,
        300,
        10,
    )
    assert (deit.mixup, deit.cutmix, deit.erase_prob) == (0.8, 1.0, 0.25)
    # 80,000 passes of 3 updates; 5,000 of them to warm up
    for config in (ofdb, one):
        assert config.num_updates == 240_000
        assert config.warmup_epochs * config.updates_per_epoch == 5_000
        assert config.spec().settings()["num_turns"] == 1  # one image a category
    # 1,000 images of each of 21,000 categories, 64 on each of 128 GPUs
    for config in (rcdb, atom):
        assert (config.epoch_size, config.batch_size) == (21_000_000, 64 * 128)
        assert (config.opt, config.lr, config.epochs) == ("adamw", 1e-3, 90)
    assert rcdb.warmup_epochs == 5
    assert round(atom.warmup_epochs * atom.updates_per_epoch) == 5_000


def test_the_command_line_overrides_a_recipe():
    options = ["--recipe", "fractaldb-1k-resnet50", "--lr", "0.4", "--batch-size", "1024"]
    config = _parse("pretrain", PretrainConfig, options)
    assert (config.lr, config.batch_size, config.model) == (0.4, 1024, "resnet50")
    assert config == _parse("pretrain", PretrainConfig, ["--recipe=" + options[1], *options[2:]])


def test_bad_recipes_are_refused(tmp_path, capsys):
    def error(*options):
        assert main(["pretrain", *map(str, options)]) == 2
        return capsys.readouterr().err

    assert "did you mean 'fractaldb-1k-resnet50'" in error("--recipe", "fractaldb-1k-resnet")
    assert "--recipe needs the name of a published recipe" in error("--recipe")
    recipe = tmp_path / "own.toml"
    recipe.write_text(recipe_path("fractaldb-1k-resnet50").read_text() + "warm_up = 5\n")
    assert "unknown setting 'warm_up'" in error("--config", recipe)
    one = ("--recipe", "fractaldb-1k-resnet50")
    assert "settings can start from one file only" in error(*one, "--config", recipe)
