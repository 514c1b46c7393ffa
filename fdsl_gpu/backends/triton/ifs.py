"""2D IFS on a GPU: samples are packed into one buffer, copied once, and drawn in chunks.

`IfsDrawing` separates the host's work (pack, copy, allocate) from the launches, which touch nothing
of the host: they never wait for the device and may be captured in a CUDA graph. The canvases of a
chunk fit in the L2 cache, where the walks' maxima are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
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
from fdsl_gpu.backends.triton.values import BITS, checked_normalisation, value_bits
from fdsl_gpu.formulas.ifs import NUM_HUES, IfsInstance, lit_value, palette
from fdsl_gpu.formulas.ifs_table import MAX_MAPS, pad_size
from fdsl_gpu.kernels import ifs as kernels
from fdsl_gpu.kernels import ifs_frame as frames

__all__ = ["Blocks", "IfsDrawing", "draw"]

MAX_GRID: Final = 65535
"""Largest third extent of a grid."""
_IDENTITY: Final = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Blocks:
    """How the work is cut into programs; it changes no pixel.

    Args:
        walks: Walks of a program. A thread of its warp has four in flight; small programs spread
            the walks of few images over many multiprocessors.
        columns: Columns of a tile of pixels.
        groups: Groups of 16 rows of a tile.
    """

    walks: int = 128
    columns: int = 32
    groups: int = 2

    @property
    def rows(self) -> int:
        """Rows of a tile."""
        return self.groups * kernels.GROUP_ROWS.value

    @classmethod
    def whole_images(cls, instance: IfsInstance) -> Blocks:
        """One program an image: the interpreter is as slow for one walk as for a thousand."""
        groups = _ceil(instance.image_size, kernels.GROUP_ROWS.value)
        return cls(instance.num_walks, _power_of_two(instance.image_size), _power_of_two(groups))


def draw(
    instance: IfsInstance,
    images: Tensor,  # [N, C, H, W]
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> None:
    """Draw the samples into images on their device, without waiting for it.

    Args:
        instance: The samples.
        images: Shape [N, C, H, W], C 1 or 3, any strides (channels_last included); wholly
            overwritten. uint8 images get the definition's values in [0, 255]; float32, float16 and
            bfloat16 images get them normalised: value * (1 / (255 * std)) + (-mean / std) in
            float32, rounded to the images' dtype.
        mean: Mean of each channel in units of 1 (white), for float images; 0 if not given.
        std: Standard deviation of each channel in units of 1, for float images; 1 if not given.

    Raises:
        ValueError: The images' shape or dtype, or the mean or std, does not fit.
        RuntimeError: Triton cannot draw on the images' device.
    """
    IfsDrawing(instance, images, mean=mean, std=std).launch()


class IfsDrawing:
    """N samples on their way into images: the host's part is done here, `launch` draws.

    Args:
        instance: The samples.
        images: Where they are drawn; see `draw`.
        mean: Mean of each channel, for float images.
        std: Standard deviation of each channel, for float images.
        scratch: Bytes of scratch in flight: how many images are drawn at a time. By default what
            fits the device's L2 cache. It changes no pixel.
        blocks: How the work is cut into programs.

    Raises:
        ValueError: The images' shape or dtype, or the mean or std, does not fit.
        RuntimeError: Triton cannot draw on the images' device.
    """

    def __init__(
        self,
        instance: IfsInstance,
        images: Tensor,  # [N, C, H, W]
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scratch: int | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        _check_images(instance, images)
        check_device(images.device)
        self.images = images
        self._blocks = blocks or (Blocks.whole_images(instance) if interpreted() else Blocks())
        self._settings = _settings(instance)
        normalisation = checked_normalisation(images, mean, std)
        self._table = _values(instance.drawing, images.dtype, *normalisation)
        self._num_words = instance.burn_in + instance.num_steps
        self._num_words += self._num_words % 2
        stride = instance.canvas_size + 3
        image_bytes = 4 * stride**2 + 8 * self._num_words
        budget = scratch_size(images.device) if scratch is None else scratch
        self._chunk = max(1, min(budget // image_bytes, len(images), MAX_GRID))
        device = images.device
        self._words = torch.empty(self._chunk * self._num_words, dtype=torch.int64, device=device)
        # a tile reads on beyond the last canvas: rows below, and a row's columns at the right
        spare = (self._blocks.rows + 2) * stride + self._blocks.columns
        cells = self._chunk * stride**2 + spare
        self._canvas = torch.empty(cells, dtype=torch.int32, device=device)
        # a row of int32 for each sample, the views of samples without a frame, the values
        self._rows = slice(0, len(images) * 4 * kernels.ROW.value)
        self._affines = slice(self._rows.stop, self._rows.stop)
        if instance.frame_size is not None:
            self._affines = slice(self._rows.stop, self._rows.stop + 8 * 6 * len(images))
            self._extents = torch.empty(4 * self._chunk, dtype=torch.int32, device=device)
            self._framed = torch.empty(
                self._chunk * kernels.ROW.value, dtype=torch.int32, device=device
            )
        size = self._affines.stop + self._table.nbytes
        self._values = slice(self._affines.stop, size)
        self._packed = torch.empty(size, dtype=torch.uint8, device=device)
        self.load(instance)

    def load(self, instance: IfsInstance) -> None:
        """Put other samples with the same settings in their place, by one asynchronous copy.

        Raises:
            ValueError: The settings or the number of the samples differ.
        """
        if _settings(instance) != self._settings:
            raise ValueError(
                "other samples can be loaded where number and settings are the same, got "
                f"{_settings(instance)} for {self._settings}"
            )
        pinned = self._packed.is_cuda
        host = torch.empty(self._packed.shape, dtype=torch.uint8, pin_memory=pinned)
        packed = host.numpy()
        rows = packed[self._rows].view(np.int32).reshape(-1, kernels.ROW.value)
        _pack(instance, self.images, rows)
        if instance.frame_size is not None:
            affine = _IDENTITY if instance.frame_affine is None else instance.frame_affine
            packed[self._affines].view(np.float64).reshape(-1, 6)[:] = affine
        packed[self._values] = self._table
        # freed pinned memory is given out again only after the copy: nothing needs to wait here
        self._packed.copy_(host, non_blocking=True)

    def launch(self) -> None:
        """Draw chunk after chunk. Nothing but launches, so it is safe in a CUDA graph."""
        with launching(self.images.device):
            for _, step in self.steps():
                step()

    def steps(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What is launched, in order, by name.

        "words", "clear", "walk" and "resolve" of each chunk; where frames are not known, "extent"
        and "frame" after the words.
        """
        for start in range(0, len(self.images), self._chunk):
            count = min(self._chunk, len(self.images) - start)
            rows = self._packed[self._rows].view(torch.int32)[start * kernels.ROW.value :]
            yield "words", partial(self._launch_words, rows, count)
            if self._settings["frame_size"] is not None:
                affines = self._packed[self._affines].view(torch.float64)[start * 6 :]
                yield "extent", partial(self._launch_extents, rows, count)
                yield "frame", partial(self._launch_frames, rows, affines, count)
                rows = self._framed
            yield "clear", self._canvas.zero_
            yield "walk", partial(self._launch_walks, rows, count)
            yield "resolve", partial(self._launch_pixels, rows, self.images[start:], count)

    def _launch_words(self, rows: Tensor, count: int) -> None:
        blocks = self._blocks
        kernels.ifs_words_kernel[(count, _ceil(self._num_words // 2, blocks.walks))](
            rows,
            self._words,
            self._num_words,
            BLOCK=blocks.walks,
            **launch_options(num_warps=1),
        )

    def _launch_extents(self, rows: Tensor, count: int) -> None:
        blocks, settings = self._blocks, self._settings
        self._extents.fill_(-(2**31))
        frames.ifs_extent_kernel[(count, settings["num_walks"] // blocks.walks)](
            rows,
            self._words,
            self._extents,
            self._num_words,
            settings["num_steps"],
            settings["burn_in"],
            BLOCK=blocks.walks,
            **launch_options(num_warps=1),
        )

    def _launch_frames(self, rows: Tensor, affines: Tensor, count: int) -> None:
        settings = self._settings
        frames.ifs_frame_kernel[(count,)](
            rows,
            self._extents,
            affines,
            self._framed,
            settings["frame_size"],
            pad_size(settings["frame_size"]),
            BLOCK=_power_of_two(kernels.ROW.value),
            **launch_options(num_warps=1),
        )

    def _launch_walks(self, rows: Tensor, count: int) -> None:
        blocks, settings = self._blocks, self._settings
        kernels.ifs_walk_kernel[(count, settings["num_walks"] // blocks.walks)](
            rows,
            self._words,
            self._canvas,
            self._num_words,
            settings["num_walks"],
            settings["num_steps"],
            settings["burn_in"],
            settings["canvas_size"],
            BLOCK=blocks.walks,
            **launch_options(num_warps=1),
        )

    def _launch_pixels(self, rows: Tensor, images: Tensor, count: int) -> None:
        blocks, settings = self._blocks, self._settings
        size, drawing = settings["image_size"], settings["drawing"]
        images = images.view(BITS[images.dtype])
        kernels.ifs_resolve_kernel[(_ceil(size, blocks.columns), _ceil(size, blocks.rows), count)](
            rows,
            self._canvas,
            self._packed[self._values].view(images.dtype),
            images,
            settings["canvas_size"],
            size,
            images.stride(0),
            images.stride(1),
            CHANNELS=images.shape[1],
            PATCH=drawing.startswith("patch"),
            COLOR=drawing.endswith("color"),
            COLUMNS=blocks.columns,
            GROUPS=blocks.groups,
            **launch_options(num_warps=2),
        )


def _ceil(number: int, block: int) -> int:
    return -(-number // block)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _settings(instance: IfsInstance) -> dict[str, Any]:
    """What the launches depend on beside the packed rows."""
    sizes = ("canvas_size", "image_size", "frame_size", "num_walks", "num_steps", "burn_in")
    return {
        "num_images": len(instance.label),
        **{name: getattr(instance, name) for name in (*sizes, "drawing")},
    }


def _check_images(instance: IfsInstance, images: Tensor) -> None:
    size, count = instance.image_size, len(instance.label)
    channels = (3,) if instance.drawing.endswith("color") else (1, 3)
    shapes = [(count, number, size, size) for number in channels]
    if tuple(images.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"images must have the shape {expected}, got {tuple(images.shape)}")


@lru_cache(maxsize=16)
def _values(
    drawing: str, dtype: torch.dtype, mean: tuple[float, ...], std: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Bits of what the images can hold: [C, 129], a dark pixel and 128 lit ones."""
    gray = np.full((NUM_HUES, len(mean)), lit_value(drawing), np.uint8)
    lit = palette() if drawing.endswith("color") else gray
    levels = np.concatenate([np.zeros_like(lit[:1]), lit]).T.copy()
    return value_bits(levels, dtype, mean, std)


def _pack(instance: IfsInstance, images: Tensor, rows: NDArray[np.int32]) -> None:
    """Write what the kernels read of each sample into its row, at the offsets that they name."""

    def put(offset: Any, values: NDArray[Any]) -> None:
        bits = np.ascontiguousarray(values).view(np.int32)
        width = math.prod(bits.shape[1:])
        rows[:, offset.value : offset.value + width] = bits.reshape(-1, width)

    # eight maps of three pairs -> three tables of eight pairs: the maps of a warp lie side by side
    put(kernels.MAPS, instance.maps.reshape(-1, MAX_MAPS, 3, 2).swapaxes(1, 2))
    put(kernels.THRESHOLDS, instance.thresholds)
    put(kernels.START, instance.start)
    put(kernels.INDEX, instance.walk_index[:, None])
    put(kernels.SEED, np.full((len(rows), 1), instance.seed, np.uint64))
    put(kernels.PATCH_KEY, instance.patch_key)
    rows[:, kernels.HASHED_BITS.value] = -1 if instance.mask == "per_point" else 0
    rows[:, kernels.FORCED_BITS.value] = 511 if instance.mask == "full" else 0

    # where the crop lies in the canvas, and where its canvas rows and columns go in the image
    size, stride = instance.image_size, instance.canvas_size + 3
    flips = (instance.orientation[:, None] & [1, 2]) > 0  # [N, 2] rows, columns
    transposed = (instance.orientation & 4) > 0
    corner = np.where(flips, instance.canvas_size - size - instance.corner, instance.corner)
    steps = np.array([images.stride(2), images.stride(3)])
    rows[:, kernels.IMAGE_ORIGIN.value] = (flips * (size - 1) * steps).sum(1)
    steps = np.where(flips, -steps, steps)
    corner = np.where(transposed[:, None], corner[:, ::-1], corner)
    steps = np.where(transposed[:, None], steps[:, ::-1], steps)
    rows[:, kernels.CANVAS_ORIGIN.value] = corner @ [stride, 1]
    rows[:, kernels.LINE_STEP.value] = steps[:, 0]
    rows[:, kernels.COLUMN_STEP.value] = steps[:, 1]
