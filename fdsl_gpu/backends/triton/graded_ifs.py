"""Sigma-factor fractals on a GPU: what the kernels read is packed, copied once, drawn in chunks.

A chunk's counts fit in the L2 cache, where the points are added.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdsl_gpu.backends.triton import (
    check_device,
    interpreted,
    launch_options,
    launching,
    scratch_size,
)
from fdsl_gpu.formulas.diamond_square import sectors
from fdsl_gpu.formulas.graded_drawing import BOX_STEPS, GradedInstance
from fdsl_gpu.formulas.ifs_table import MAX_MAPS
from fdsl_gpu.kernels import blur as blurs
from fdsl_gpu.kernels import graded_ifs as kernels
from fdsl_gpu.kernels import ifs as words

__all__ = ["draw"]

WALKS: Final = 128
"""Walks of a program that counts: few images still reach many multiprocessors."""
PIXELS: Final = 512
"""Pixels or grid points of a program. An interpreted one takes whole images: it is as slow for
one."""
MAX_GRID: Final = 65535
"""Largest second extent of a grid."""


def draw(
    instance: GradedInstance,
    images: Tensor,  # [N, 3, H, W]
    *,
    scratch: int | None = None,
) -> None:
    """Draw the samples into images on their device, without waiting for it.

    Args:
        instance: The samples.
        images: uint8, any strides; wholly overwritten.
        scratch: Bytes of scratch in flight: how many images are drawn at a time. By default what
            fits the device's L2 cache. It changes no pixel.

    Raises:
        ValueError: The images do not fit the samples.
        RuntimeError: Triton cannot draw on the images' device.
    """
    (count, num_fractals), size = instance.size.shape, instance.image_size
    if tuple(images.shape) != (count, 3, size, size) or images.dtype != torch.uint8:
        raise ValueError(
            f"images must be uint8 of shape {(count, 3, size, size)}, got {images.dtype} of "
            f"{tuple(images.shape)}"
        )
    check_device(images.device)
    side = int(instance.size.max(initial=1))
    grid = 2 ** instance.amplitude.shape[1] + 1
    image_bytes = 4 * (num_fractals * ((side + 2) ** 2 + side**2) + grid**2) + 3 * size**2
    budget = scratch_size(images.device) if scratch is None else scratch
    chunk = max(1, min(budget // image_bytes, count, MAX_GRID // num_fractals))
    starts = range(0, count, chunk)
    rows, looks = _rows(instance), _looks(instance)
    # the rows of a chunk lie together, those of one fractal after those of the one before
    packed = np.concatenate([rows[:, start : start + chunk].reshape(-1) for start in starts])
    host = torch.empty(packed.size + looks.size, dtype=torch.int32, pin_memory=images.is_cuda)
    host.numpy()[:] = np.concatenate([packed, looks.reshape(-1)])
    # freed pinned memory is given out again only after the copy: nothing needs to wait here
    params = host.to(images.device, non_blocking=True)
    with launching(images.device):
        for start in starts:
            stop = min(start + chunk, count)
            first = start * num_fractals * words.ROW.value
            look = packed.size + start * kernels.LOOK.value
            _draw_chunk(instance, params[first:], params[look:], side, images[start:stop])


def _draw_chunk(
    instance: GradedInstance, params: Tensor, looks: Tensor, side: int, images: Tensor
) -> None:
    device, count, size = images.device, len(images), instance.image_size
    num_fractals = instance.size.shape[1]
    fractals, plane, area = num_fractals * count, (side + 2) ** 2, side**2
    num_words = instance.burn_in + instance.num_steps
    box_steps = min(BOX_STEPS, num_words)
    num_words += num_words % 2
    walks = instance.num_walks if interpreted() else WALKS
    one_warp, four_warps = launch_options(num_warps=1), launch_options(num_warps=4)
    word_pairs = torch.empty(count * num_words, dtype=torch.int64, device=device)
    # as an integer, less than any float
    extents = torch.full((fractals * 4,), -(2**31), dtype=torch.int32, device=device)
    zeros = torch.zeros(fractals * (plane + 1), dtype=torch.int32, device=device)
    counts, largest = zeros[: fractals * plane], zeros[fractals * plane :]
    sums = torch.empty(fractals * area, dtype=torch.int32, device=device)
    words.ifs_words_kernel[(count, _ceil(num_words // 2, walks))](
        params, word_pairs, num_words, BLOCK=walks, **one_warp
    )
    grid = (fractals, instance.num_walks // walks)
    kernels.graded_extent_kernel[grid](
        params, word_pairs, extents, count, num_words, box_steps, BLOCK=walks, **one_warp
    )
    kernels.graded_count_kernel[grid](
        params,
        word_pairs,
        extents,
        counts,
        count,
        num_words,
        instance.num_steps,
        instance.burn_in,
        plane,
        BLOCK=walks,
        **one_warp,
    )
    rounds = kernels.ROUNDS.value
    block = _power_of_two(_ceil(area, rounds)) if interpreted() else PIXELS
    kernels.graded_sum_kernel[(_ceil(area, rounds * block), fractals)](
        params, counts, sums, largest, plane, area, BLOCK=block, **four_warps
    )
    levels = instance.amplitude.shape[1]
    grid_size = 2**levels + 1
    with_noise = instance.background == "diamond_square"
    noise = torch.empty(count * grid_size**2 * with_noise, dtype=torch.int32, device=device)
    for level in range(levels if with_noise else 0):
        gap, squares = 2 ** (levels - level - 1), 4**level
        edges = 2**level * (2 ** (level + 1) + 1) + 2**level
        for kernel, points in ((kernels.diamond_kernel, squares), (kernels.square_kernel, edges)):
            block = _power_of_two(points) if interpreted() else PIXELS
            kernel[(_ceil(points, block), count)](
                looks, noise, level, gap, grid_size, BLOCK=block, **four_warps
            )
    block = _power_of_two(size**2) if interpreted() else PIXELS
    # a blur reads what other threads shaded, so that is drawn beside the images
    shaded = images
    if instance.blur.any():
        shaded = torch.empty(images.shape, dtype=torch.uint8, device=device)
    kernels.graded_shade_kernel[(_ceil(size**2, block), count)](
        params,
        sums,
        largest,
        looks,
        noise,
        _sectors(device),
        shaded,
        count,
        num_fractals,
        size,
        area,
        grid_size,
        *shaded.stride(),
        BACKGROUND=with_noise,
        BLOCK=block,
        **four_warps,
    )
    if shaded is not images:
        # nine loads a pixel: two pixels a thread stay in 64 registers
        block = block if interpreted() else PIXELS // 2
        blurs.blur_kernel[(_ceil(size**2, block), count, 3)](
            looks[kernels.BLUR.value :],
            shaded,
            images,
            kernels.LOOK.value,
            size,
            *images.stride(),
            BLOCK=block,
            **four_warps,
        )


def _ceil(number: int, block: int) -> int:
    return -(-number // block)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


@lru_cache(maxsize=8)
def _sectors(device: torch.device) -> Tensor:
    red, green, blue = sectors().astype(np.int32)
    return torch.from_numpy(red | green << 10 | blue << 20).to(device)


def _rows(instance: GradedInstance) -> NDArray[np.int32]:  # [F, N, ROW]
    """What the kernels read of each fractal, at the offsets that they name."""
    count, num_fractals = instance.size.shape
    rows = np.zeros((count, num_fractals, words.ROW.value), np.int32)

    def put(offset: Any, values: NDArray[Any]) -> None:
        bits = np.ascontiguousarray(values).view(np.int32).reshape(count, num_fractals, -1)
        rows[:, :, offset.value : offset.value + bits.shape[2]] = bits

    pairs = instance.maps.reshape(count, num_fractals, MAX_MAPS, 3, 2).swapaxes(2, 3)
    put(words.MAPS, pairs)
    put(words.THRESHOLDS, instance.thresholds)
    put(words.START, instance.start)
    each = np.broadcast_to(instance.index[:, None], instance.size.shape)
    put(words.INDEX, each.astype(np.uint64))
    put(words.SEED, np.full(instance.size.shape, instance.seed, np.uint64))
    put(kernels.WINDOW, instance.window)
    put(kernels.PATCH, instance.patch)
    put(kernels.COLOR, (instance.color << np.array([0, 8, 16], np.int32)).sum(2, dtype=np.int32))
    put(kernels.SIDE, instance.size)
    put(kernels.CORNER, instance.corner[..., 0] << 16 | instance.corner[..., 1] & 0xFFFF)
    return rows.swapaxes(0, 1)


def _looks(instance: GradedInstance) -> NDArray[np.int32]:  # [N, LOOK]
    """What the kernels read of each background."""
    looks = np.zeros((len(instance.label), kernels.LOOK.value), np.int32)
    columns = [instance.noise_key.view(np.int32), instance.noise_color, instance.amplitude]
    values = np.concatenate(columns, 1)
    looks[:, : values.shape[1]] = values
    looks[:, kernels.BLUR.value] = instance.blur
    return looks
