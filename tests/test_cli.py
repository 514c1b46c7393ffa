import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import interruptible

from fdsl_gpu.cli import COMMANDS, main
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.settings import dump_settings, load_settings

TINY = """
    --model test_resnet --image-size 32 --dataset-settings num_points 2000 num_walks 256
    num_categories 4 --batch-size 16 --epochs 2 --epoch-size 48 --val-size 8 --warmup-epochs 0
    --log-interval 2 --backend numpy --device cpu
""".split()  # noqa: SIM905


def named(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in printed and command.about in printed
    assert main([]) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_settings_dataclass_and_a_function(name, capsys):
    config = named(COMMANDS[name].config)
    assert dataclasses.is_dataclass(config) and callable(named(COMMANDS[name].run))
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: fdsl-gpu {name}" in printed and "Also --config FILE" in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fdsl-gpu 0.")


@pytest.mark.parametrize(
    "words, message",
    [
        (["pretrian"], "unknown command 'pretrian'; did you mean 'pretrain'?"),
        (["pretrain", "--model", "resnet5O"], "unknown model 'resnet5O'; did you mean 'resnet50"),
        (["pretrain", "--config"], "--config needs the name of a TOML file"),
        (["pretrain", "--config", "nowhere.toml"], "No such file or directory: 'nowhere.toml'"),
    ],
)
def test_a_users_error_is_one_line_and_status_2(words, message, capsys):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("fdsl-gpu: error: ") and message in printed
    assert "Traceback" not in printed


def test_debug_shows_where_an_error_comes_from(monkeypatch):
    with pytest.raises(ValueError, match="unknown command"):
        main(["pretrian", "--debug"])
    monkeypatch.setenv("FDSL_GPU_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown command"):
        main(["pretrian"])


def test_options_override_a_settings_file(tmp_path, monkeypatch):
    path = tmp_path / "run.toml"
    saved = PretrainConfig(epochs=7, lr=0.5, dataset_settings={"num_points": 9})
    path.write_bytes(dump_settings(saved, ""))
    given = []
    monkeypatch.setattr("fdsl_gpu.console.run_pretrain", given.append)
    for words in (["--config", str(path), "--lr", "0.1"], ["--lr", "0.1", f"--config={path}"]):
        assert main(["pretrain", *words]) == 0
        assert given.pop() == dataclasses.replace(saved, lr=0.1)


def test_a_run_is_told_and_goes_on_from_its_own_settings(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["pretrain", "--output", str(folder), *TINY]) == 0
    told = capsys.readouterr().err
    assert "update 2 of 6  epoch 1 of 2" in told and "images   96 drawn, none stored" in told
    assert "of 8 held-out images with the weights; chance is 25 %" in told
    assert f'checkpoint_path="{folder}/model.safetensors"' in told
    assert load_settings(PretrainConfig, folder / "run.toml").epoch_size == 48
    assert main(["pretrain", "--config", str(folder / "run.toml")]) == 2
    assert "holds another run; go on with it by --resume" in capsys.readouterr().err
    assert main(["pretrain", "--config", str(folder / "run.toml"), "--resume"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    words = ["pretrain", "--output", str(folder), *TINY, "--epochs", "1000000"]
    run = subprocess.Popen(
        [sys.executable, "-m", "fdsl_gpu.cli", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    while not (folder / "last.pt").exists() and run.poll() is None:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130
    assert told.splitlines()[-1] == (
        f"fdsl-gpu: interrupted; go on with: fdsl-gpu pretrain --config {folder}/run.toml --resume"
    )
    assert "Traceback" not in told
    last = (folder / "log.csv").read_text().splitlines()[-1]
    assert last.count(",") == 6 and int(last.split(",")[0]) >= 3


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_full_disk_ends_a_run_with_its_log_whole(tmp_path, run_python):
    code = (
        "import resource, signal, sys; from fdsl_gpu.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY));"
        "print(main(sys.argv[1:]))"
    )
    assert run_python(code, "pretrain", "--output", tmp_path / "run", *TINY).strip() == "2"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "log.csv",
        "run.toml",
        "speed.csv",
    ]
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["update", "2", "3"]


def test_the_demo_learns_and_shows_what_it_trained_on(tmp_path, capsys, monkeypatch):
    from fdsl_gpu.demo import DemoConfig

    # a quarter of an epoch of the real thing: the whole takes a minute
    short = dataclasses.replace(
        DemoConfig().pretraining(), output=tmp_path / "demo", epochs=1, epoch_size=640, val_size=50
    )
    monkeypatch.setattr(DemoConfig, "pretraining", lambda self: short)
    assert main(["demo"]) == 0
    told = capsys.readouterr().err
    assert "Pre-training resnet10t on 50 categories of fractaldb-1k at 32 pixels" in told
    assert "chance is 2 %" in told and "preview  " in told
    for name in ("preview.png", "filters.png", "model.safetensors", "log.csv"):
        assert (tmp_path / "demo" / name).stat().st_size > 0


def test_the_demo_takes_a_free_folder(tmp_path, monkeypatch):
    from fdsl_gpu.demo import DemoConfig

    monkeypatch.chdir(tmp_path)
    assert DemoConfig().pretraining().output == Path("runs/demo")
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    assert DemoConfig().pretraining().output == Path("runs/demo-2")
    assert DemoConfig(Path("mine")).pretraining().output == Path("mine")
    DemoConfig().pretraining().validate()
