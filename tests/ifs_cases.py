"""Samples of the 2D IFS that take every path through a drawing, small enough to be drawn slowly."""

import dataclasses

import numpy as np
import torch
from conftest import contracting_table

from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.view import View

# one whole block of seven labels, so each number of maps from 2 to 8; then more than 32 bits
EVERY_NUM_MAPS = np.arange(7, dtype=np.uint64)
LARGE = np.array([2**33 + 5, 2**62 - 1, 2**63 + 4], np.uint64)

# name -> num_walks, num_steps, burn_in, image_size
SETTINGS = {
    "patch_gray": (128, 11, 4, 31),
    "patch_color": (256, 6, 0, 65),
    "point_gray": (512, 1, 2, 33),
    "point_color": (128, 7, 2, 3),
    "mask_per_image": (128, 4, 0, 16),
    "mask_full": (128, 3, 0, 17),
    "point_white": (128, 2, 0, 18),
    "continuous": (256, 9, 2, 29),
}


def formula(name):
    """The formula of a case."""
    num_walks, num_steps, burn_in, _ = SETTINGS[name]
    mask = name.removeprefix("mask_")
    return IfsFormula(
        contracting_table(),
        drawing=name if name.startswith(("patch", "point")) else "patch_gray",
        mask=mask if name.startswith("mask") else "per_point",
        instances="continuous" if name == "continuous" else "fresh",
        num_points=num_steps * num_walks,
        num_walks=num_walks,
        burn_in=burn_in,
    )


def instance(name):
    """The samples of a case."""
    if name == "turned_and_cropped":
        return turned_and_cropped()
    if name == "diverging":
        return diverging()
    if name == "continuous_diverging":
        return diverging("continuous")
    if name == "continuous_seen_askew":
        view = View(23, canvas_size=40, crop="resized", rotation=(-20, 70), rot90=True)
        return formula("continuous").instance(EVERY_NUM_MAPS, 8, view)
    indices = EVERY_NUM_MAPS if name.startswith(("patch", "continuous")) else LARGE
    if name == "patch_gray":
        indices = np.concatenate([EVERY_NUM_MAPS, LARGE])
    return formula(name).instance(indices, 2**63 + 2**33 + 5, View(SETTINGS[name][3]))


def turned_and_cropped():
    """Every orientation, each with another corner of the canvas."""
    whole = formula("patch_color").instance(np.arange(8, dtype=np.uint64), 3, View(40))
    corner = np.stack([np.arange(8) * 2, np.arange(8)[::-1]], 1)
    return dataclasses.replace(
        whole,
        orientation=np.arange(8, dtype=np.int32),
        corner=corner.astype(np.int32),
        image_size=23,
    )


def diverging(name="patch_gray"):
    """Walks that leave the canvas, overflow to infinity and end as NaN; and one that never was."""
    inside = formula(name).instance(np.arange(4, dtype=np.uint64), 1, View(24))
    maps = inside.maps.copy()
    maps[0] *= 3
    maps[1] *= np.float32(1e8)
    maps[2] = np.nan
    maps[3, :, :2] = maps[3, :, 4] = 0  # all points on a line: a frame without width
    return dataclasses.replace(inside, maps=maps)


CASES = (
    *SETTINGS,
    "turned_and_cropped",
    "diverging",
    "continuous_seen_askew",
    "continuous_diverging",
)


def one(name):
    """The sample of a case that has the most maps."""
    samples = instance(name)
    return part(samples, [int(samples.num_maps.argmax())])


def part(samples, which):
    """Some of the samples."""
    arrays = {
        field.name: getattr(samples, field.name)[which]
        for field in dataclasses.fields(samples)
        if isinstance(getattr(samples, field.name), np.ndarray)
    }
    return dataclasses.replace(samples, **arrays)


def defined(samples, channels=3):
    """The definition's images, uint8 [N, C, H, W]."""
    shape = (len(samples.label), channels, samples.image_size, samples.image_size)
    images = np.full(shape, 0xCD, np.uint8)
    formula("patch_gray").draw_numpy(samples, images)
    return torch.from_numpy(images)


FORMATS = [
    (dtype, channels, channels_last)
    for dtype in (torch.uint8, torch.float32, torch.float16, torch.bfloat16)
    for channels in (1, 3)
    for channels_last in (False, True)
]


def blank(samples, dtype=torch.uint8, channels=3, channels_last=False):
    """Images to draw into, full of what no drawing writes."""
    size = samples.image_size
    images = torch.full((len(samples.label), channels, size, size), 0xCD).to(dtype)
    return images.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def normalised(images, mean, std, dtype):
    """As a loader does it to uint8 images: one float32 product, one sum, one rounding."""
    scale = torch.tensor([1 / (255 * s) for s in std]).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(-1, 1, 1)
    return (images * scale + shift).to(dtype)


def assert_same_bits(actual, expected):
    """Equal in every bit, with the first difference named."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[actual.element_size()]
    differing = (actual.contiguous().view(bits) != expected.contiguous().view(bits)).nonzero()
    if len(differing):
        first = tuple(differing[0].tolist())
        raise AssertionError(
            f"{len(differing)} of {actual.numel()} values differ; "
            f"at {first}: {actual[first]} for {expected[first]}"
        )
