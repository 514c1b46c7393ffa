import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from fdsl_gpu import datasets
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.export import ExportConfig, export
from fdsl_gpu.export_files import encode_png
from fdsl_gpu.render import describe, render


@pytest.fixture
def small(small_ifs, monkeypatch):
    """A data set of seven categories, known by its name."""
    monkeypatch.setitem(datasets.CATALOG, "small", (1, lambda: small_ifs))
    return DatasetSpec("small", 1, small_ifs)


@pytest.fixture
def config(small, tmp_path):
    """Makes the settings of an export of the small data set."""

    def make(**changes):
        settings = {"count": 20, "start": 2**33, "image_size": 33, "seed": 9, **changes}
        return ExportConfig("small", tmp_path / "out", **settings)

    return make


def rendered(config):
    """Images [N, 3, H, W] and labels that the export stands for."""
    dataset = datasets.get_dataset(config.dataset).replace(**config.dataset_settings)
    indices = torch.arange(config.start, config.start + config.count)
    return render(
        dataset, indices, image_size=config.image_size, seed=config.seed, split=config.split
    )


def as_rgb(file):
    """[3, H, W] uint8 of a PNG."""
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)


def state(folder):
    """Every file with its content and time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 7, 5)])
def test_png_gives_back_every_value(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(encode_png(image))))
    assert np.array_equal(decoded, np.squeeze(image.transpose(1, 2, 0)))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("drawing", ["patch_gray", "point_color"])
def test_folder_holds_what_render_draws(config, split, drawing):
    settings = config(split=split, dataset_settings={"drawing": drawing})
    summary = export(settings)
    assert (summary.written, summary.kept) == (20, 0)
    images, labels = rendered(settings)
    folder = ImageFolder(str(settings.output))
    assert folder.classes == list("0123456")
    by_index = {int(Path(path).stem): (path, label) for path, label in folder.samples}
    assert sorted(by_index) == list(range(2**33, 2**33 + 20))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path, stored_label = by_index[2**33 + number]
        assert stored_label == label
        assert torch.equal(as_rgb(path), image)


def test_labels_say_what_describe_says(config, small):
    settings = config()
    export(settings)
    with open(settings.output / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    described = describe(small, range(2**33, 2**33 + 20), seed=9)
    assert list(rows[0]) == ["file", "index", "label", "weight_row", "flip"]
    for name, values in described.items():
        assert [int(row[name]) for row in rows] == values.tolist()
    assert all((settings.output / row["file"]).is_file() for row in rows)


def test_category_folders_sort_as_their_labels(tmp_path):
    settings = ExportConfig("fractaldb-1k", tmp_path, count=1000, image_size=8)
    export(settings)
    folder = ImageFolder(str(tmp_path))
    assert folder.class_to_idx == {f"{label:03}": label for label in range(1000)}
    images, labels = rendered(settings)
    stored = {int(Path(path).stem): (as_rgb(path), label) for path, label in folder.samples}
    for number in range(0, 1000, 83):
        image, label = stored[number]
        assert label == labels[number] and torch.equal(image, images[number])


def test_shards_hold_what_render_draws(config):
    settings = config(format="tar", images_per_shard=8)
    export(settings)
    shards = sorted(settings.output.glob("*.tar"))
    assert [shard.name for shard in shards] == [f"small-00000{number}.tar" for number in range(3)]
    samples = []  # as webdataset groups them: consecutive members with one key
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                if not samples or samples[-1]["key"] != key:
                    samples.append({"key": key})
                samples[-1][ending] = tar.extractfile(member).read()
    images, labels = rendered(settings)
    assert [int(sample["key"]) for sample in samples] == list(range(2**33, 2**33 + 20))
    assert [int(sample["cls"]) for sample in samples] == labels.tolist()
    for sample, image in zip(samples, images, strict=True):
        assert torch.equal(as_rgb(io.BytesIO(sample["png"])), image)
        about = json.loads(sample["json"])
        assert about["index"] == int(sample["key"]) and about["label"] == int(sample["cls"])


def test_the_same_shards_have_the_same_bytes(config, tmp_path):
    first = config(format="tar", images_per_shard=20)
    export(first)
    again = config(format="tar", images_per_shard=20, workers=1, backend="numpy")
    (shard,) = first.output.glob("*.tar")
    content = shard.read_bytes()
    shard.unlink()
    assert export(again).written == 20
    assert shard.read_bytes() == content


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import conftest
from fdsl_gpu import datasets
from fdsl_gpu.export import ExportConfig, export
from fdsl_gpu.formulas.ifs import IfsFormula
small = IfsFormula(conftest.contracting_table(), num_walks=128, num_points=128 * 21, burn_in=4)
datasets.CATALOG["small"] = (1, lambda: small)
export(ExportConfig("small", Path(sys.argv[2]), count=100_000, format=sys.argv[3],
                    images_per_shard=100, image_size=33, seed=9, backend="numpy"))
"""


