"""Endless streams of drawn batches, and a map-style view of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from fdsl_gpu.backends import Backend
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas.base import View
from fdsl_gpu.indices import Sharding, rank_and_world_size
from fdsl_gpu.positions import MAX_WORKERS, Positions
from fdsl_gpu.render import DatasetLike, Renderer, Split

__all__ = ["FormulaDataset", "FormulaStream"]


class FormulaStream(IterableDataset[Any]):
    """Batches of drawn samples: step s of a job covers the global indices [s * G, (s + 1) * G).

    G is batch_size times world_size, and each rank takes its contiguous part, so the global batches
    are the same for any number of ranks, workers and restarts. The whole state is one position.
    Give it to a `DataLoader(stream, batch_size=None)` or iterate over it.

    Args:
        dataset: A name from `list_datasets()`, a folder of category files, or a spec.
        batch_size: Samples a rank and step.
        image_size: Side of the square images in pixels, or a `View`: crops, zoom, turns.
        seed: Seed of everything random, in [0, 2**64).
        split: "train", or "val" for samples that never occur in training.
        num_samples: Samples of an epoch over all ranks; None for an endless stream. The next epoch
            continues the stream.
        drop_last: Leave out the samples of an epoch that fill no global batch.
        channels: 1 or 3.
        rank: This process; by default torch.distributed's, or torchrun's.
        world_size: Number of processes; by default torch.distributed's, or torchrun's.
        device: Where the images are wanted.
        backend: Who draws.
        transform: Called with (images uint8 [B, C, H, W], target); what it returns is yielded.

    Raises:
        ValueError: An argument is unknown or out of range.
        RuntimeError: The backend or device is not available here, or a CUDA stream is read in a
        DataLoader worker.

    Example:
        >>> stream = FormulaStream("fractaldb-1k", 8, image_size=32)
        >>> images, labels = next(iter(stream))
        >>> images.shape, stream.state_dict()["position"]
        (torch.Size([8, 3, 32, 32]), 8)
    """

    def __init__(
        self,
        dataset: DatasetLike,
        batch_size: int,
        *,
        image_size: int | View,
        seed: int = 0,
        split: Split = "train",
        num_samples: int | None = None,
        drop_last: bool = True,
        channels: int = 3,
        rank: int | None = None,
        world_size: int | None = None,
        device: str | torch.device = "cpu",
        backend: Backend = "auto",
        transform: Callable[[Tensor, Tensor], Any] | None = None,
    ) -> None:
        self.sharding = Sharding(
            batch_size, *rank_and_world_size(rank, world_size), num_samples, drop_last
        )
        self.renderer = Renderer(
            get_dataset(dataset),
            View.of(image_size),
            seed=seed,
            split=split,
            channels=channels,
            device=torch.device(device),
            backend=backend,
        )
        self.transform = transform
        self._positions = Positions()

    def __iter__(self) -> Iterator[Any]:
        """Draw from the present position to the end of its epoch, or for ever."""
        for indices in self.index_batches():
            images, target = self.renderer.draw(self.renderer.instance(indices))
            yield (images, target) if self.transform is None else self.transform(images, target)

    def __len__(self) -> int:
        """Steps of an epoch.

        Raises:
            TypeError: The stream is endless.
        """
        if self.sharding.num_steps is None:
            raise TypeError("an endless FormulaStream has no length; give it num_samples")
        return self.sharding.num_steps

    def index_batches(self) -> Iterator[NDArray[np.uint64]]:
        """The indices of each batch of this rank and worker; the state moves on before each."""
        worker, num_workers = self._worker()
        sharding, size = self.sharding, self.sharding.global_batch_size
        started, epoch_is_drawn = self._positions.begin()
        position, end = started, sharding.epoch_end(started)
        if epoch_is_drawn:  # restored between the last batch of an epoch and its end
            self._positions.finish(started, started)
            return
        # workers take whole batches in turn: the order is then that of a single process
        start = position + worker * size
        while (stop := sharding.stop(start, end)) is not None:
            position += num_workers * size
            if end is not None and sharding.stop(position, end) is None:
                self._positions.move(end, epoch_is_drawn=True)
            else:
                self._positions.move(position, epoch_is_drawn=False)
            yield sharding.part(start, stop)
            start += num_workers * size
        if end is not None:
            self._positions.finish(started, end)

    def _worker(self) -> tuple[int, int]:
        """The number of this process among the workers, and how many they are."""
        info = get_worker_info()
        if info is None:
            return 0, 1
        if self.renderer.device.type == "cuda":
            raise RuntimeError(
                "a FormulaStream on a GPU draws in the main process (each worker would need its "
                f"own CUDA context); pass num_workers=0, got {info.num_workers}"
            )
        if info.num_workers > MAX_WORKERS:
            raise ValueError(f"num_workers must be at most {MAX_WORKERS}, got {info.num_workers}")
        return info.id, info.num_workers

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless the stream is in it already, restored half-way.

        Raises:
            ValueError: The stream is endless, or the epoch is negative.
        """
        num_samples = self.sharding.num_samples
        if num_samples is None:
            raise ValueError("an endless FormulaStream has no epochs; give it num_samples")
        if epoch < 0:
            raise ValueError(f"epoch must not be negative, got {epoch}")
        self._positions.set_epoch(epoch, num_samples)

    def state_dict(self) -> dict[str, Any]:
        """The position of the next global batch, and what it is a position in.

        Raises:
            RuntimeError: DataLoader workers are in the middle of an epoch.
        """
        state = {**self._identity(), "position": self._positions.get()}
        return {**state, "epoch_is_drawn": True} if self._positions.epoch_is_drawn else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another stream of the same data set, version, seed and split was.

        World size, batch size, worker count, device and backend may differ: the position is global.
        So may the view, which no state holds: what follows is drawn through that of this stream.

        Raises:
            ValueError: The state is that of another stream.
        """
        for name, value in self._identity().items():
            if name not in state or state[name] != value:
                raise ValueError(
                    f"the state is that of another stream: its {name} is {state.get(name)!r}, "
                    f"this stream's is {value!r}; make the stream with the settings of the state"
                )
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise ValueError(f"the state's position must be an integer from 0, got {position!r}")
        self._positions.set(position, bool(state.get("epoch_is_drawn", False)))

    def _identity(self) -> dict[str, Any]:
        """What a position is a position in. A settings change is another data set."""
        return {
            **self.renderer.dataset.identity(),
            "seed": self.renderer.seed,
            "split": self.renderer.split,
            "num_samples": self.sharding.num_samples,
        }


class FormulaDataset(Dataset[tuple[Any, Any]]):
    """A map-style view: item i of epoch e is sample e * num_samples + i of the stream.

    Args:
        dataset: A name from `list_datasets()`, a folder of category files, or a spec.
        image_size: Side of the square images in pixels, or a `View`: crops, zoom, turns.
        num_samples: Length of the view, and of an epoch.
        seed: Seed of everything random, in [0, 2**64).
        split: "train", or "val" for samples that never occur in training.
        channels: 1 or 3.
        transform: Called with a PIL image, as torchvision's and timm's are. Without one, images are
            uint8 tensors [C, H, W].

    Raises:
        ValueError: An argument is unknown or out of range.

    Example:
        >>> view = FormulaDataset("fractaldb-1k", image_size=32, num_samples=100)
        >>> image, label = view[99]
        >>> len(view), image.shape
        (100, torch.Size([3, 32, 32]))
    """

    def __init__(
        self,
        dataset: DatasetLike,
        *,
        image_size: int | View,
        num_samples: int,
        seed: int = 0,
        split: Split = "train",
        channels: int = 3,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        self.renderer = Renderer(
            get_dataset(dataset), View.of(image_size), seed=seed, split=split, channels=channels
        )
        self.num_samples = num_samples
        self.transform = transform
        # shared, so that set_epoch reaches persistent workers
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Move on to the samples of this epoch.

        Raises:
            ValueError: The epoch is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must not be negative, got {epoch}")
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The epoch whose samples the items are."""
        return int(self._epoch)

    def __getitem__(self, item: int) -> tuple[Any, Any]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[int]) -> list[tuple[Any, Any]]:
        """Several items drawn at once: DataLoader asks so for a batch."""
        local = [item + self.num_samples if item < 0 else int(item) for item in items]
        for item in local:
            if not 0 <= item < self.num_samples:
                raise IndexError(f"item {item} is not in a view of {self.num_samples} samples")
        indices = np.array(local, np.uint64) + np.uint64(self.epoch * self.num_samples)
        images, target = self.renderer.draw(self.renderer.instance(indices))
        targets = target.tolist() if target.ndim == 1 else list(target)
        return list(zip(map(self._transformed, images), targets, strict=True))

    def _transformed(self, image: Tensor) -> Any:
        if self.transform is None:
            return image
        from torchvision.transforms.functional import to_pil_image

        return self.transform(to_pil_image(image))
