"""Perlin noise on a GPU: 56 bytes an image are copied, then one launch draws them all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.triton import check_device, interpreted, launch_options, launching
from fdsl_gpu.backends.triton.values import BITS, checked_normalisation, value_bits
from fdsl_gpu.formulas.perlin import PerlinInstance, amplitudes, gradients
from fdsl_gpu.kernels import perlin as kernels

__all__ = ["draw"]

ROWS: Final = 16
COLUMNS: Final = 32
"""Pixels of a program. An interpreted one takes a whole image: it is as slow for one."""


def draw(
    instance: PerlinInstance,
    images: Tensor,  # [N, C, H, W]
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Draw the samples into images on their device, without waiting for it.

    Args:
        instance: The samples.
        images: As for `fdsl_gpu.backends.triton.ifs.draw`.
        mean: Mean of each channel in units of 1 (white), for float images; 0 if not given.
        std: Standard deviation of each channel in units of 1, for float images; 1 if not given.

    Raises:
        ValueError: The images' shape or dtype, or the mean or std, does not fit.
        RuntimeError: Triton cannot draw on the images' device.
    """
    size, count = instance.image_size, len(instance.label)
    shapes = [(count, channels, size, size) for channels in (1, 3)]
    if tuple(images.shape) not in shapes:
        raise ValueError(
            f"images must have the shape {shapes[0]} or {shapes[1]}, got {tuple(images.shape)}"
        )
    normalisation = checked_normalisation(images, mean, std)
    check_device(images.device)
    if not count:
        return
    values = _values(images.device, images.dtype, *normalisation)
    host = torch.empty((count, kernels.ROW.value), dtype=torch.int32, pin_memory=images.is_cuda)
    _pack(instance, host.numpy())
    # freed pinned memory is given out again only after the copy: nothing needs to wait here
    params = host.to(images.device, non_blocking=True)
    images = images.view(BITS[images.dtype])
    whole = 1 << (size - 1).bit_length()
    rows, columns = (whole, whole) if interpreted() else (ROWS, COLUMNS)
    with launching(images.device):
        kernels.perlin_kernel[(count, -(-size // rows), -(-size // columns))](
            params,
            _gradients(images.device),
            values,
            images,
            instance.num_octaves,
            size,
            *images.stride(),
            CHANNELS=images.shape[1],
            ROWS=rows,
            COLUMNS=columns,
            **launch_options(num_warps=4),
        )


def _pack(instance: PerlinInstance, rows: NDArray[np.int32]) -> None:
    """Write what the kernel reads of each sample into its row, at the offsets that it names."""

    def put(offset: Any, values: NDArray[Any]) -> None:
        rows[:, offset.value : offset.value + values.shape[-1]] = values.view(np.int32)

    put(kernels.STEP, instance.step)
    put(kernels.PHASE, instance.phase)
    put(kernels.KEY, instance.key)
    put(kernels.AMPLITUDE, amplitudes(instance.num_octaves, instance.persistence))


@lru_cache(maxsize=8)
def _gradients(device: torch.device) -> Tensor:
    pairs = np.ascontiguousarray(np.stack(gradients(), 1)).view(np.int64)
    return torch.from_numpy(pairs.reshape(-1)).to(device)


@lru_cache(maxsize=16)
def _values(
    device: torch.device, dtype: torch.dtype, mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Bits of every gray level, [C * 256]."""
    levels = np.tile(np.arange(kernels.NUM_LEVELS.value, dtype=np.uint8), (len(mean), 1))
    table = torch.from_numpy(value_bits(levels, dtype, mean, std))
    return table.view(BITS[dtype]).to(device)
