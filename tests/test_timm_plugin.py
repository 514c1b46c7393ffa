"""The plug-in in timm's own train script, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fdsl_gpu.render import describe

SCRIPT = Path(__file__).parent / "timm_script.py"


def epochs_of(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def labels_of(dataset, indices, split="train", seed=7):
    return describe(dataset, indices, seed=seed, split=split)["label"].tolist()


# name -> arguments, and how often each label of an epoch is seen (None: labels are mixed)
CASES = {
    "workers": ("--workers 2 --epochs 2", 1),
    "mixup": ("--mixup 0.8", None),
    "mixup, no prefetcher": ("--mixup 0.8 --no-prefetcher", None),
    "aa": ("--aa rand-m9-mstd0.5-inc1 --no-prefetcher", 1),
    "reprob": ("--reprob 0.5", 1),
    "bf16": ("--amp", 1),
    "grad accum": ("--grad-accum-steps 2", 1),
    "gray": ("--in-chans 1", 1),
    "aug splits": ("--aug-splits 2 --aa augmix-m3-w3 --epochs 2", 2),
    "img sizes": ("--train-img-sizes 32 48 --epochs 2", 1),
    "naflex": (
        "--naflex-loader --model naflexvit_base_patch16_gap --epochs 2 --workers 1 "
        "--model-kwargs depth=1 embed_dim=64 num_heads=2",
        1,
    ),
    "device": ("--dataset fdsl/fractaldb-1k?pipeline=device --epochs 2", 1),
    "device, deit": (
        "--dataset fdsl/fractaldb-1k?pipeline=device --aa rand-m9-mstd0.5-inc1 --reprob 0.25 "
        "--mixup 0.8",
        None,
    ),
    "device, gray": ("--dataset fdsl/fractaldb-1k?pipeline=device --in-chans 1", 1),
}
REFUSED = {
    "too few classes": (
        "--num-classes 999",
        "--num-classes must be at least 1000, the classes of 'fractaldb-1k', got 999",
    ),
    "another seed": (
        "--seed 8 --resume {checkpoint}",
        "the run to resume has --seed 7 in its args.yaml, this one 8: samples would be repeated",
    ),
    "another epoch": (
        "--train-num-samples 13 --resume {checkpoint}",
        "the run to resume has --train-num-samples 12 in its args.yaml, this one 13",
    ),
}
RUN_CASES = """
import contextlib, io, json, runpy, sys
import fdsl_gpu.timm_plugin, timm.data, torch

torch.set_num_threads(1)
script, cases, stored = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
dataset = timm.data.create_dataset("", root=stored, split="train")
loader = timm.data.create_loader(dataset, 16, 2, device=torch.device("cpu"), num_workers=0)
images, labels = next(iter(loader))
print(json.dumps({"stored": [list(images.shape), labels.tolist()]}))
for name, (arguments, _) in cases.items():
    sys.argv = [script, "--dataset", "fdsl/fractaldb-1k?image_size=64", *arguments.split()]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            runpy.run_path(script, run_name="__main__")
        except ValueError as error:
            print(json.dumps(str(error)))
    lines = [line for line in printed.getvalue().splitlines() if line[0] in '{\\"']
    print(json.dumps({name: [json.loads(line) for line in lines]}))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Where the first of the cases saves what it has learned after an epoch."""
    return tmp_path_factory.mktemp("run") / "last.pth.tar"


@pytest.fixture(scope="module")
def results(run_python, checkpoint, tmp_path_factory):
    stored = tmp_path_factory.mktemp("stored")
    for category in ("a", "b"):
        (stored / category).mkdir()
        Image.new("RGB", (20, 20)).save(stored / category / "0.png")
    cases = {"saved": (f"--output {checkpoint.parent}", 1), **CASES}
    cases |= {
        name: (options.format(checkpoint=checkpoint), 0) for name, (options, _) in REFUSED.items()
    }
    output = run_python(RUN_CASES, SCRIPT, json.dumps(cases), stored)
    results = {name: epochs for result in epochs_of(output) for name, epochs in result.items()}
    assert list(results) == ["stored", *cases]
    return results


def test_plugin_leaves_stored_images_to_timm(results):
    assert results["stored"] == [[2, 3, 16, 16], [0, 1]]


@pytest.mark.parametrize("name", REFUSED)
def test_plugin_refuses_before_training(results, name):
    (message,) = results[name]
    assert message.startswith(REFUSED[name][1])


def test_plugin_feeds_timm_as_its_train_script_calls_it(results):
    val_labels = labels_of("fractaldb-1k", range(6), "val", seed=42)
    for name, (arguments, times) in CASES.items():
        epochs = results[name]
        assert [each["epoch"] for each in epochs] == list(range(1 + ("--epochs 2" in arguments)))
        for each in epochs:
            assert all(0 < loss < 20 for loss in each["losses"]), name
            assert each["val_labels"] == val_labels, name
            start = 12 * each["epoch"]
            expected = labels_of("fractaldb-1k", range(start, start + 12))
            if times is None:
                assert set(each["labels"]) <= set(expected), name
            else:
                assert sorted(each["labels"]) == sorted(expected * times), name


@pytest.mark.parametrize(
    "way",
    [
        [SCRIPT, "--device-modules", "fdsl_gpu.timm_plugin"],
        ["-m", "fdsl_gpu.timm", SCRIPT],
    ],
    ids=["device modules", "launcher"],
)
def test_both_ways_in_resume_at_the_next_sample(results, checkpoint, way):
    options = ["--dataset", "fdsl/fractaldb-1k?image_size=64", "--epochs", "2"]
    process = subprocess.run(
        [sys.executable, *way, *options, "--resume", checkpoint], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    (epoch,) = epochs_of(process.stdout)
    assert epoch["epoch"] == 1
    assert sorted(epoch["labels"]) == sorted(labels_of("fractaldb-1k", range(12, 24)))