@pytest.mark.parametrize("layout, pattern", [("folder", "*/*.png"), ("tar", "*.tar")])
def test_a_killed_export_goes_on_and_draws_nothing_twice(small, tmp_path, layout, pattern):
    output = tmp_path / "out"
    arguments = [str(Path(__file__).parent), str(output), layout]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    deadline = time.monotonic() + 60
    while len(list(output.glob(pattern))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)  # into the middle of something
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: entry for path, entry in state(output).items() if path.match(pattern)}
    # the killed run was to make far more: let it end some samples after those that are there
    kept = len(before) * (100 if layout == "tar" else 1)
    count = kept + 250
    toml = output / "stream.toml"
    toml.write_text(toml.read_text().replace("100000", str(count)))
    settings = ExportConfig(
        "small", output, count, format=layout, images_per_shard=100, image_size=33, seed=9
    )
    summary = export(settings)
    assert (summary.kept, summary.written) == (kept, 250)
    after = state(output)
    assert all(after[path] == entry for path, entry in before.items())
    assert not list(output.rglob("*.tmp"))
    assert stored_images(output) == [
        encode_png(image[:1].numpy()) for image in rendered(settings)[0]
    ]


def stored_images(folder):
    """The PNGs of a folder or of shards, in the order of their indices."""
    pngs = {int(path.stem): path.read_bytes() for path in folder.glob("*/*.png")}
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            members = [member for member in tar if member.name.endswith(".png")]
            pngs |= {int(m.name[:-4]): tar.extractfile(m).read() for m in members}
    assert sorted(pngs) == list(range(len(pngs)))
    return [pngs[index] for index in sorted(pngs)]


def test_a_folder_may_grow_and_shards_may_not(config):
    export(config(count=5))
    summary = export(config(count=12))
    assert (summary.kept, summary.written) == (5, 7)
    with pytest.raises(ValueError, match=r"count \(12 there, 5 here\)"):
        export(config(count=5))


def test_a_file_that_a_power_cut_left_empty_is_drawn_again(config):
    settings = config(count=4)
    export(settings)
    before = state(settings.output)
    image = next(settings.output.glob("*/*.png"))
    image.write_bytes(b"")
    assert export(settings).written == 1
    assert image.read_bytes() == before[image][0]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"image_size": 34},
        {"split": "val"},
        {"start": 0},
        {"format": "folder"},
        {"count": 30},
        {"images_per_shard": 9},
        {"dataset_settings": {"num_points": 1000}},
    ],
    ids=str,
)
def test_another_export_is_not_mixed_in(config, change):
    first = config(format="tar", images_per_shard=10)
    export(first)
    before = state(first.output)
    with pytest.raises(ValueError, match=f"differs in {next(iter(change))}"):
        export(config(**{"format": "tar", "images_per_shard": 10, **change}))
    assert state(first.output) == before


@pytest.mark.parametrize("layout", ["folder", "tar"])
def test_a_data_set_that_draws_something_else_is_not_mixed_in(config, monkeypatch, small, layout):
    settings = config(format=layout)
    export(settings)
    before = state(settings.output)
    changed = small.replace(burn_in=6).formula
    monkeypatch.setitem(datasets.CATALOG, "small", (2, lambda: changed))
    with pytest.raises(ValueError, match="is not what 'small' draws"):
        export(settings)
    assert state(settings.output) == before


def test_it_says_images_disk_and_time_before_the_first_file(config):
    said, steps = [], []
    settings = config(count=50)

    def say(sentence):
        said.append((sentence, list(settings.output.glob("*"))))

    summary = export(settings, say=say, progress=lambda done, total: steps.append((done, total)))
    ((sentence, files),) = said
    assert files == []
    assert sentence.startswith("50 images of small at 33 pixels: about ")
    # each of these images takes one block of the disk
    assert "about 205 kB of" in sentence and sentence.endswith(" s")
    assert summary.num_bytes == 50 * 4096
    assert steps[-1] == (50, 50)


def test_a_disk_too_small_is_said_before_anything_is_written(config, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 0, 50_000))
    settings = config()
    with pytest.raises(RuntimeError, match="20 images need about 82 kB, .* has 50 kB free"):
        export(settings)
    assert list(settings.output.iterdir()) == []


@pytest.mark.parametrize("layout", ["folder", "tar"])
def test_a_disk_that_fills_up_leaves_whole_files_and_can_go_on(config, monkeypatch, layout):
    settings = config(format=layout, images_per_shard=5)
    replace, calls = os.replace, []

    def full_after_three(source, target):
        calls.append(target)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full_after_three)
        with pytest.raises(RuntimeError, match="No space left.*the same command goes on"):
            export(settings)
    assert len(state(settings.output)) == 3  # the settings and two of the samples or shards
    summary = export(settings)
    assert summary.kept == (10 if layout == "tar" else 2)
    assert summary.kept + summary.written == 20


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "smal"}, "did you mean 'small'"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"start": -1}, r"start must be in \[0, 2\*\*62 - count\], got -1"),
        ({"start": 2**62 - 19}, "start must be in"),
        ({"images_per_shard": 0}, "images_per_shard must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"image_size": 2}, "image_size must be in"),
        ({"format": "zip"}, "format must be one of"),
        ({"dataset_settings": {"drawing": "gray"}}, "drawing must be one of"),
    ],
)
def test_bad_input_is_refused_before_the_folder_is_made(small, tmp_path, changes, message):
    settings = {"dataset": "small", "output": tmp_path / "out", "count": 20, **changes}
    with pytest.raises(ValueError, match=message):
        export(ExportConfig(**settings))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(config):
    settings = config()
    settings.output.mkdir()
    (settings.output / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty and holds no stream\.toml"):
        export(settings)
    assert [path.name for path in settings.output.iterdir()] == ["thesis.tex"]


def test_a_file_as_the_output_is_refused(config):
    settings = config()
    settings.output.write_text("mine")
    with pytest.raises(ValueError, match="output must be a folder"):
        export(settings)
    assert settings.output.read_text() == "mine"
