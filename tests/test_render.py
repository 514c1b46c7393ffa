import logging

import numpy as np
import pytest
import torch

from fdsl_gpu import datasets
from fdsl_gpu.backends import choose
from fdsl_gpu.datasets import DatasetSpec, get_dataset, list_datasets
from fdsl_gpu.formulas.base import View
from fdsl_gpu.render import describe, render


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


@pytest.mark.parametrize("image_size", [31, 64, 224, 362])
def test_numba_draws_the_definition_of_fractaldb(image_size):
    indices = [0, 5, 999, 2**33 + 1, 2**62 - 1]
    expected = render("fractaldb-1k", indices, image_size=image_size, backend="numpy")
    actual = render("fractaldb-1k", indices, image_size=image_size, backend="numba")
    for ours, definition in zip(actual, expected, strict=True):
        assert torch.equal(ours, definition)


def test_images_are_gray_uint8_repeated_into_channels(small):
    images, labels = render(small, range(5), image_size=20)
    assert images.shape == (5, 3, 20, 20) and images.dtype == torch.uint8
    assert labels.shape == (5,) and labels.dtype == torch.int64
    assert set(images.unique().tolist()) == {0, 127}
    one, _ = render(small, range(5), image_size=20, channels=1)
    assert torch.equal(one.expand(-1, 3, -1, -1), images)


@pytest.mark.parametrize("indices", [torch.tensor([4, 0]), np.array([4, 0], np.int32), [4, 0]])
def test_indices_may_come_in_any_container(small, indices):
    images, labels = render(small, indices, image_size=16)
    whole, all_labels = render(small, range(5), image_size=16)
    assert torch.equal(images, whole[[4, 0]]) and torch.equal(labels, all_labels[[4, 0]])


def test_no_indices_give_no_images(small):
    images, labels = render(small, [], image_size=16)
    assert images.shape == (0, 3, 16, 16) and labels.shape == (0,)


def test_describe_names_what_render_draws(small):
    described = describe(small, range(700), seed=5)
    _, labels = render(small, range(700), image_size=3, seed=5)
    assert described["label"].tolist() == labels.tolist()
    assert np.bincount(described["label"]).tolist() == [100] * 7
    assert set(described["weight_row"]) == {0, 1, 2} and set(described["flip"]) == {0, 1, 2, 3}


