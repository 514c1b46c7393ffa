"""What images of any type hold for a gray level or a colour: looked up by kernels, never computed.

A kernel stores the bits that a table has for a level. The tables are made on the host by the same
float32 operations that normalise a whole image, so both give the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BITS", "checked_normalisation", "value_bits"]

BITS: Final = {
    torch.uint8: torch.uint8,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
}
"""Types that images may have, and integers of the same width."""


def checked_normalisation(
    images: Tensor,  # [N, C, H, W]
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel; 0 and 1 where they are not given.

    Raises:
        ValueError: The images' dtype is not one of `BITS`, or mean or std does not fit.
    """
    if images.dtype not in BITS:
        raise ValueError(f"images must be of one of {list(BITS)}, got {images.dtype}")
    channels = images.shape[1]
    if images.dtype == torch.uint8 and (mean is not None or std is not None):
        raise ValueError("mean and std need float images, got torch.uint8")
    mean = (0.0,) * channels if mean is None else tuple(mean)
    std = (1.0,) * channels if std is None else tuple(std)
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ValueError(
            f"mean and std need one value for each of the {channels} channels, std above 0, "
            f"got {mean} and {std}"
        )
    return mean, std


def value_bits(
    levels: NDArray[np.uint8],  # [C, L]
    dtype: torch.dtype,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> NDArray[np.uint8]:
    """Bytes of the levels of each channel as images of this type hold them."""
    table = torch.from_numpy(levels)
    if dtype != torch.uint8:
        # the same float32 operations as a whole image would go through
        scale = torch.tensor([1 / (255 * s) for s in std])[:, None]
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])[:, None]
        table = (table * scale + shift).to(dtype)
    bits: NDArray[np.uint8] = table.view(torch.uint8).numpy().reshape(-1)
    return bits
