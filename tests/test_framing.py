"""Streamed FractalDB-1k has the published framing and the published share of lit pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fdsl_gpu import describe, render, replay_fractaldb

NUM_SAMPLES = 60


def closed(lit):
    """The 3x3 closing: what a patch covers, its dark pixels included."""
    dilated = F.max_pool2d(F.pad(lit.float()[None], (2, 2, 2, 2)), 3, 1)
    return (1 - F.max_pool2d(1 - dilated, 3, 1))[0].bool()


@pytest.fixture(scope="module")
def pairs():
    """(lit area of a sample, published coverage of its category and weight row), flipped alike."""
    images, _ = render("fractaldb-1k", range(NUM_SAMPLES), image_size=362)
    described = describe("fractaldb-1k", range(NUM_SAMPLES))
    pairs = []
    for i in range(NUM_SAMPLES):
        _, coverage = replay_fractaldb(int(described["label"][i]), int(described["weight_row"][i]))
        flip = int(described["flip"][i])
        coverage = np.flipud(coverage) if flip & 1 else coverage
        coverage = np.fliplr(coverage) if flip & 2 else coverage
        pairs.append((images[i, 0] > 0, torch.from_numpy(coverage.copy())))
    return pairs


def test_lit_area_overlaps_the_published_coverage(pairs):
    overlaps = []
    for lit, coverage in pairs:
        area = closed(lit)
        overlaps.append(((area & coverage).sum() / (area | coverage).sum()).item())
    assert np.median(overlaps) >= 0.84


def test_half_of_the_covered_pixels_are_lit():
    full, _ = render("fractaldb-1k", range(40), image_size=362, seed=1)
    # the same walks with full patches show what is covered
    from fdsl_gpu import get_dataset

    covered, _ = render(
        get_dataset("fractaldb-1k").replace(mask="full"), range(40), image_size=362, seed=1
    )
    assert not ((full > 0) & (covered == 0)).any()
    share = ((full > 0).sum() / (covered > 0).sum()).item()
    assert share == pytest.approx(256 / 511, abs=0.003)
