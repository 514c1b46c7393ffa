import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from fdsl_gpu import datasets
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contours import SEG_RCDB
from fdsl_gpu.formulas.graded_ifs import GradedIfsFormula
from fdsl_gpu.preview import PreviewConfig, draw_sheet, find_samples, preview
from fdsl_gpu.render import Renderer, render


@pytest.fixture
def small(small_ifs, monkeypatch):
    """A data set of seven categories, known by its name."""
    monkeypatch.setitem(datasets.CATALOG, "small", (1, lambda: small_ifs))
    return DatasetSpec("small", 1, small_ifs)


def contains(sheet, tile):
    """Whether the tile [3, H, W] lies somewhere on the sheet, pixel for pixel."""
    pixels = np.asarray(sheet)
    tile = tile.permute(1, 2, 0).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(pixels, tile.shape)[:, :, 0]
    return bool((windows == tile).all((2, 3, 4)).any())


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_of_a_category_are_the_first_of_the_stream(small, split):
    renderer = Renderer(small, View(32), seed=5, split=split)
    samples = find_samples(renderer, [6, 0, 6], 3)
    labels = renderer.instance(np.arange(7 * 3, dtype=np.uint64)).label
    assert samples.tolist() == [np.flatnonzero(labels == label).tolist() for label in (6, 0, 6)]


def test_a_category_that_never_turns_up_is_said(small):
    renderer = Renderer(small, View(32))
    with pytest.raises(RuntimeError, match=r"do not show the categories \[7\] 2 times"):
        find_samples(renderer, [3, 7], 2)


def test_targets_that_are_no_class_are_refused(small, monkeypatch):
    monkeypatch.setattr(type(small.formula), "target", "mask")
    with pytest.raises(ValueError, match="mask target"):
        find_samples(Renderer(small, View(32)), [0], 1)


def test_preview_shows_rendered_pixels(small, tmp_path):
    config = PreviewConfig(
        "small", tmp_path / "new" / "grid.png", columns=2, categories=(4, 1), image_size=40, seed=3
    )
    assert preview(config) == config.output
    assert [path.name for path in config.output.parent.iterdir()] == ["grid.png"]
    samples = find_samples(Renderer(small, View(40), seed=3), [4, 1], 2).ravel()
    images, labels = render(small, samples, image_size=40, seed=3)
    assert labels.tolist() == [4, 4, 1, 1]
    sheet = Image.open(config.output)
    assert all(contains(sheet, image) for image in images)


def test_settings_of_the_data_set_reach_the_picture(small, tmp_path):
    config = PreviewConfig(
        "small",
        tmp_path / "grid.png",
        rows=1,
        columns=1,
        image_size=32,
        dataset_settings={"drawing": "patch_color", "num_points": 12_800},
    )
    preview(config)
    changed = small.replace(drawing="patch_color", num_points=12_800)
    sample = find_samples(Renderer(changed, View(32)), [0], 1)[0]
    images, _ = render(changed, sample, image_size=32)
    assert contains(Image.open(config.output), images[0])


def test_rows_are_spread_over_all_categories(tmp_path, monkeypatch):
    names = []

    def recording_sheet(images, *, row_names, title):
        names.extend(row_names)
        return draw_sheet(images, row_names=row_names, title=title)

    monkeypatch.setattr("fdsl_gpu.preview.draw_sheet", recording_sheet)
    preview(PreviewConfig("fractaldb-1k", tmp_path / "grid.png", rows=4, columns=1, image_size=16))
    assert names == ["000", "250", "500", "750"]


