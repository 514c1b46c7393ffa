"""Draw the samples with any indices, on any device."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fdsl_gpu.backends import Backend, choose, drawing
from fdsl_gpu.datasets import DatasetSpec, get_dataset
from fdsl_gpu.formulas.base import View
from fdsl_gpu.memory import empty_images
from fdsl_gpu.rng import VALIDATION_INDEX

__all__ = ["DatasetLike", "Normalisation", "Renderer", "Split", "describe", "render"]

Split = Literal["train", "val"]
DatasetLike = str | os.PathLike[str] | DatasetSpec

MAX_INDEX: Final = 2**62


def render(
    dataset: DatasetLike,
    indices: ArrayLike | Tensor,  # [N] integers
    *,
    image_size: int | View,
    seed: int = 0,
    split: Split = "train",
    channels: int = 3,
    device: str | torch.device = "cpu",
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Draw the samples with the given global indices.

    A sample is a function of (dataset, seed, split, index) alone: the same pixels on every backend,
    rank and run.

    Args:
        dataset: A name from `list_datasets()`, a folder of category files, or a spec.
        indices: Global sample indices, each in [0, 2**62). Shape [N].
        image_size: Side of the square image in pixels, in [3, 8192]; or a `View`, which also crops,
            zooms and turns.
        seed: Seed of everything random, in [0, 2**64).
        split: "train", or "val" for samples that never occur in training.
        channels: 1 or 3; a gray drawing is repeated into 3.
        device: Where the images are wanted.
        backend: "triton", "numba", "numpy", or "auto" for the fastest that the device has.

    Returns:
        Images, uint8 in [0, 255], shape [N, C, H, W], and their targets: labels int64 [N],
        multi-hot vectors float32 [N, K], or masks int64 [N, H, W]. Both on the device.

    Raises:
        ValueError: The data set or backend is unknown, or an argument is out of range.
        RuntimeError: The backend or device is not available here.

    Source:
        Kataoka et al., Pre-training without Natural Images, IJCV 2022, section 3.

    Example:
        >>> images, labels = render("fractaldb-1k", range(4), image_size=32)
        >>> images.shape
        torch.Size([4, 3, 32, 32])
    """
    renderer = Renderer(
        get_dataset(dataset),
        View.of(image_size),
        seed=seed,
        split=split,
        channels=channels,
        device=torch.device(device),
        backend=backend,
    )
    return renderer.draw(renderer.instance(global_indices(indices)))


def describe(
    dataset: DatasetLike,
    indices: ArrayLike | Tensor,  # [N] integers
    *,
    seed: int = 0,
    split: Split = "train",
    view: View | None = None,
) -> dict[str, NDArray[Any]]:
    """What the samples with these indices show, without drawing them.

    Args:
        dataset: A name from `list_datasets()`, a folder of category files, or a spec.
        indices: Global sample indices, each in [0, 2**62). Shape [N].
        seed: Seed of everything random.
        split: "train" or "val".
        view: The view that the samples are drawn through, if any.

    Returns:
        Arrays of length N. FractalDB: label (the category), weight_row (0..24), flip (0 none, 1
        top-bottom, 2 left-right, 3 both, after the published renderer's own flip); and what the
        view drew at random, under names that start with view_.

    Example:
        >>> sorted(describe("fractaldb-1k", [0, 1]))
        ['flip', 'label', 'weight_row']
    """
    renderer = Renderer(get_dataset(dataset), view or View(32), seed=seed, split=split)
    described: dict[str, NDArray[Any]] = renderer.instance(global_indices(indices)).describe()
    return described


def check_view(dataset: DatasetSpec, view: View) -> None:
    """Refuse a view that a data set cannot be drawn through.

    Raises:
        ValueError: Its formula draws the whole canvas only, or the view asks for too much.
    """
    formula: Any = dataset.formula
    if not view.is_plain and not getattr(formula, "draws_views", False):
        plain = View(view.image_size, supersample=view.supersample)
        names = [field.name for field in fields(view)]
        changed = {n: getattr(view, n) for n in names if getattr(view, n) != getattr(plain, n)}
        raise ValueError(
            f"data set {dataset.name!r} can be drawn at any image_size, but its whole canvas only, "
            f"not through a view with {changed}: leave that out and augment the drawn images (in "
            "timm: --no-aug, or ?pipeline=host)"
        )
    if view.supersample > 1 and dataset.target == "mask":
        raise ValueError(
            f"data set {dataset.name!r} has masks, which cannot be averaged; pass "
            f"supersample=1, got {view.supersample}"
        )
    if hasattr(formula, "check_view"):
        formula.check_view(view.drawn)


def global_indices(indices: ArrayLike | Tensor) -> NDArray[np.uint64]:
    """Indices as unsigned integers, checked."""
    values = indices.cpu().numpy() if isinstance(indices, Tensor) else np.asarray(indices)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise ValueError(
            f"indices must be a list of integers, got shape {values.shape} of {values.dtype}"
        )
    for value in (values.min(), values.max()) if values.size else ():
        if not 0 <= int(value) < MAX_INDEX:
            raise ValueError(f"indices must be in [0, 2**62), got {value}")
    return values.astype(np.uint64)


