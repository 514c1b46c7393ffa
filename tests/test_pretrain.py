import csv
import dataclasses
import os
import random
import signal
import socket
import time
from multiprocessing import get_context

import pytest
import timm
import torch

from fdsl_gpu import render
from fdsl_gpu.checkpoints import LAST, PREVIOUS, read_checkpoint
from fdsl_gpu.filters import draw_filters, filter_sheet
from fdsl_gpu.formulas.view import View
from fdsl_gpu.pretrain import PretrainConfig, pretrain
from fdsl_gpu.ranks import Ranks
from fdsl_gpu.trainer import Trainer

DRAWING = {"num_points": 2_000, "num_walks": 256, "num_categories": 4}

# every source of randomness is in it: drop-path, Mixup and CutMix; and every state: AdamW, an
# average of the weights, a schedule, gradients of two steps
TINY = PretrainConfig(
    model="test_resnet",
    model_settings={"drop_path_rate": 0.2},
    ema_decay=0.9,
    image_size=32,
    dataset_settings=DRAWING,
    batch_size=16,
    grad_accum=2,
    clip_grad=1.0,
    epochs=3,
    epoch_size=160,
    val_size=20,
    warmup_epochs=0.5,
    log_interval=3,
    checkpoint_interval=4,
    device="cpu",
    backend="numpy",  # nothing to compile in the processes of these tests
)
# nothing in it depends on how a batch is split
PLAIN = dataclasses.replace(
    TINY, model="test_vit", model_settings={}, ema_decay=None, grad_accum=1, mixup=0.0, cutmix=0.0
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The models here are too small to share out: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # read by the processes that tests start
    os.environ["OMP_NUM_THREADS"] = "1"
    # a server that has imported all that is slow to import forks those processes
    get_context("forkserver").set_forkserver_preload(["fdsl_gpu.pretrain", "timm"])
    yield
    del os.environ["OMP_NUM_THREADS"]
    torch.set_num_threads(before)


def tiny(output, **settings):
    return dataclasses.replace(TINY, output=output, **settings)


def rows(folder, name="log.csv"):
    with (folder / name).open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "left_alone"
    seen = []
    end = pretrain(tiny(folder), seen.append)
    return folder, end, seen


def test_a_run_leaves_its_log_and_speed(left_alone):
    folder, end, seen = left_alone
    assert [progress.update for progress in seen] == list(range(1, 31))
    log = rows(folder)
    assert [row["update"] for row in log] == [3, 6, 9, 10, 12, 15, 18, 20, 21, 24, 27, 30]
    assert [row["epoch"] for row in log] == [1] * 4 + [2] * 4 + [3] * 4
    assert all(row["images"] == 16 * row["update"] for row in log)
    # the warm-up of 5 updates ends at the full rate, which a cosine then takes to its minimum
    rates = [row["lr"] for row in log]
    assert rates[0] < rates[1] and rates[1:] == sorted(rates[1:], reverse=True)
    assert 0.9e-3 < rates[1] < 1e-3 and 1e-5 < rates[-1] < 3e-5
    assert [row["update"] for row in log if "val_top1" in row] == [10, 20, 30]
    assert all(0 <= row["val_top1_ema"] <= 100 for row in log if "val_top1" in row)
    assert end.learned == log[-1] and end.num_classes == 4
    speed = rows(folder, "speed.csv")
    assert [row["update"] for row in speed] == [row["update"] for row in log]
    # the first update of a process, when compilers run, is left out
    assert end.speed.images == 29 * 16
    assert end.speed.img_s == pytest.approx(29 * 16 / end.speed.seconds)
    assert sum(row["seconds"] for row in speed) == pytest.approx(end.speed.seconds, abs=1e-3)
    assert end.speed.draw_share > 0 and 0 <= end.speed.wait_share < 1


def test_timm_reads_what_a_run_leaves(left_alone):
    folder, _, _ = left_alone
    last = read_checkpoint(folder / LAST)
    assert last["update"] == 30 and read_checkpoint(folder / PREVIOUS)["update"] == 28
    for name, key in [
        ("model.safetensors", "state_dict"),
        ("model_ema.safetensors", "state_dict_ema"),
        (LAST, "state_dict_ema"),  # timm prefers the average where there is one
    ]:
        model = timm.create_model("test_resnet", num_classes=4, checkpoint_path=folder / name)
        weights = model.state_dict()
        assert weights.keys() == last[key].keys()
        assert all(torch.equal(weights[k], last[key][k]) for k in weights), name


def test_validation_scores_the_held_out_images(left_alone):
    folder, end, _ = left_alone
    spec = tiny(folder).spec()
    images, labels = render(spec, range(20), image_size=32, split="val")
    model = timm.create_model(
        "test_resnet", num_classes=4, checkpoint_path=folder / "model.safetensors"
    ).eval()
    with torch.no_grad():
        logits = model((images / 255 - 0.5) / 0.5)
    assert end.learned["val_top1"] == 100 * (logits.argmax(1) == labels).double().mean()
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert end.learned["val_loss"] == pytest.approx(loss.item(), abs=1e-5)


def test_killed_at_random_it_ends_like_a_run_left_alone(left_alone, tmp_path):
    expected, _, _ = left_alone
    config = tiny(tmp_path / "run", resume=True)
    processes = get_context("forkserver")
    chance = random.Random(11)
    resumed = []
    for _ in range(4):
        seen = updates_logged(config.output)
        run = processes.Process(target=pretrain, args=(config,))
        run.start()
        goal = seen + chance.randrange(2, 6)
        while updates_logged(config.output) < goal and run.is_alive():
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.15))
        os.kill(run.pid, signal.SIGKILL)
        run.join()
        assert run.exitcode == -signal.SIGKILL
        last = config.output / LAST
        resumed.append(read_checkpoint(last)["update"] if last.exists() else 0)
    assert resumed[-1] > resumed[0]
    run = processes.Process(target=pretrain, args=(config,))
    run.start()
    run.join()
    assert run.exitcode == 0
    for name in ("log.csv", "model.safetensors", "model_ema.safetensors"):
        assert (config.output / name).read_bytes() == (expected / name).read_bytes(), name


