"""Contours and their masks in streams, on preview sheets and in the segmentation example."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from contour_cases import assert_same
from PIL import Image

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.preview import PreviewConfig, preview
from fdsl_gpu.stream import FormulaStream


@pytest.mark.parametrize("name", ["rcdb-1k", "visualatom-1k", "segrcdb"])
def test_stream_goes_on_where_it_stopped(name):
    def stream():
        return FormulaStream(name, 3, image_size=24, seed=5, num_samples=12, channels=1)

    batches = list(stream())
    images, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    expected = render(name, range(12), image_size=24, seed=5, channels=1)
    assert_same((images, targets), expected)
    first = stream()
    iterator = iter(first)
    next(iterator)
    next(iterator)
    resumed = stream()
    resumed.load_state_dict(first.state_dict())
    for one, other in zip(resumed, batches[2:], strict=True):
        assert_same(one, other)


def test_masks_name_the_contours_of_their_image():
    images, masks = render("segrcdb", range(4), image_size=128, channels=1)
    described = describe("segrcdb", range(4))
    assert masks.shape == (4, 128, 128) and masks.dtype == torch.int64
    for sample in range(4):
        values = set(masks[sample].unique().tolist()) - {0}
        assert len(values) > 8 and values <= set((described["category"][sample] + 1).tolist())
        # M1 labels the lines and nothing else
        assert not ((images[sample, 0] > 0) & (masks[sample] == 0)).any()
    assert get_dataset("segrcdb").num_classes == 255
    np.testing.assert_array_equal(described["label"], described["category"][:, -1] + 1)


def test_worker_processes_change_nothing():
    from torch.utils.data import DataLoader

    streams = [
        FormulaStream("segrcdb", 2, image_size=16, num_samples=8, channels=1) for _ in range(2)
    ]
    alone, shared = list(streams[0]), list(DataLoader(streams[1], batch_size=None, num_workers=2))
    for one, other in zip(alone, shared, strict=True):
        assert_same(one, other)


def test_preview_shows_masks_below_their_images(tmp_path):
    sizes = {}
    for rows in (1, 2):
        config = PreviewConfig("segrcdb", tmp_path / f"{rows}.png", rows, 3, image_size=64)
        with Image.open(preview(config)) as picture:
            sheet = np.asarray(picture)
        colors = np.unique(sheet[-66:, -130:].reshape(-1, 3), axis=0)
        assert len(np.unique(colors.max(1) - colors.min(1))) > 1  # the last row has colours
        sizes[rows] = sheet.shape[0]
    assert sizes[2] > sizes[1] + 2 * 64
    with pytest.raises(ValueError, match="categories cannot be chosen"):
        preview(PreviewConfig("segrcdb", tmp_path / "x.png", categories=(3,)))


@pytest.fixture(scope="module")
def segmentation():
    path = Path(__file__).parents[1] / "examples" / "segmentation.py"
    return runpy.run_path(str(path))


def test_example_learns_masks_and_shows_them(segmentation, tmp_path):
    output = tmp_path / "figure.png"
    losses, scores = segmentation["main"](
        steps=24, batch_size=8, image_size=32, num_val=16, output=output
    )
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert 0 < scores["mean_iou"] < 1 and 0 < scores["frequent"] < 1
    with Image.open(output) as picture:
        assert picture.size == (2 * 3 * 36, 2 * 8 * 36)


def test_example_judges_masks_by_their_labelled_pixels(segmentation):
    # 0 is the background: of four labelled pixels two are right, and three are of class 1
    masks = torch.tensor([[[0, 0, 1], [1, 1, 2]]])
    predicted = torch.tensor([[[0, 2, 1], [1, 0, 1]]])
    scores = segmentation["judged"](predicted, masks, 3)
    assert scores == pytest.approx(
        {"right": 2 / 4, "frequent": 3 / 4, "mean_iou": (1 / 3 + 2 / 4 + 0) / 3}
    )


def test_example_predicts_what_its_pixels_say(segmentation):
    model = segmentation["SegmentationModel"]("resnet10t", 5, 8).eval()
    images = torch.rand(2, 1, 40, 40)
    with torch.no_grad():
        features = model.features(images)
        assert features.shape == (2, 40, 40, 8)
        assert torch.equal(model(images), model.head(features).argmax(3))
