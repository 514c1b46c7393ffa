import threading

import pytest
import torch

from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.render import render
from fdsl_gpu.stream import FormulaStream

MEAN, STD = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)


@pytest.fixture
def small(small_ifs):
    return DatasetSpec("small", 1, small_ifs)


def loader_of(dataset, num_samples=12, stream_settings=None, **settings):
    stream = FormulaStream(
        dataset,
        4,
        image_size=16,
        num_samples=num_samples,
        backend="numpy",
        **(stream_settings or {}),
    )
    return FormulaLoader(stream, **{"mean": MEAN, "std": STD, **settings})


def normalised(dataset, indices):
    images, labels = render(dataset, indices, image_size=16, backend="numpy")
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (images / 255 - mean) / std, labels


def test_batches_are_normalised_and_in_order(small):
    loader = loader_of(small)
    assert len(loader) == 3
    for epoch in range(2):
        batches = list(loader)
        images, labels = normalised(small, range(12 * epoch, 12 * epoch + 12))
        torch.testing.assert_close(torch.cat([batch[0] for batch in batches]), images)
        assert torch.equal(torch.cat([batch[1] for batch in batches]), labels)


def test_type_and_memory_format(small):
    images, _ = next(iter(loader_of(small, dtype=torch.bfloat16, channels_last=True)))
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images, normalised(small, range(4))[0].bfloat16())


def test_state_does_not_count_what_is_drawn_ahead(small):
    loader = loader_of(small, num_samples=None)
    batches = iter(loader)
    next(batches), next(batches)
    assert loader.state_dict()["position"] == 8
    batches.close()
    restored = loader_of(small, num_samples=None)
    restored.load_state_dict(loader.state_dict())
    for again in (loader, restored):
        batches = iter(again)
        torch.testing.assert_close(next(batches)[0], normalised(small, range(8, 12))[0])
        batches.close()


def test_set_epoch_after_an_early_stop(small):
    loader = loader_of(small)
    batches = iter(loader)
    next(batches)
    batches.close()
    loader.set_epoch(0)  # in epoch 0 already: goes on in it
    assert torch.equal(torch.cat([b[1] for b in loader]), normalised(small, range(4, 12))[1])
    loader.set_epoch(0)
    assert torch.equal(torch.cat([b[1] for b in loader]), normalised(small, range(12))[1])


def test_augment_gets_levels_and_indices_and_mixup_comes_last(small):
    seen, threads = [], []

    def augment(images, target, indices):
        threads.append(threading.current_thread())
        assert torch.equal(images.unique(), torch.tensor([0, 127]) / 255)
        return images + indices.view(-1, 1, 1, 1), target

    def mixup_fn(images, target):
        seen.append(target)
        assert threading.current_thread() is threading.main_thread()
        return images, torch.nn.functional.one_hot(target, 7)

    loader = loader_of(small, augment=augment, mixup_fn=mixup_fn)
    images, target = next(iter(loader))
    expected, labels = normalised(small, range(4))
    added = torch.arange(4.0).view(-1, 1, 1, 1) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(images, expected + added)
    assert torch.equal(seen[0], labels) and target.shape == (4, 7)
    assert threads[0] is not threading.main_thread()


def test_a_fault_while_drawing_ahead_reaches_the_consumer(small):
    def augment(images, target, indices):
        if 8 in indices:
            raise RuntimeError("no such augmentation")
        return images, target

    batches = iter(loader_of(small, augment=augment))
    next(batches)
    with pytest.raises(RuntimeError, match="no such augmentation"):
        next(batches), next(batches)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mean": (0.5,)}, "mean and std need one value for each of the 3 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0"),
        ({"dtype": torch.uint8}, "dtype must be a floating-point type, got torch.uint8"),
        ({"stream_settings": {"transform": max}}, "make its stream without a transform"),
    ],
)
def test_settings_out_of_range_are_refused(small, settings, message):
    with pytest.raises(ValueError, match=message):
        loader_of(small, **settings)