def updates_logged(folder):
    try:
        return int((folder / "log.csv").read_bytes().splitlines()[-1].split(b",")[0])
    except (OSError, ValueError):
        return 0


def test_resumed_when_done_nothing_is_trained(left_alone):
    folder, end, _ = left_alone
    before = (folder / "log.csv").read_bytes()
    seen = []
    again = pretrain(tiny(folder, resume=True), seen.append)
    assert not seen and again.learned == end.learned
    assert (folder / "log.csv").read_bytes() == before


def test_a_model_learns_categories_and_a_picture_shows_its_filters(tmp_path):
    end = pretrain(
        dataclasses.replace(
            TINY,
            output=tmp_path,
            model_settings={},
            ema_decay=None,
            supersample=2,
            mean=0.2,
            grad_accum=1,
            batch_size=32,
            epoch_size=640,
            epochs=2,
            val_size=200,
            lr=1e-2,
            backend="auto",
            mixup=0.0,
            cutmix=0.0,
            tensorboard=True,
        )
    )
    assert end.learned["val_top1"] > 45  # chance is 25, four deviations above it 37
    assert (tmp_path / "filters.png").stat().st_size > 0
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_training_images_are_the_stream_averaged_down():
    config = dataclasses.replace(PLAIN, supersample=3, mean=0.2, std=0.4)
    trainer = Trainer(config, Ranks(0, 1, torch.device("cpu")))
    images, labels = next(iter(trainer.loader))
    drawn, expected = render(config.spec(), range(16), image_size=96)
    average = drawn.double().unflatten(2, (32, 3)).unflatten(4, (32, 3)).mean((3, 5))
    assert torch.equal(labels, expected)
    # rounded to whole levels
    assert torch.allclose(images.double() * 0.4 + 0.2, average / 255, atol=0.501 / 255)


def test_crops_and_augmentation_are_for_training_only():
    config = dataclasses.replace(PLAIN, canvas_size=52, crop="random", hflip=0.5, erase_prob=1.0)
    config.validate()
    trainer = Trainer(config, Ranks(0, 1, torch.device("cpu")))
    images, _ = next(iter(trainer.loader))
    view = View(32, canvas_size=52, crop="random", hflip=0.5)
    cut, _ = render(config.spec(), range(16), image_size=view)
    erased = (images * 0.5 + 0.5) * 255 - cut
    assert 0.02 < (erased.abs() > 0.01).float().mean() < 1 / 3 + 0.05
    images, _ = next(iter(trainer.val_loader))
    middle, _ = render(config.spec(), range(16), image_size=52, split="val")
    assert torch.allclose((images * 0.5 + 0.5) * 255, middle[..., 10:42, 10:42].float(), atol=1e-3)


