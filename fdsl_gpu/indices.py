"""Which sample indices a rank draws at each step: arithmetic alone, no state and no drawing.

A stream is a line of global positions 0, 1, 2, ... Step by step a global batch moves along it, and
each rank takes its contiguous part. With `num_samples` the line is cut into epochs of that length;
the next epoch goes on where the last one ended. A position says where a run is for any world size,
worker count and batch size.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch.distributed
from numpy.typing import NDArray

__all__ = ["Sharding", "rank_and_world_size"]


@dataclass(frozen=True)
class Sharding:
    """How the line of positions is shared out.

    Args:
        batch_size: Samples a rank and step, at least 1.
        rank: This process, in [0, world_size).
        world_size: Number of processes, at least 1.
        num_samples: Samples of an epoch over all ranks; None for one endless epoch.
        drop_last: Leave out the samples of an epoch that fill no global batch. Otherwise the last
            step shares them out as evenly as can be.

    Raises:
        ValueError: A number is out of range, or some rank would have nothing to do in a step.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    num_samples: int | None = None
    drop_last: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank must be in [0, world_size), got rank {self.rank} of {self.world_size}"
            )
        if self.num_samples is None:
            return
        if self.num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {self.num_samples}")
        rest = self.num_samples % self.global_batch_size
        if self.drop_last and self.num_samples < self.global_batch_size:
            raise ValueError(
                f"num_samples {self.num_samples} is less than the global batch of "
                f"{self.global_batch_size} (batch_size {self.batch_size} x world_size "
                f"{self.world_size}): with drop_last=True an epoch would have no step"
            )
        if not self.drop_last and 0 < rest < self.world_size:
            raise ValueError(
                f"the last step of an epoch has {rest} samples for {self.world_size} ranks; choose "
                f"num_samples so that each rank gets one, or drop_last=True"
            )

    @property
    def global_batch_size(self) -> int:
        """Samples of a step over all ranks."""
        return self.batch_size * self.world_size

    @property
    def num_steps(self) -> int | None:
        """Steps of an epoch, the same on every rank; None for an endless epoch."""
        if self.num_samples is None:
            return None
        whole, rest = divmod(self.num_samples, self.global_batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def epoch_end(self, position: int) -> int | None:
        """Where the epoch of this position ends."""
        if self.num_samples is None:
            return None
        return (position // self.num_samples + 1) * self.num_samples

    def stop(self, position: int, end: int | None) -> int | None:
        """Where the global batch that starts here stops; None if the epoch has no such batch."""
        stop = position + self.global_batch_size
        if end is None or stop <= end:
            return stop
        return None if self.drop_last or position >= end else end

    def part(self, start: int, stop: int) -> NDArray[np.uint64]:
        """This rank's contiguous part of a global batch."""
        size = stop - start
        first, last = size * self.rank // self.world_size, size * (self.rank + 1) // self.world_size
        return np.arange(start + first, start + last, dtype=np.uint64)


def rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The rank and world size given, or those of torch.distributed, or torchrun's, or 0 of 1.

    Raises:
        ValueError: Only one of the two is given.
    """
    if (rank is None) != (world_size is None):
        raise ValueError(f"give both rank and world_size or neither, got {rank} and {world_size}")
    if rank is not None and world_size is not None:
        return rank, world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
