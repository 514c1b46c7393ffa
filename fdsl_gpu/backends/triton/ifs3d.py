"""3D IFS on a GPU: the launches of `backends.triton.ifs` with walks through space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fdsl_gpu.backends.triton import launch_options
from fdsl_gpu.backends.triton.ifs import Blocks, IfsDrawing
from fdsl_gpu.formulas.ifs3d import Ifs3dInstance
from fdsl_gpu.formulas.ifs_table import MAX_MAPS
from fdsl_gpu.kernels import ifs as words
from fdsl_gpu.kernels import ifs3d as kernels

__all__ = ["Ifs3dDrawing", "draw"]

_PAIRS = [0, 1, 2, 9, 3, 4, 5, 10, 6, 7, 8, 11]
"""Coefficients in the order in which a kernel loads them, two at a time."""


def draw(
    instance: Ifs3dInstance,
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
    Ifs3dDrawing(instance, images, mean=mean, std=std).launch()


class Ifs3dDrawing(IfsDrawing):
    """N samples on their way into images; see `IfsDrawing`."""

    def __init__(
        self,
        instance: Ifs3dInstance,
        images: Tensor,  # [N, C, H, W]
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scratch: int | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        shape = (len(images), kernels.SYSTEM.value)
        self._systems = torch.empty(shape, dtype=torch.float32, device=images.device)
        super().__init__(instance, images, mean=mean, std=std, scratch=scratch, blocks=blocks)

    def load(self, instance: Ifs3dInstance) -> None:  # type: ignore[override]
        """Put other samples with the same settings in their place, by asynchronous copies.

        Raises:
            ValueError: The settings or the number of the samples differ.
        """
        # what the other kernels read of a system are its thresholds
        super().load(dataclasses.replace(instance, maps=instance.maps[:, :, :6]))
        host = torch.zeros(self._systems.shape, pin_memory=self._systems.is_cuda)
        systems = host.numpy()
        pairs = instance.maps[:, :, _PAIRS].reshape(-1, MAX_MAPS, 6, 2).swapaxes(1, 2)
        rest = [instance.start, instance.offset]
        values = np.concatenate([pairs.reshape(len(systems), -1), *rest], 1)
        systems[:, : values.shape[1]] = values
        self._systems.copy_(host, non_blocking=True)

    def steps(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What is launched, in order, by name: "words", "clear", "walk", "resolve" of a chunk."""
        for start in range(0, len(self.images), self._chunk):
            count = min(self._chunk, len(self.images) - start)
            rows = self._packed[self._rows].view(torch.int32)[start * words.ROW.value :]
            yield "words", partial(self._launch_words, rows, count)
            yield "clear", self._canvas.zero_
            yield "walk", partial(self._launch_walks_3d, rows, self._systems[start:], count)
            yield "resolve", partial(self._launch_pixels, rows, self.images[start:], count)

    def _launch_walks_3d(self, rows: Tensor, systems: Tensor, count: int) -> None:
        settings, block = self._settings, self._blocks.walks
        kernels.ifs3d_walk_kernel[(count, settings["num_walks"] // block)](
            rows,
            systems,
            self._words,
            self._canvas,
            self._num_words,
            settings["num_walks"],
            settings["num_steps"],
            settings["burn_in"],
            settings["canvas_size"],
            BLOCK=block,
            **launch_options(num_warps=1),
        )
