"""Training batches on the device: drawn one ahead, normalised, augmented sample by sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fdsl_gpu.augment import Augmentation, Augmenter
from fdsl_gpu.render import Normalisation
from fdsl_gpu.stream import FormulaStream

__all__ = ["Augment", "FormulaLoader", "MixupFn"]

Augment = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(images [B, C, H, W] float in [0, 1], target, indices [B] int64 on the host) -> (images, target),
per sample, before normalisation."""
MixupFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(images [B, C, H, W] float, target) -> (images, target); timm's Mixup."""


@dataclass(frozen=True)
class _Drawn:
    """A batch that is drawn, or on its way on the GPU, and the stream's state after it."""

    images: Tensor
    target: Tensor
    state: dict[str, Any]
    ready: torch.cuda.Event | None


class FormulaLoader:
    """Batches of a `FormulaStream`, ready for the model; the next is drawn while one is used.

    On a CPU a thread draws ahead; on a GPU the next batch is launched on a stream of its own.

    Args:
        stream: What is drawn; its `transform` must be None.
        mean: Mean of each channel, in units of 1 (white).
        std: Standard deviation of each channel, in units of 1.
        dtype: Type of the images.
        channels_last: Memory format of the images.
        augment: Per-sample augmentation, part of the drawing and before normalisation: a recipe, as
            `deit_augment()`, or a function of your own.
        mixup_fn: Called with (images, target) when a batch is handed out, in the order of training.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> stream = FormulaStream("fractaldb-1k", 4, image_size=32, num_samples=8)
        >>> loader = FormulaLoader(stream, mean=(0.2,) * 3, std=(0.5,) * 3)
        >>> [images.shape for images, labels in loader]
        [torch.Size([4, 3, 32, 32]), torch.Size([4, 3, 32, 32])]
    """

    def __init__(
        self,
        stream: FormulaStream,
        *,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        augment: Augmentation | Augment | None = None,
        mixup_fn: MixupFn | None = None,
    ) -> None:
        channels, device = stream.renderer.channels, stream.renderer.device
        if stream.transform is not None:
            raise ValueError("FormulaLoader draws by itself; make its stream without a transform")
        if len(mean) != channels or len(std) != channels:
            raise ValueError(
                f"mean and std need one value for each of the {channels} channels, got "
                f"{tuple(mean)} and {tuple(std)}"
            )
        if min(std) <= 0:
            raise ValueError(f"std must be above 0, got {tuple(std)}")
        if not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        if isinstance(augment, Augmentation):
            augment.check_batches(stream.sharding)
            augment = Augmenter(
                augment,
                stream.renderer.dataset.num_classes,
                seed=stream.renderer.seed,
                mean=mean,
                std=std,
                device=device,
            )
        self.stream = stream
        self.augment = augment
        self.mixup_fn = mixup_fn
        self.draw_seconds = 0.0
        """Seconds that drawing has taken so far; on a GPU, the host's part of it."""
        self.wait_seconds = 0.0
        """Seconds that batches have been waited for so far."""
        self._normalisation = Normalisation(
            tuple(mean),
            tuple(std),
            dtype,
            torch.channels_last if channels_last else torch.contiguous_format,
        )
        self._state = stream.state_dict()

    def __len__(self) -> int:
        """Steps of an epoch; a TypeError for an endless stream."""
        return len(self.stream)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless the stream is in it already, restored half-way."""
        self.stream.load_state_dict(self._state)
        self.stream.set_epoch(epoch)
        self._state = self.stream.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch handed out: what is drawn ahead does not count."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batch that was the last one handed out; see `FormulaStream`."""
        self.stream.load_state_dict(state)
        self._state = self.stream.state_dict()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the present position to the end of its epoch, or for ever."""
        # a batch drawn ahead by an iteration that was left early is drawn again
        self.stream.load_state_dict(self._state)
        drawn = self._draw_ahead()
        while True:
            started = time.perf_counter()
            batch = next(drawn, None)
            self.wait_seconds += time.perf_counter() - started
            if batch is None:
                self._state = self.stream.state_dict()
                return
            images, target = batch.images, batch.target
            if batch.ready is not None:
                current = torch.cuda.current_stream(images.device)
                current.wait_event(batch.ready)
                images.record_stream(current)
                target.record_stream(current)
            self._state = batch.state
            yield (images, target) if self.mixup_fn is None else self.mixup_fn(images, target)

    def _draw_ahead(self) -> Iterator[_Drawn]:
        """Each batch of the epoch while the next one is already being drawn."""
        batches = self.stream.index_batches()
        if self.stream.renderer.device.type == "cuda":
            yield from self._ahead_on_a_side_stream(batches)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="fdsl_gpu-draw") as thread:
            upcoming: Future[_Drawn | None] = thread.submit(self._draw_next, batches)
            while (batch := upcoming.result()) is not None:
                upcoming = thread.submit(self._draw_next, batches)
                yield batch

    def _ahead_on_a_side_stream(self, batches: Iterator[Any]) -> Iterator[_Drawn]:
        device = self.stream.renderer.device
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def launch() -> _Drawn | None:
            # memory that the consumer has just freed may be handed to the side stream: wait for it
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):
                return self._draw_next(batches)

        batch = launch()
        while batch is not None:
            upcoming = launch()
            yield batch
            batch = upcoming

    def _draw_next(self, batches: Iterator[Any]) -> _Drawn | None:
        started = time.perf_counter()
        indices = next(batches, None)
        if indices is None:
            return None
        renderer = self.stream.renderer
        state = self.stream.state_dict()
        instance = renderer.instance(indices)
        if self.augment is None:
            images, target = renderer.draw_normalised(instance, self._normalisation)
        else:
            pixels, target = renderer.draw(instance)
            numbers = torch.from_numpy(indices.astype("int64"))
            images, target = self.augment(pixels / 255, target, numbers)
            images = self._normalisation(images * 255)
        ready = None
        if images.is_cuda:
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record()
        self.draw_seconds += time.perf_counter() - started
        return _Drawn(images, target, state, ready)
