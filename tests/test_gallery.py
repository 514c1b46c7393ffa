"""The gallery: complete, as fresh as the code, and readable in a browser."""

import base64
import dataclasses
import io
import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from browser import contrast, look, luminance
from PIL import Image

from fdsl_gpu import datasets, tables
from fdsl_gpu import gallery as gallery_module
from fdsl_gpu.catalog import CATALOG
from fdsl_gpu.datasets import DatasetSpec, get_dataset, list_datasets
from fdsl_gpu.formulas.base import View
from fdsl_gpu.formulas.contours import SEG_RCDB
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.frames import compute_boxes
from fdsl_gpu.gallery import NUM_TILES, GalleryConfig, exhibit, gallery, load_speeds
from fdsl_gpu.gallery_facts import FAMILIES, Family, Source
from fdsl_gpu.gallery_page import Exhibit, Speeds, page
from fdsl_gpu.preview import find_samples
from fdsl_gpu.render import Renderer, render

COMMITTED = Path(__file__).parent.parent / "docs" / "gallery"
PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')
NAMES = [name for family in FAMILIES for name in family.datasets]
WIDTHS = (360, 1200)


def pictures(text):
    """The pixels of every picture of a page: a PNG's bytes depend on who packs them."""
    files = [io.BytesIO(base64.b64decode(found)) for found in PICTURE.findall(text)]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def words(text):
    """The page without its pictures, line by line."""
    return PICTURE.sub("", text).splitlines()


def boxes_of_shown(maps, probs, weights):
    """The frames of the categories that the page shows: those of all 10,000 take a minute."""
    shown = np.arange(NUM_TILES) * len(maps) // NUM_TILES
    boxes = np.full((len(maps), len(weights), 4), np.nan)
    boxes[shown] = compute_boxes(maps[shown], probs[shown], weights)
    return boxes


def dataset_named(name):
    if name != "fractaldb-10k":
        return get_dataset(name)
    path = Path(tables.__file__).parent / "data" / f"{name}.safetensors"
    with mock.patch.object(tables, "cached_boxes", boxes_of_shown):
        return DatasetSpec(name, CATALOG[name][0], IfsFormula(tables.load_ifs_table(path)))


@pytest.fixture
def small(small_ifs, monkeypatch):
    """A gallery of two small data sets, one with masks."""
    masked = dataclasses.replace(SEG_RCDB, num_instances=4, max_vertices=20, max_orbits=5)
    monkeypatch.setitem(datasets.CATALOG, "small", (1, lambda: small_ifs))
    monkeypatch.setitem(datasets.CATALOG, "masked", (1, lambda: masked))
    family = Family(
        title="Two <small> sets",
        datasets={"small": "Seven categories & no more.", "masked": "Masks."},
        equation=("x < y",),
        sources=(Source("Somebody, 2020", "some/body", "MIT"), Source("Nobody, 2021")),
        otherwise=("Nothing.",),
    )
    monkeypatch.setattr(gallery_module, "FAMILIES", (family,))
    return get_dataset("small"), get_dataset("masked")


def test_every_data_set_has_facts_and_a_measured_speed():
    assert sorted(NAMES) == list_datasets(), "write the facts in fdsl_gpu/gallery_facts.py"
    speeds = load_speeds(COMMITTED / "speeds.json").us_an_image
    assert sorted(speeds) == list_datasets(), "run: fdsl-gpu gallery"
    assert all(10 < speed < 100_000 for speed in speeds.values())
    for family in FAMILIES:
        assert family.equation and family.sources and family.otherwise, family.title


def test_the_committed_page_is_what_the_code_makes():
    committed = (COMMITTED / "index.html").read_text(encoding="utf-8")
    exhibits = {name: exhibit(dataset_named(name)) for name in NAMES}
    made = page(FAMILIES, exhibits, load_speeds(COMMITTED / "speeds.json"))
    cure = "docs/gallery is stale; run: fdsl-gpu gallery"
    assert words(made) == words(committed), cure
    for number, (new, old) in enumerate(zip(pictures(made), pictures(committed), strict=True)):
        assert np.array_equal(new, old), f"picture {number}: {cure}"
    assert len(pictures(made)) == NUM_TILES * (len(NAMES) + 1)  # one data set has masks
    assert len(committed) < 3_000_000
    assert 'name="viewport" content="width=device-width' in committed
    assert "<script" not in committed and "<link" not in committed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_reader_sees_every_picture_and_nothing_sticks_out(scheme, tmp_path):
    looks = look(COMMITTED / "index.html", WIDTHS, scheme, tmp_path)
    for width, seen in zip(WIDTHS, looks, strict=True):
        assert seen["width"] == width and seen["scroll_width"] == width
        assert seen["outside"] == []
        assert len(seen["pictures"]) == NUM_TILES * (len(NAMES) + 1)
        assert all(complete and size == 128 for complete, size in seen["pictures"])
        assert (luminance(seen["paper"]) < 0.2) == (scheme == "dark")
        assert len(seen["inks"]) >= 3  # text, what is faint, links
        for ink in seen["inks"]:  # 4.5 is what WCAG asks of small text
            assert contrast(ink, seen["paper"]) >= 4.5, (ink, seen["paper"])


