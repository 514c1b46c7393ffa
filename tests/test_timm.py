"""timm's own functions over drawn data sets, without the plug-in."""

import pytest
import timm.data
import torch
from timm.data import AugMixDataset, FastCollateMixup

from fdsl_gpu.augment import Augmentation
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.formulas.view import View
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.render import describe, render
from fdsl_gpu.stream import FormulaDataset, FormulaStream
from fdsl_gpu.timm import create_dataset, create_loader

MEAN, STD = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)
PLAIN = {"color_jitter": None, "mean": MEAN, "std": STD, "device": "cpu", "num_workers": 0}


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


def normalised(dataset, indices, image_size, split="train", seed=42):
    images, labels = render(dataset, indices, image_size=image_size, seed=seed, split=split)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images / 255 - mean) / std, labels


def device_dataset(spec, num_samples=12, split="train", **settings):
    dataset = create_dataset(spec, split=split, num_samples=num_samples, **settings)
    dataset.pipeline = "device"
    return dataset


# --- create_dataset


def test_dataset_has_the_published_size_and_a_length_by_default(caplog):
    caplog.set_level("INFO", "fdsl_gpu")
    train = create_dataset("fractaldb-1k", split="train")
    val = create_dataset("fractaldb-1k", split="validation")
    assert (len(train), len(val)) == (1_000_000, 10_000)
    assert "1000 classes, 1000000 images of 362 px an epoch, seed 42" in caplog.text
    image, label = val[3]
    images, labels = render("fractaldb-1k", [3], image_size=362, seed=42, split="val")
    assert torch.equal(image, images[0]) and label == labels[0]