def test_flip_is_that_of_the_finished_image(small):
    described = describe(small, range(60))
    same = {}
    # the same category, row and flip give the same frame: compare where points fall on average
    images, _ = render(small.replace(mask="full"), range(60), image_size=24)
    for i in range(60):
        key = (int(described["label"][i]), int(described["weight_row"][i]))
        turned = images[i, 0].float()
        if described["flip"][i] & 1:
            turned = turned.flip(0)
        if described["flip"][i] & 2:
            turned = turned.flip(1)
        same.setdefault(key, []).append(turned > 0)
    overlaps = [
        ((first & second).sum() / (first | second).sum()).item()
        for group in same.values()
        for first, second in zip(group, group[1:], strict=False)
    ]
    assert len(overlaps) > 20 and np.median(overlaps) > 0.8


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"image_size": 2}, ValueError, r"image_size must be in \[3, 8192\].*got 2"),
        ({"image_size": 10**6}, ValueError, "image_size must be in .*got 1000000"),
        ({"indices": [-1]}, ValueError, r"indices must be in \[0, 2\*\*62\), got -1"),
        ({"indices": [2**62]}, ValueError, r"indices must be in \[0, 2\*\*62\)"),
        ({"indices": [0.5]}, ValueError, "indices must be a list of integers"),
        ({"indices": [[0]]}, ValueError, "indices must be a list of integers"),
        ({"seed": -1}, ValueError, r"seed must be in \[0, 2\*\*64\), got -1"),
        ({"split": "test"}, ValueError, "split must be one of"),
        ({"channels": 2}, ValueError, "channels must be 1 or 3, got 2"),
        ({"backend": "cuda"}, ValueError, "unknown backend 'cuda'; choose one of"),
        ({"device": "meta"}, ValueError, "device must be 'cpu' or 'cuda', got 'meta'"),
    ],
)
def test_arguments_out_of_range_are_refused(small, arguments, error, message):
    settings = {"indices": [0], "image_size": 16, **arguments}
    with pytest.raises(error, match=message):
        render(small, settings.pop("indices"), **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_device_that_is_not_there_is_named(small):
    with pytest.raises(RuntimeError, match="device 'cuda' needs a GPU and torch sees none"):
        render(small, [0], image_size=16, device="cuda")


def test_colour_needs_three_channels(small):
    with pytest.raises(ValueError, match="channels must be 3 for a coloured drawing, got 1"):
        render(small.replace(drawing="patch_color"), [0], image_size=16, channels=1)


def test_auto_takes_the_fastest_and_says_so_once(small, caplog, monkeypatch):
    monkeypatch.setattr("fdsl_gpu.backends._said", set())
    with caplog.at_level(logging.INFO, "fdsl_gpu"):
        for _ in range(2):
            assert choose(small.formula, torch.device("cpu"), "auto") == "numba"
    assert [record.message for record in caplog.records] == [
        "IfsFormula is drawn by the numba backend on cpu"
    ]


def test_supersampled_images_are_means_of_larger_ones(small):
    from fdsl_gpu.formulas.view import View

    large, labels = render(small, range(5), image_size=48, channels=1)
    images, again = render(small, range(5), image_size=View(16, supersample=3))
    blocks = large.view(5, 1, 16, 3, 16, 3).int().sum((3, 5))
    expected = torch.div(blocks + 4, 9, rounding_mode="floor").to(torch.uint8)
    assert torch.equal(images, expected.expand(-1, 3, -1, -1)) and torch.equal(labels, again)
    assert len(images.unique()) > 5
    with pytest.raises(ValueError, match=r"supersample must be in \[1, 512\] for a canvas of 16"):
        View(16, supersample=513)


class OneDot:
    """A formula of one's own, with the definition alone."""

    num_classes, target, channels = 2, "class", 1

    def instance(self, indices, seed, view):
        from types import SimpleNamespace

        return SimpleNamespace(
            index=indices, label=(indices % 2).astype(np.int64), image_size=view.image_size
        )

    def draw_numpy(self, instance, images):
        images[...] = 0
        images[range(len(images)), :, instance.label, 0] = 255


def test_a_formula_with_a_definition_alone_is_drawn_by_numpy():
    spec = DatasetSpec("dot", 1, OneDot())
    images, labels = render(spec, [0, 1], image_size=3)
    assert labels.tolist() == [0, 1]
    assert images.nonzero().tolist() == [[n, c, n, 0] for n in (0, 1) for c in (0, 1, 2)]
    with pytest.raises(ValueError, match="OneDot has no numba drawing; use backend='auto'"):
        render(spec, [0], image_size=3, backend="numba")
    assert View(3).image_size == 3


def test_names_are_listed_and_unknown_ones_get_a_cure():
    assert "fractaldb-1k" in list_datasets()
    with pytest.raises(ValueError, match="unknown data set 'fractldb-1k'; did you mean 'fractal"):
        get_dataset("fractldb-1k")


def test_spec_has_the_published_tables():
    spec = get_dataset("fractaldb-1k")
    assert (spec.num_classes, spec.target) == (1000, "class")
    assert spec.maps.shape == (1000, 7, 6) and spec.probs.shape == (1000, 7)
    own = np.isfinite(spec.maps).all(2)
    np.testing.assert_array_equal(own, spec.probs > 0)
    # the published histogram of the number of maps, 2 to 7
    assert np.bincount(own.sum(1))[2:].tolist() == [231, 294, 218, 146, 77, 34]
    np.testing.assert_allclose(spec.probs.sum(1), 1)


def test_replace_changes_settings_and_refuses_unknown_ones():
    spec = get_dataset("fractaldb-1k").replace(num_points=50_000)
    assert spec.settings()["num_points"] == 50_000 and spec.formula.num_steps == 49
    with pytest.raises(ValueError, match="has no setting 'num_point'; did you mean 'num_points'"):
        spec.replace(num_point=3)


def test_only_ifs_families_have_maps():
    with pytest.raises(ValueError, match="data set 'dot' is not an IFS family: it has no .maps"):
        _ = datasets.DatasetSpec("dot", 1, OneDot()).maps
