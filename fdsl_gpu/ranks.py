"""The processes of a run: one alone, or those that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

__all__ = ["Ranks", "joined_ranks"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run.

    Args:
        rank: Its number, in [0, world_size).
        world_size: How many there are.
        device: Where it trains.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the ranks."""
        if self.world_size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def total(self, values: Tensor) -> Tensor:
        """The values summed over the ranks."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def first_before_others(self, act: Callable[[], T]) -> T:
        """What `act` gives on each rank, where the first may have to tidy up for the others."""
        if not self.is_first:
            self.wait()
        result = act()
        if self.is_first:
            self.wait()
        return result

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world_size > 1:
            distributed.barrier()


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: "cpu", "cuda", or "auto" for the GPU if there is one. Each rank takes its own GPU.

    Raises:
        RuntimeError: torchrun started more processes here than there are GPUs.
    """
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if on_gpu and local_rank >= torch.cuda.device_count():
        raise RuntimeError(
            f"each rank needs its own GPU: this is local rank {local_rank}, and torch sees "
            f"{torch.cuda.device_count()}; lower --nproc-per-node or use --device cpu"
        )
    place = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(place)
    if "RANK" not in os.environ:
        yield Ranks(0, 1, place)
        return
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()