def test_the_batch_counts_ranks_and_steps(tmp_path):
    alone = dataclasses.replace(PLAIN, output=tmp_path / "alone", epochs=1)
    pretrain(alone)
    steps = dataclasses.replace(alone, output=tmp_path / "steps", grad_accum=4)
    pretrain(steps)
    two = tmp_path / "two"
    processes = get_context("forkserver")
    port = free_port()
    ranks = [processes.Process(target=train_as_rank, args=(r, port, two)) for r in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=120)
        assert rank.exitcode == 0
    # the sums run in another order; a batch shared out otherwise would differ in the first digits
    for other in (steps.output, two):
        for row, expected in zip(rows(other), rows(alone.output), strict=True):
            assert row == pytest.approx(expected, rel=1e-5)


def train_as_rank(rank, port, folder):
    """One of two processes, told so as torchrun does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pretrain(dataclasses.replace(PLAIN, output=folder, epochs=1))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_bfloat16_and_channels_last_run_on_a_cpu(tmp_path):
    exact = pretrain(tiny(tmp_path / "exact", epochs=1))
    rough = pretrain(tiny(tmp_path / "rough", epochs=1, precision="bf16", channels_last=True))
    assert rough.learned["loss"] != exact.learned["loss"]
    assert rough.learned["loss"] == pytest.approx(exact.learned["loss"], rel=0.02)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"model": "test_resnt"}, "unknown model 'test_resnt'; did you mean 'test_resnet"),
        ({"opt": "adamww"}, "unknown optimiser 'adamww'; did you mean 'adamw"),
        ({"dataset": "fractaldb-2k"}, "unknown data set 'fractaldb-2k'; did you mean"),
        ({"dataset_settings": {"points": 9}}, "has no setting 'points'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1000}, "an epoch must hold at least one batch"),
        ({"batch_size": 15}, "batch_size must be a multiple of ranks x grad_accum, got 15"),
        ({"batch_size": 18}, "Mixup and CutMix pair images"),
        ({"image_size": 2}, "image_size must be in"),
        ({"lr": float("nan")}, "lr must be positive, got nan"),
        ({"warmup_epochs": 4.0}, "warmup_epochs must be at most epochs, got 4.0 and 3"),
        ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\), got 1.0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \(0, 1\) or left out"),
        ({"precision": "fp16"}, "precision 'fp16' needs a GPU"),
        ({"sched": "cosin"}, "sched must be one of"),
        ({"model_settings": {"depth": 3}}, "cannot take 3-channel images of 32 pixels"),
        ({"model": "test_vit", "model_settings": {}, "image_size": 33}, "of 33 pixels"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_anything_is_written(
    tmp_path, settings, message
):
    with pytest.raises(ValueError, match=message):
        pretrain(tiny(tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(RuntimeError, match="device 'cuda' needs a GPU and torch sees none"):
        pretrain(dataclasses.replace(TINY, device="cuda"))


def test_a_checkpoint_of_another_run_is_refused(left_alone, tmp_path):
    folder, _, _ = left_alone
    other = tiny(tmp_path / "run", epochs=1, seed=1)
    pretrain(other)
    before = (other.output / "log.csv").read_bytes()
    (other.output / LAST).write_bytes((folder / LAST).read_bytes())
    with pytest.raises(ValueError, match=r"last.pt is of another run: it differs in epochs \(3 "):
        pretrain(dataclasses.replace(other, resume=True))
    assert (other.output / "log.csv").read_bytes() == before


def test_images_of_another_version_are_refused(left_alone, tmp_path):
    folder, _, _ = left_alone
    state = read_checkpoint(folder / LAST)
    state["stream"]["version"] += 1
    trainer = Trainer(tiny(tmp_path), Ranks(0, 1, torch.device("cpu")))
    with pytest.raises(ValueError, match="state is that of another stream: its version is 2"):
        trainer.load_state_dict(state)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    with pytest.raises(RuntimeError, match=r"the loss is nan at update \d+: lower --lr"):
        pretrain(tiny(tmp_path, lr=1e30, clip_grad=None, warmup_epochs=0.0))
    assert all(row["loss"] == row["loss"] for row in rows(tmp_path))


def test_filters_are_drawn_in_the_colours_that_act(tmp_path):
    weight = torch.zeros(3, 3, 2, 2)
    weight[0, 0, 0, 0] = 1.0
    weight[1, 2, 1, 1] = -1.0
    colour = filter_sheet(weight, gray=False)
    height = colour.shape[0] // 2
    assert colour[height // 4, height // 4].tolist() == [255, 0, 0]
    gray = filter_sheet(weight, gray=True)
    assert gray.shape == colour.shape
    assert gray[height // 4, height // 4].tolist() == [255, 255, 255]
    assert len(gray.flatten(0, 1).unique(dim=0)) == 2
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert not draw_filters(model, tmp_path / "filters.png", gray=True)
    assert not list(tmp_path.iterdir())
