import multiprocessing

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.render import render
from fdsl_gpu.stream import FormulaDataset, FormulaStream


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


def stream_of(dataset, batch_size=4, **settings):
    settings = {"image_size": 16, "backend": "numpy", "seed": 3, **settings}
    return FormulaStream(dataset, batch_size, **settings)


def assert_batches_are(batches, dataset, indices, batch_size=4, seed=3, split="train"):
    """These batches hold exactly the samples with these indices, in order."""
    images, labels = render(
        dataset, indices, image_size=16, seed=seed, split=split, backend="numpy"
    )
    assert [len(batch[0]) for batch in batches] == [
        len(part) for part in torch.arange(len(labels)).split(batch_size)
    ]
    assert torch.equal(torch.cat([batch[0] for batch in batches]), images)
    assert torch.equal(torch.cat([batch[1] for batch in batches]), labels)


def test_endless_stream_draws_the_indices_in_order(small):
    batches = iter(stream_of(small))
    assert_batches_are([next(batches) for _ in range(3)], small, range(12))


def test_endless_stream_has_no_length(small):
    with pytest.raises(TypeError, match="give it num_samples"):
        len(stream_of(small))
    with pytest.raises(ValueError, match="has no epochs"):
        stream_of(small).set_epoch(1)


def test_epochs_continue_the_stream(small):
    stream = stream_of(small, num_samples=10)
    assert len(stream) == 2
    assert_batches_are(list(stream), small, range(8))
    assert_batches_are(list(stream), small, range(10, 18))
    stream.set_epoch(5)
    assert_batches_are(list(stream), small, range(50, 58))


def test_last_batch_is_kept_when_asked_for(small):
    stream = stream_of(small, num_samples=10, drop_last=False)
    assert len(stream) == 3
    assert_batches_are(list(stream), small, range(10))
    assert_batches_are(list(stream), small, range(10, 20))


def test_validation_split_has_its_own_samples(small):
    stream = stream_of(small, num_samples=8, split="val")
    batches = list(stream)
    assert_batches_are(batches, small, range(8), split="val")
    training = render(small, range(8), image_size=16, seed=3, backend="numpy")[0]
    assert not torch.equal(torch.cat([images for images, _ in batches]), training)


@pytest.mark.parametrize("world_size, batch_size", [(1, 8), (2, 4), (4, 2)])
def test_ranks_make_the_same_global_batches(small, world_size, batch_size):
    ranks = [
        list(stream_of(small, batch_size, num_samples=20, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    parts = [part for step in zip(*ranks, strict=True) for part in step]
    assert_batches_are(parts, small, range(16), batch_size)


def test_state_goes_on_at_any_step_with_any_world_size(small):
    stream = stream_of(small, 8, num_samples=32)
    for _, _ in zip(stream, range(2), strict=False):
        pass
    state = stream.state_dict()
    # zip asks for a third batch before it sees the end of the range
    assert state["position"] == 24
    for rank, expected in ((0, range(24, 28)), (1, range(28, 32))):
        restored = stream_of(small, 4, num_samples=32, rank=rank, world_size=2)
        restored.load_state_dict(state)
        restored.set_epoch(0)  # a training loop says so at the start of each epoch
        assert_batches_are(list(restored), small, expected)
        assert restored.state_dict()["position"] == 32


def test_state_after_the_last_batch_is_the_next_epoch(small):
    stream = stream_of(small, num_samples=10)
    batches = iter(stream)
    next(batches), next(batches)
    restored = stream_of(small, num_samples=10)
    restored.load_state_dict(stream.state_dict())
    assert_batches_are(list(restored), small, range(10, 18))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 4}, "its seed is 4, this stream's is 3"),
        ({"dataset": "other"}, "its dataset is 'other'"),
        ({"version": 2}, "its version is 2"),
        ({"settings": {}}, "its settings is {}"),
        ({"split": "val"}, "its split is 'val'"),
        ({"num_samples": 12}, "its num_samples is 12"),
        ({"position": -1}, "position must be an integer from 0, got -1"),
    ],
)
def test_state_of_another_stream_is_refused(small, change, message):
    stream = stream_of(small)
    with pytest.raises(ValueError, match=message):
        stream.load_state_dict({**stream.state_dict(), **change})
    assert stream.state_dict()["position"] == 0


def test_a_setting_added_later_leaves_states_good(small):
    settings = stream_of(small).state_dict()["settings"]
    assert settings == {"num_points": 128 * 21, "num_walks": 128, "burn_in": 4}
    assert "settings" in stream_of("fractaldb-1k").state_dict()
    assert stream_of("fractaldb-1k").state_dict()["settings"] == {}


def test_transform_gets_the_batch(small):
    stream = stream_of(small, transform=lambda images, labels: (images.float().mean(), labels + 1))
    mean, labels = next(iter(stream))
    images, expected = render(small, range(4), image_size=16, seed=3, backend="numpy")
    assert mean == images.float().mean() and torch.equal(labels, expected + 1)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_workers_keep_the_global_order(small, num_workers):
    loader = DataLoader(stream_of(small, num_samples=30), batch_size=None, num_workers=num_workers)
    assert len(loader) == 7
    assert_batches_are(list(loader), small, range(28))
    assert_batches_are(list(loader), small, range(30, 58))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_persistent_workers_follow_set_epoch(small, method):
    stream = stream_of(small, num_samples=12)
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context=method,
    )
    assert_batches_are(list(loader), small, range(12))
    assert_batches_are(list(loader), small, range(12, 24))
    stream.set_epoch(9)
    assert_batches_are(list(loader), small, range(108, 120))


def test_view_items_are_the_samples_of_the_epoch(small):
    view = FormulaDataset(small, image_size=16, num_samples=10, seed=3)
    images, labels = render(small, range(20), image_size=16, seed=3)
    assert len(view) == 10
    for item in (0, 9, -1):
        image, label = view[item]
        assert torch.equal(image, images[item % 10]) and label == labels[item % 10]
    view.set_epoch(1)
    for (image, label), i in zip(view.__getitems__([4, 2]), (14, 12), strict=True):
        assert torch.equal(image, images[i]) and label == labels[i]
    with pytest.raises(IndexError, match="item 10 is not in a view of 10 samples"):
        view[10]


def test_view_transform_gets_a_pil_image(small):
    view = FormulaDataset(small, image_size=16, num_samples=2, seed=3, transform=np.asarray)
    plain = FormulaDataset(small, image_size=16, num_samples=2, seed=3)
    np.testing.assert_array_equal(view[1][0], plain[1][0].permute(1, 2, 0))


def test_view_epoch_reaches_persistent_workers(small):
    view = FormulaDataset(small, image_size=16, num_samples=4, seed=3)
    loader = DataLoader(view, batch_size=2, num_workers=2, persistent_workers=True)
    assert_batches_are(list(loader), small, range(4), 2)
    view.set_epoch(2)
    assert_batches_are(list(loader), small, range(8, 12), 2)