def test_settings_after_the_name():
    dataset = create_dataset(
        "fractaldb-1k?num_points=20480&image_size=40", split="train", num_samples=3, seed=5
    )
    spec = get_dataset("fractaldb-1k").replace(num_points=20480)
    images, _ = render(spec, [2], image_size=40, seed=5)
    assert torch.equal(dataset[2][0], images[0])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"name": "fractldb-1k"}, "did you mean 'fractaldb-1k'"),
        ({"name": "fractaldb-1k?num_point=1"}, "has no setting 'num_point'; did you mean"),
        ({"name": "fractaldb-1k?num_points"}, "settings are written NAME"),
        ({"name": "fractaldb-1k?image_size=big"}, "image_size must be a number of pixels"),
        ({"name": "fractaldb-1k?pipeline=gpu"}, "pipeline must be one of"),
        ({"split": "test"}, "split must be one of"),
        ({"input_img_mode": "RGBA"}, "--input-img-mode must be one of"),
        ({"root": "images"}, "--data-dir is for stored images"),
        ({"repeats": 2.0}, "--epoch-repeats .*pass --train-num-samples instead"),
        ({"class_map": "map.txt"}, "--class-map .*leave it out"),
        ({"download": True}, "--dataset-download .*leave it out"),
        ({"num_samples": 0}, "num_samples must be at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_means_nothing_for_drawn_images_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        create_dataset(**{"name": "fractaldb-1k", "split": "train", **settings})


# --- the host pipeline: timm's own loader over the map view


def test_host_loader_shows_each_sample_of_each_epoch_once(small):
    dataset = create_dataset(small, split="train", num_samples=12)
    loader = create_loader(dataset, 16, 4, is_training=True, no_aug=True, **PLAIN)
    assert len(loader) == 3
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        labels = torch.cat([labels for _, labels in loader])
        expected = describe(small, range(12 * epoch, 12 * epoch + 12), seed=42)["label"]
        assert sorted(labels.tolist()) == sorted(expected.tolist())


def test_host_loader_validates_in_order_at_the_size_of_the_drawing(small):
    dataset = FormulaDataset(small, image_size=16, num_samples=6, split="val", seed=42)
    loader = create_loader(dataset, 16, 4, crop_pct=1.0, **PLAIN)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    expected = normalised(small, range(6), 16, "val")
    torch.testing.assert_close(images, expected[0])
    assert torch.equal(labels, expected[1])


def test_name_alone_makes_a_loader():
    loader = create_loader(
        "fractaldb-1k?image_size=32", (1, 16, 16), 2, True, num_samples=4, seed=3, **PLAIN
    )
    labels = torch.cat([labels for images, labels in loader if images.shape == (2, 1, 16, 16)])
    expected = describe("fractaldb-1k", range(4), seed=3)["label"]
    assert sorted(labels.tolist()) == sorted(expected.tolist())


def test_augmix_shows_new_samples_in_each_epoch(small):
    dataset = AugMixDataset(create_dataset(small, split="train", num_samples=8), num_splits=2)
    loader = create_loader(dataset, 16, 4, is_training=True, num_aug_splits=2, **PLAIN)
    loader.dataset.set_epoch(3)
    labels = torch.cat([labels[:4] for images, labels in loader if len(images) == 8])
    expected = describe(small, range(24, 32), seed=42)["label"]
    assert sorted(labels.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"use_multi_epochs_loader": True}, "--use-multi-epochs-loader .*workers persist"),
        ({"num_aug_repeats": 3}, "--aug-repeats .*torchrun only"),
        ({"input_size": (1, 16, 16)}, "takes 1 channels and the images are drawn with 3"),
        ({"batch_size": 13}, "an epoch of 12 samples has no batch of 13"),
        ({"collate_fn": FastCollateMixup(num_classes=6)}, "--num-classes must be at least 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_host_loader_refuses(small, settings, message):
    dataset = create_dataset(small, split="train", num_samples=12)
    options = {"input_size": 16, "batch_size": 4, "is_training": True, **PLAIN, **settings}
    with pytest.raises(ValueError, match=message):
        create_loader(dataset, **options)


def test_unknown_keyword_is_a_type_error(small):
    with pytest.raises(TypeError, match="num_wokers"):
        create_loader(small, 16, 4, num_samples=4, num_wokers=2)


@pytest.mark.parametrize(
    "name, size",
    [("fractaldb-1k", 362), ("visualatom-1k", 512), ("exfractaldb-1k", 224), ("wacv-1k", 224)],
)
def test_images_are_drawn_at_their_published_size(name, size, caplog):
    caplog.set_level("INFO", "fdsl_gpu")
    assert create_dataset(name, split="train", num_samples=2)[0][0].shape == (3, size, size)
    create_dataset(f"{name}?image_size=100", split="train", num_samples=2)
    assert f"images of {size} px" in caplog.text and "images of 100 px" in caplog.text


# --- the device pipeline: whole batches, here on a CPU


def test_device_loader_cuts_windows_out_of_contours():
    spec = get_dataset("visualatom-1k").replace(max_orbits=4)
    loader = create_loader(device_dataset(spec, 4), 24, 4, True, scale=(0.2, 0.8), **PLAIN)
    (images, labels), *rest = loader
    view = View(24, canvas_size=512, crop="resized", scale=(0.2, 0.8), hflip=0.5)
    expected = normalised(spec, range(4), view)
    torch.testing.assert_close(images, expected[0])
    assert torch.equal(labels, expected[1]) and not rest


def test_device_loader_draws_what_timm_would_crop(small):
    dataset = device_dataset(small)
    loader = create_loader(dataset, 16, 4, is_training=True, scale=(0.3, 0.9), vflip=0.25, **PLAIN)
    assert len(loader) == 3 and loader.sampler is None
    view = View(16, canvas_size=362, crop="resized", scale=(0.3, 0.9), hflip=0.5, vflip=0.25)
    for epoch in (0, 1, 1, 4):
        loader.dataset.set_epoch(epoch)
        images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
        expected = normalised(small, range(12 * epoch, 12 * epoch + 12), view)
        torch.testing.assert_close(images, expected[0])
        assert torch.equal(labels, expected[1])


def test_device_loader_validates_on_the_centre_and_keeps_the_last_batch(small):
    loader = create_loader(device_dataset(small, 6, "validation"), 16, 4, crop_pct=0.8, **PLAIN)
    for _ in range(2):  # validation is the same each time
        images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
        expected = normalised(small, range(6), 20, "val")
        torch.testing.assert_close(images, expected[0][..., 2:18, 2:18])
        assert torch.equal(labels, expected[1])


def test_device_loader_without_augmentation_shows_the_whole_drawing(small):
    options = {**PLAIN, "color_jitter": 0.4, "re_prob": 0.5, "img_dtype": torch.bfloat16}
    loader = create_loader(device_dataset(small), 16, 4, True, no_aug=True, **options)
    images, _ = next(iter(loader))
    torch.testing.assert_close(images, normalised(small, range(4), 16)[0].bfloat16())


def test_device_loader_augments_as_a_formula_loader(small):
    dataset = device_dataset(small)
    options = {**PLAIN, "hflip": 0.0, "color_jitter": 0.3, "re_prob": 0.5, "re_mode": "pixel"}
    view = View(16, canvas_size=362, crop="resized")
    stream = FormulaStream(small, 4, image_size=view, seed=42, num_samples=12)
    for changes, recipe in (
        ({}, {"color_jitter": 0.3}),
        ({"auto_augment": "rand-m9-inc1"}, {"rand_augment": "rand-m9-inc1"}),
    ):
        loader = create_loader(dataset, 16, 4, True, **{**options, **changes})
        stream.set_epoch(0)
        augment = Augmentation(erase_prob=0.5, **recipe)
        expected = FormulaLoader(stream, mean=MEAN, std=STD, augment=augment)
        for actual, batch in zip(loader, expected, strict=True):
            assert torch.equal(actual[0], batch[0]) and torch.equal(actual[1], batch[1])


def test_device_loader_mixes_pairs_until_it_is_told_not_to(small):
    mixup = FastCollateMixup(mixup_alpha=0.8, label_smoothing=0.1, num_classes=9)
    loader = create_loader(
        device_dataset(small), 16, 4, True, no_aug=True, collate_fn=mixup, **PLAIN
    )
    images, target = next(iter(loader))
    expected, labels = normalised(small, range(4), 16)
    smooth = torch.full((4, 9), 0.1 / 9).scatter_(1, labels[:, None], 0.9 + 0.1 / 9)
    for first, second in ((0, 1), (2, 3)):  # share * itself + (1 - share) * its partner
        difference = smooth[first] - smooth[second]
        share = ((target - smooth[second])[first] / difference)[labels[first]]
        assert difference.abs().max() > 0.5 and 0 < share < 1
        torch.testing.assert_close(
            images[first], share * expected[first] + (1 - share) * expected[second]
        )
    assert loader.mixup_enabled
    loader.mixup_enabled = False
    assert not loader.mixup_enabled
    images, target = next(iter(loader))
    torch.testing.assert_close(images, expected)
    torch.testing.assert_close(target, smooth)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"color_jitter": (0.4, 0.4, 0.4, 0.1)}, "--color-jitter .*pipeline=host"),
        ({"color_jitter": 0.4, "color_jitter_prob": 0.5}, "--color-jitter-prob .*pipeline=host"),
        ({"grayscale_prob": 0.1}, "--grayscale-prob .*pipeline=host"),
        ({"auto_augment": "augmix-m3-w3"}, "--aa .*pipeline=host"),
        ({"auto_augment": "rand-x9"}, "has a section 'x9'"),
        ({"re_prob": 0.25, "re_count": 2}, "--recount .*pipeline=host"),
        ({"re_prob": 0.25, "re_split": True}, "--resplit .*pipeline=host"),
        ({"re_prob": 1.5}, "erase_prob must be in"),
        ({"num_aug_repeats": 3}, "--aug-repeats .*pipeline=host"),
        ({"train_crop_mode": "rkrc"}, "--train-crop-mode .*pipeline=host"),
        ({"is_training": False, "crop_mode": "border"}, "--crop-mode .*pipeline=host"),
        ({"input_size": (3, 16, 24)}, "drawn square"),
        ({"collate_fn": list}, "--collate-fn .*pipeline=host"),
        ({"collate_fn": FastCollateMixup(num_classes=7, mode="elem")}, "--mixup-mode"),
        ({"collate_fn": FastCollateMixup(num_classes=7), "batch_size": 3}, "must be even, got 3"),
        (
            {"collate_fn": FastCollateMixup(num_classes=7, cutmix_minmax=(0.2, 0.8))},
            "--cutmix-minmax .*pipeline=host",
        ),
        ({"tf_preprocessing": True}, "--tf-preprocessing .*pipeline=host"),
        ({"batch_size": 13}, "num_samples 12 is less than the global batch of 13"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_device_loader_refuses(small, settings, message):
    options = {"input_size": 16, "batch_size": 4, "is_training": True, **PLAIN, **settings}
    with pytest.raises(ValueError, match=message):
        create_loader(device_dataset(small), **options)


def test_device_loader_refuses_a_view_of_the_data_set(small):
    view = View(16, canvas_size=32, crop="random")
    dataset = FormulaDataset(small, image_size=view, num_samples=8)
    dataset.pipeline = "device"
    with pytest.raises(ValueError, match="with an integer image_size, not View"):
        create_loader(dataset, 16, 4, True, **PLAIN)


def test_device_loader_refuses_augmix(small):
    with pytest.raises(ValueError, match="--aug-splits .*pipeline=host"):
        create_loader(AugMixDataset(device_dataset(small)), 16, 4, True, num_aug_splits=2, **PLAIN)


def test_importing_the_functions_changes_nothing_in_timm():
    assert timm.data.create_dataset.__module__ == "timm.data.dataset_factory"
    assert not hasattr(timm.data.create_dataset, "__wrapped__")
    assert not hasattr(timm.data.create_loader, "__wrapped__")