@dataclass(frozen=True)
class Renderer:
    """Draws samples of one data set: `instance` on the host, `draw` on the device.

    Args:
        dataset: What is drawn.
        view: Image size and placement.
        seed: Seed of everything random, in [0, 2**64).
        split: "train" or "val".
        channels: 1 or 3.
        device: Where the images are wanted.
        backend: Who draws; "auto" is settled when the renderer is made.

    Raises:
        ValueError: An argument is unknown or out of range.
        RuntimeError: The backend or device is not available here.
    """

    dataset: DatasetSpec
    view: View
    seed: int = 0
    split: Split = "train"
    channels: int = 3
    device: torch.device = torch.device("cpu")
    backend: str = "auto"

    def __post_init__(self) -> None:
        check_view(self.dataset, self.view)
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64), got {self.seed}")
        if self.split not in get_args(Split):
            raise ValueError(f"split must be one of {get_args(Split)}, got {self.split!r}")
        if self.channels not in (1, 3) or self.channels < self.dataset.formula.channels:
            needed = "3 for a coloured drawing" if self.dataset.formula.channels == 3 else "1 or 3"
            raise ValueError(f"channels must be {needed}, got {self.channels}")
        if self.device.type not in ("cpu", "cuda"):
            raise ValueError(f"device must be 'cpu' or 'cuda', got {str(self.device)!r}")
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(
                f"device {str(self.device)!r} needs a GPU and torch sees none; use device='cpu'"
            )
        chosen = choose(self.dataset.formula, self.device, self.backend)
        object.__setattr__(self, "backend", chosen)

    def instance(self, indices: NDArray[np.uint64]) -> Any:
        """Who the samples with these indices are; NumPy on the host, some microseconds an image."""
        offset = np.uint64(VALIDATION_INDEX if self.split == "val" else 0)
        return self.dataset.formula.instance(indices + offset, self.seed, self.view.drawn)

    def draw(self, instance: Any) -> tuple[Tensor, Tensor]:
        """Images uint8 [N, C, H, W] and targets of an instance, on the device."""
        size, count = instance.image_size, len(instance.label)
        where = self.device if self.backend == "triton" else torch.device("cpu")
        averaged = self.view.supersample > 1
        channels = self.dataset.formula.channels if averaged else self.channels
        images = _empty((count, channels, size, size), where)
        drawn = [images]
        if self.dataset.target == "mask":
            drawn.append(_empty((count, size, size), where))
        draw = drawing(self.dataset.formula, self.backend)
        if count:
            arrays = drawn if self.backend == "triton" else [each.numpy() for each in drawn]
            draw(instance, *arrays)
        if self.dataset.target == "mask":
            target = _empty(drawn[1].shape, where, torch.int64).copy_(drawn[1])
        elif self.dataset.target == "multi_hot":
            target = torch.from_numpy(instance.multi_hot)
        else:
            target = torch.from_numpy(instance.label)
        if averaged:
            images = _averaged(images, self.view.supersample)
            images = images.expand(-1, self.channels, -1, -1).contiguous()
        return images.to(self.device, non_blocking=True), target.to(self.device)

    def draw_normalised(
        self, instance: Any, normalisation: Normalisation
    ) -> tuple[Tensor, Tensor]:  # [N, C, H, W]
        """Images ready for a model, and targets, on the device: `draw`, then the normalisation.

        A drawing that can write them at once does; the values are the same.
        """
        draw = drawing(self.dataset.formula, self.backend)
        if self.view.supersample > 1 or "mean" not in inspect.signature(draw).parameters:
            pixels, target = self.draw(instance)
            return normalisation(pixels), target
        size = instance.image_size
        images = torch.empty(
            (len(instance.label), self.channels, size, size),
            dtype=normalisation.dtype,
            device=self.device,
            memory_format=normalisation.memory_format,
        )
        draw(instance, images, mean=normalisation.mean, std=normalisation.std)
        return images, torch.from_numpy(instance.label).to(self.device)


@dataclass(frozen=True)
class Normalisation:
    """How uint8 pixels become a model's input: (pixel / 255 - mean) / std, in this type and format.

    Args:
        mean: Mean of each channel, in units of 1 (white).
        std: Standard deviation of each channel, in units of 1.
        dtype: Type of the images.
        memory_format: `torch.contiguous_format` or `torch.channels_last`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise pixels, uint8 or float in [0, 255]; one multiplication and one addition."""
        scale, shift = _scale_and_shift(self, pixels.device)
        return (pixels * scale).add_(shift).to(self.dtype, memory_format=self.memory_format)


def _empty(
    shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.uint8
) -> Tensor:
    if device.type == "cpu":
        return empty_images(shape, dtype)
    return torch.empty(shape, dtype=dtype, device=device)


@lru_cache(maxsize=16)
def _scale_and_shift(how: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """[C, 1, 1] each, on the device: a copy there for every batch would wait for it."""
    scale = [1 / (255 * std) for std in how.std]
    shift = [-mean / std for mean, std in zip(how.mean, how.std, strict=True)]
    on_device = [torch.tensor(values, device=device).view(-1, 1, 1) for values in (scale, shift)]
    return on_device[0], on_device[1]


def _averaged(images: Tensor, times: int) -> Tensor:
    """Means of squares of times x times pixels, halves rounded up; exact, so alike everywhere."""
    sums = torch.nn.functional.avg_pool2d(images.float(), times, divisor_override=1)
    return ((sums + times**2 // 2) / times**2).floor().to(torch.uint8)
