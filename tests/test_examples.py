"""The examples, run as they are, but on a small model."""

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"model": "test_vit", "batch_size": 4, "image_size": 160}


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture(scope="module")
def losses():
    """What training on the first samples of fractaldb-1k in their order gives: 6 steps."""
    return example("dataloader")(**SMALL, epoch_size=12, epochs=2, num_workers=0)


def test_dataloader_gives_the_same_for_any_number_of_workers(losses):
    assert len(losses) == 6 and all(0 < loss < 20 for loss in losses)
    assert example("dataloader")(**SMALL, epoch_size=12, epochs=2, num_workers=3) == losses


@pytest.mark.filterwarnings("ignore:'set_vital'")
def test_stateful_dataloader_goes_on_after_any_batch(losses, tmp_path):
    main, checkpoint = example("stateful_dataloader"), tmp_path / "checkpoint.pt"
    parts = [main(checkpoint, **SMALL, steps=steps, workers=2) for steps in (1, 2, 3)]
    assert sum(parts, []) == losses


@pytest.mark.filterwarnings("ignore")
def test_lightning_restores_the_stream_half_way_through_an_epoch(tmp_path):
    main = example("lightning_fit")
    settings = {
        **SMALL,
        "epoch_size": 16,
        "val_size": 4,
        "default_root_dir": tmp_path,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    whole = main(**settings)
    assert len(whole) == 8
    from lightning.pytorch.callbacks import ModelCheckpoint

    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    assert main(**settings, callbacks=[saver]) == whole
    resumed = main(**settings, resume=tmp_path / "step=3.ckpt")
    torch.testing.assert_close(resumed, whole[3:])


@pytest.mark.filterwarnings("ignore")
def test_accelerate_saves_and_restores_the_stream(tmp_path):
    main = example("accelerate_loop")
    whole = main(**SMALL, steps=5)
    parts = main(**SMALL, steps=2, save=tmp_path), main(**SMALL, steps=3, resume=tmp_path)
    assert sum(parts, []) == whole


@pytest.mark.filterwarnings("ignore")
def test_compiled_step_trains_as_the_plain_one(monkeypatch):
    # traced but run by torch itself: a compiler would take a minute
    compiled = example("compiled_step")(**SMALL, steps=2, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda **_: lambda function: function)
    torch.testing.assert_close(compiled, example("compiled_step")(**SMALL, steps=2))