def test_the_look_notices_a_broken_picture_and_a_wide_box(tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        '<!DOCTYPE html><body style="margin: 0"><p style="color: rgb(1, 2, 3)">words</p>'
        '<img src="data:image/png;base64,AAAA"><div style="width: 400px">wide</div>'
    )
    narrow, wide = look(broken, WIDTHS, "light", tmp_path)
    assert narrow["pictures"] == [[True, 0]]
    assert narrow["scroll_width"] == 400 and len(narrow["outside"]) == 1
    assert wide["scroll_width"] == 1200 and wide["outside"] == []
    assert "rgb(1, 2, 3)" in narrow["inks"]


def test_the_page_shows_rendered_pixels_with_masks_below_them(small, tmp_path):
    plain, masked = small
    path = gallery(GalleryConfig(tmp_path / "new"))
    assert sorted(file.name for file in path.parent.iterdir()) == ["index.html", "speeds.json"]
    text = path.read_text(encoding="utf-8")
    shown = [torch.tensor(picture).permute(2, 0, 1) for picture in pictures(text)]
    # seven categories in eight places: the first again, by another sample
    samples = find_samples(Renderer(plain, View(128)), range(7), 2).T.ravel()[:8]
    images, labels = render(plain, samples, image_size=128)
    assert labels.tolist() == [*range(7), 0]
    assert torch.equal(torch.stack(shown[:8]), images)
    images, masks = render(masked, range(8), image_size=128)
    assert torch.equal(torch.stack(shown[8::2]), images)
    assert torch.equal((torch.stack(shown[9::2]) > 0).any(1), masks > 0)
    assert "Two &lt;small&gt; sets" in text and "x &lt; y" in text and "&amp; no more" in text
    assert '<a href="https://github.com/some/body">some/body</a>, licence MIT' in text
    assert "Nobody, 2021 (no program published)" in text
    assert "7 categories · class labels · " in text
    assert "254 categories · masks as targets · " in text
    assert "<dt>num_walks</dt><dd>128</dd>" in text


def test_speeds_are_kept_until_they_are_asked_for_again(small, tmp_path):
    config = GalleryConfig(tmp_path)
    speeds = Speeds("a <slow> machine", "2001-02-03", 224, {"small": 1234.4, "masked": 5.0})
    stored = tmp_path / "speeds.json"
    stored.write_text(json.dumps(dataclasses.asdict(speeds)))
    text = gallery(config).read_text(encoding="utf-8")
    assert load_speeds(stored) == speeds
    assert "a &lt;slow&gt; machine, 2001-02-03" in text
    assert "1,234 µs an image" in text and "5 µs an image" in text
    gallery(dataclasses.replace(config, measure=True))
    measured = load_speeds(stored)
    assert measured.date > "2026" and set(measured.us_an_image) == {"small", "masked"}
    assert all(speed > 0 for speed in measured.us_an_image.values())
    # a data set that nobody has measured: all are measured in one run
    stored.write_text(json.dumps({**dataclasses.asdict(speeds), "us_an_image": {"small": 1.0}}))
    gallery(config)
    assert set(load_speeds(stored).us_an_image) == {"small", "masked"}


@pytest.mark.parametrize("damage", ["", "[1]", '{"machine": "a"}'])
def test_damaged_speeds_are_refused_and_the_old_page_stays(small, tmp_path, damage):
    (tmp_path / "speeds.json").write_text(damage)
    (tmp_path / "index.html").write_text("old")
    with pytest.raises(ValueError, match=r"speeds\.json does not hold speeds .* delete it"):
        gallery(GalleryConfig(tmp_path))
    assert (tmp_path / "index.html").read_text() == "old"


def test_a_colour_image_stays_in_colour():
    tiles = torch.arange(3 * 8 * 8).reshape(1, 1, 3, 8, 8).to(torch.uint8)
    family = Family("t", {"a": "."}, ("x",), (Source("p"),), ("o",))
    shown = {"a": Exhibit(1, "class", {"sizes": (1, 2000), "flag": True}, tiles)}
    text = page([family], shown, Speeds("m", "d", 224, {"a": 1.0}))
    (picture,) = pictures(text)
    assert np.array_equal(picture, tiles[0, 0].permute(1, 2, 0).numpy())
    assert "<dd>1, 2,000</dd>" in text and "<dd>True</dd>" in text