def test_all_data_sets_have_a_row(small, tmp_path, monkeypatch):
    of_hue = dataclasses.replace(GradedIfsFormula(), fractals=(1, 2), num_points=2000)
    masked = dataclasses.replace(SEG_RCDB, num_instances=4, max_vertices=20, max_orbits=5)
    catalog = {"masked": (1, lambda: masked), "of several": (1, lambda: of_hue)}
    for name in set(datasets.CATALOG) - {"small"}:
        monkeypatch.delitem(datasets.CATALOG, name)
    for name, entry in catalog.items():
        monkeypatch.setitem(datasets.CATALOG, name, entry)
    shown = []

    def recording_sheet(images, *, row_names, title):
        shown.append((images, row_names, title))
        return draw_sheet(images, row_names=row_names, title=title)

    monkeypatch.setattr("fdsl_gpu.preview.draw_sheet", recording_sheet)
    config = PreviewConfig("all", tmp_path / "all.png", columns=9, image_size=24, seed=3)
    assert preview(config) == config.output
    ((images, names, title),) = shown
    assert names == ["masked", "masked masks", "of several", "small"]
    assert title == "3 data sets, a category a column, 24 pixels, seed 3, train"
    settings = {"image_size": 24, "seed": 3}
    drawings, masks = render("masked", range(9), **settings)
    assert torch.equal(images[0], drawings)
    assert torch.equal((images[1] > 0).any(1), masks > 0)
    assert torch.equal(images[2], render("of several", range(9), **settings)[0])
    # seven categories in nine columns: the first two again, by other samples
    labels = [0, 1, 2, 3, 4, 5, 6, 0, 1]
    samples = find_samples(Renderer(small, View(24), seed=3), range(7), 2).T.ravel()[:9]
    drawings, drawn_labels = render(small, samples, **settings)
    assert drawn_labels.tolist() == labels and torch.equal(images[3], drawings)
    assert not torch.equal(images[3, 0], images[3, 7])
    sheet = Image.open(config.output)
    assert all(contains(sheet, image) for image in images[:, 0])


def test_images_of_several_categories_are_shown_from_the_first(tmp_path):
    config = PreviewConfig("wacv-1k-multi", tmp_path / "grid.png", 1, 2, image_size=32)
    preview(config)
    sheet = Image.open(config.output)
    images, _ = render("wacv-1k-multi", range(2), image_size=32)
    assert all(contains(sheet, image) for image in images)
    with pytest.raises(ValueError, match="have a multi_hot target; leave categories out"):
        preview(dataclasses.replace(config, categories=(3,)))


def test_sheet_places_rows_below_each_other_with_a_name_before_each():
    red = torch.arange(6, dtype=torch.uint8) * 20 + 30
    images = torch.zeros(3, 2, 3, 64, 64, dtype=torch.uint8)
    images[:, :, 0] = red.view(3, 2, 1, 1)  # letters are gray
    pixels = np.asarray(draw_sheet(images, row_names=["a", "bb", "c"], title="t"))
    centres = []
    for value in red.tolist():
        rows, columns = np.nonzero((pixels == [value, 0, 0]).all(2))
        assert len(rows) == 64 * 64
        centres.append((rows.mean(), columns.mean()))
    rows, columns = np.array(centres).T
    assert rows[0] == rows[1] < rows[2] == rows[3] < rows[4]
    assert columns[0] == columns[2] < columns[1] == columns[3]
    left = int(columns[0]) - 33
    for row in rows[::2].astype(int):  # dark letters on white before each row
        assert (pixels[row - 10 : row + 10, :left] < 100).any()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "smal"}, "did you mean 'small'"),
        ({"image_size": 2}, "image_size must be in"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"columns": -1}, "columns must be at least 1, got -1"),
        ({"categories": (7,)}, r"must be in \[0, 7\), got 7"),
        ({"image_size": 8000, "columns": 9}, "ask for fewer or smaller"),
        ({"dataset_settings": {"num_point": 5}}, "did you mean 'num_points'"),
        ({"split": "test"}, "split must be one of"),
        ({"backend": "cuda"}, "unknown backend"),
        ({"dataset": "all", "categories": (1,)}, "are those of one data set"),
        ({"dataset": "all", "dataset_settings": {"num_points": 5}}, "are those of one data set"),
        ({"dataset": "all", "image_size": 8000}, "ask for fewer or smaller"),
    ],
)
def test_bad_input_is_refused_and_the_old_picture_stays(small, tmp_path, changes, message):
    output = tmp_path / "grid.png"
    output.write_bytes(b"old")
    settings = {"dataset": "small", "output": output, "image_size": 32, **changes}
    with pytest.raises(ValueError, match=message):
        preview(PreviewConfig(**settings))
    assert output.read_bytes() == b"old"


def test_an_unwritable_place_is_said_before_anything_is_drawn(small, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(Renderer, "draw", lambda *_: pytest.fail("drawn"))
    with pytest.raises(RuntimeError, match="cannot write .*file"):
        preview(PreviewConfig("small", tmp_path / "file" / "grid.png"))
