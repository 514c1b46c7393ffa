"""Random erasing: a rectangle of each chosen sample is replaced, by noise as a rule."""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.rng import Purpose, below, philox, uniform

__all__ = ["EraseMode", "draw_rectangles", "erase"]

EraseMode = Literal["pixel", "rand", "const"]
UInt64 = NDArray[np.uint64]

# Philox draws of Purpose.AUGMENTATION: whether and where, the key of the noise, then one a try
PLACE_DRAW: Final = 64
NOISE_DRAW: Final = 65
SIZE_DRAW: Final = 66
NUM_TRIES: Final = 10


def draw_rectangles(
    indices: UInt64,
    seed: int,
    prob: float,
    area: tuple[float, float],
    ratio: tuple[float, float],
    image_size: tuple[int, int],
) -> NDArray[np.int64]:  # [N, 4]
    """Top, left, height and width of what is erased; height and width are 0 for no erasing.

    A rectangle that does not fit is drawn again, up to ten times, and then given up.

    Args:
        indices: Sample indices, [N].
        seed: Seed of everything random.
        prob: Probability that a sample is erased at all.
        area: Range of the rectangle's share of the image.
        ratio: Range of height over width, uniform in the logarithm.
        image_size: Height and width of the images.

    Source:
        Zhong et al., Random Erasing Data Augmentation, AAAI 2020, algorithm 1; timm's ranges.
    """
    height, width = image_size
    words = philox(seed, indices, PLACE_DRAW, Purpose.AUGMENTATION)
    rectangles = np.zeros((len(indices), 4), np.int64)
    (missing,) = np.nonzero(uniform(words[0]) < prob)
    for number in range(NUM_TRIES):
        tried = philox(seed, indices[missing], SIZE_DRAW + number, Purpose.AUGMENTATION)
        pixels = uniform(tried[0], *area) * (height * width)
        aspect = np.exp(uniform(tried[1], math.log(ratio[0]), math.log(ratio[1])))
        h, w = np.rint(np.sqrt(pixels * aspect)), np.rint(np.sqrt(pixels / aspect))
        fits = (h < height) & (w < width)
        rectangles[missing[fits], 2], rectangles[missing[fits], 3] = h[fits], w[fits]
        missing = missing[~fits]
        if not missing.size:
            break
    rectangles[:, 0] = below(words[1], height - rectangles[:, 2] + 1)
    rectangles[:, 1] = below(words[2], width - rectangles[:, 3] + 1)
    return rectangles


def erase(
    images: Tensor,  # [N, C, H, W] float
    rectangles: NDArray[np.int64],  # [N, 4]
    indices: UInt64,
    seed: int,
    mode: EraseMode,
    mean: Tensor,  # [C]
    std: Tensor,  # [C]
) -> Tensor:
    """Images with their rectangles replaced: mean + std * z, so that z is seen after normalisation.

    Args:
        images: Levels in [0, 1], left as they are.
        rectangles: From `draw_rectangles`.
        indices: Sample indices, [N].
        seed: Seed of everything random.
        mode: z is normal for each "pixel" and channel, normal for each channel ("rand"), or 0
            ("const").
        mean: Mean that the images will be normalised with.
        std: Standard deviation that they will be normalised with.
    """
    (chosen,) = np.nonzero(rectangles[:, 2])
    if not chosen.size:
        return images
    _, channels, height, width = images.shape
    device = images.device
    rows = torch.from_numpy(chosen).to(device)
    top, left, h, w = torch.from_numpy(rectangles[chosen]).to(device).T.view(4, -1, 1, 1, 1)
    y = torch.arange(height, device=device).view(-1, 1)
    x = torch.arange(width, device=device)
    inside = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
    noise = torch.zeros((), device=device)
    if mode != "const":
        shape = (channels, height, width) if mode == "pixel" else (channels, 1, 1)
        words = philox(seed, indices[chosen], NOISE_DRAW, Purpose.AUGMENTATION)
        keys = torch.from_numpy(words[:2].view(np.int32)).to(device).view(2, -1, 1, 1, 1)
        numbers = torch.arange(math.prod(shape), dtype=torch.int32, device=device)
        noise = _normal(_mix(numbers.view(shape), keys[0], keys[1]))
    replaced = mean.view(-1, 1, 1) + std.view(-1, 1, 1) * noise
    images = images.clone()
    images[rows] = torch.where(inside, replaced.to(images.dtype), images[rows])
    return images


def _mix(values: Tensor, key0: Tensor, key1: Tensor) -> Tensor:
    """`fdsl_gpu.rng.mix` on the bits of int32: products wrap, and shifts are made logical."""
    h = values ^ key0
    h = h ^ ((h >> 16) & 0xFFFF)
    h = h * 0x7FEB352D
    h = h ^ key1
    h = h ^ ((h >> 15) & 0x1FFFF)
    h = h * (0x846CA68B - 2**32)
    return h ^ ((h >> 16) & 0xFFFF)


def _normal(words: Tensor) -> Tensor:
    """Normal deviates of the upper 24 bits: odd numbers over 2**24 lie evenly in (-1, 1)."""
    return torch.erfinv(((words >> 8) * 2 + 1) * 2.0**-24) * math.sqrt(2)
