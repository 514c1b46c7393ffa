"""Images lie in memory that is used again, and never in memory that somebody still looks at."""

import threading

import numpy as np
import pytest
import torch

from fdsl_gpu import render
from fdsl_gpu.memory import KEPT, LEAST, SIZES, _local, empty_images

SHAPE = (4, 3, 512, 512)


@pytest.fixture(autouse=True)
def nothing_kept():
    _local.__dict__.clear()
    yield
    _local.__dict__.clear()


def test_memory_is_used_again_once_its_tensor_is_gone():
    images = empty_images(SHAPE)
    place = images.data_ptr()
    assert empty_images(SHAPE).data_ptr() != place  # images are still there
    del images
    assert empty_images(SHAPE).data_ptr() == place


@pytest.mark.parametrize(
    "kept",
    [
        lambda images: images[1:2, 0],
        lambda images: images.view(-1)[5:],
        lambda images: images.numpy()[0],
        lambda images: images.untyped_storage(),
        lambda images: torch.from_dlpack(images),
        lambda images: memoryview(images.numpy()),
    ],
)
def test_whatever_looks_at_images_keeps_them(kept):
    images = empty_images(SHAPE)
    place = images.data_ptr()
    looks = kept(images)
    del images
    others = [empty_images(SHAPE) for _ in range(KEPT + 1)]
    assert place not in [other.data_ptr() for other in others]
    del looks


def test_a_batch_that_is_kept_stays_as_it_was():
    batches = [render("fractaldb-1k", range(4 * k, 4 * k + 4), image_size=362)[0] for k in range(6)]
    assert batches[0].numel() >= LEAST
    copies = [batch.clone() for batch in batches]
    for _ in range(2 * KEPT):
        render("fractaldb-1k", range(100, 104), image_size=362)
    assert all(torch.equal(*pair) for pair in zip(batches, copies, strict=True))
    assert len({batch.data_ptr() for batch in batches}) == 6


def test_masks_lie_in_memory_that_is_used_again():
    places = set()
    for first in range(0, 32, 4):
        images, masks = render("segrcdb", range(first, first + 4), image_size=512)
        assert masks.dtype == torch.int64 and masks.max() > 200
        places |= {images.data_ptr(), masks.data_ptr()}
        del images, masks
    assert len(places) == 2
    assert empty_images((2, 1024, 1024), torch.float64).dtype == torch.float64


def test_no_more_than_some_pieces_are_kept():
    for size in range(512, 2048, 64):
        held = [empty_images((3, size, size)) for _ in range(5)]
    assert len(held) == 5 and len(_local.kept) == SIZES
    assert all(len(pieces) == KEPT for pieces in _local.kept.values())
    before = list(_local.kept)
    empty_images((3, 8, 8))
    assert list(_local.kept) == before


def test_a_piece_serves_what_is_a_little_smaller():
    place = empty_images(SHAPE).data_ptr()
    smaller = empty_images((3, *SHAPE[1:]))
    assert smaller.data_ptr() == place and smaller.shape == (3, *SHAPE[1:])


def test_each_thread_has_memory_of_its_own():
    place = empty_images(SHAPE).data_ptr()
    others = []
    thread = threading.Thread(target=lambda: others.append(empty_images(SHAPE)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != place
    others[0].fill_(7)
    assert np.all(others[0].numpy() == 7)  # outlives the thread that made it
