"""Where a stream's next iteration starts: in this process, and in each DataLoader worker.

A position lies in shared memory, so that what this process sets reaches workers that persist.
"""

from __future__ import annotations

import logging
from typing import Final

import torch
from torch.utils.data import get_worker_info

__all__ = ["MAX_WORKERS", "Positions"]

MAX_WORKERS: Final = 1023
IDLE: Final = 0
DRAWING: Final = 1
DRAWN: Final = 2

_log: Final = logging.getLogger("fdsl_gpu")


class Positions:
    """A slot for this process and one for each worker, which so may finish an epoch on its own.

    In this process the position moves on with each batch. A worker draws ahead of what the training
    loop gets, so its slot moves on when its whole epoch is drawn: an iteration that is left early
    starts again where it started.
    """

    def __init__(self) -> None:
        self._slots = torch.zeros(MAX_WORKERS + 1, dtype=torch.int64)
        self._phases = torch.zeros(MAX_WORKERS + 1, dtype=torch.int8)
        for shared in (self._slots, self._phases):
            shared.share_memory_()  # type: ignore[no-untyped-call]
        # of a worker, while it draws: its position, and whether it has drawn its whole epoch
        self._running: tuple[int, bool] | None = None

    def get(self) -> int:
        """The position of the next batch; in a worker, of the next that it will draw.

        Raises:
            RuntimeError: This is not a worker, and workers are in the middle of an epoch.
        """
        if get_worker_info() is not None:
            return self._running[0] if self._running else int(self._slots[_slot()])
        if (self._phases == DRAWING).any():
            raise RuntimeError(
                "DataLoader workers are in the middle of this stream's epoch, and only they know "
                "where; save torchdata's StatefulDataLoader instead, save between epochs, or draw "
                "with num_workers=0 or a FormulaLoader"
            )
        drawn = self._slots[self._phases == DRAWN]
        return int(drawn[0] if len(drawn) else self._slots[0])

    @property
    def epoch_is_drawn(self) -> bool:
        """Whether this is a worker that has drawn its whole epoch, but was not asked for more."""
        return self._running is not None and self._running[1]

    def set(self, position: int, epoch_is_drawn: bool = False) -> None:
        """Start there next: this worker, or everybody."""
        if get_worker_info() is not None:
            self._slots[_slot()] = position
            self._running = (position, epoch_is_drawn)
            return
        self._slots.fill_(position)
        self._phases.fill_(IDLE)

    def set_epoch(self, epoch: int, num_samples: int) -> None:
        """Start there next, everybody who is not in this epoch already."""
        outside = self._slots // num_samples != epoch
        self._slots[outside] = epoch * num_samples
        self._phases.fill_(IDLE)

    def begin(self) -> tuple[int, bool]:
        """Where this iteration starts, and whether its epoch was drawn before, by this worker."""
        if get_worker_info() is None:
            return self.get(), False
        slot, epoch_is_drawn = _slot(), self.epoch_is_drawn
        if self._phases[slot] == DRAWING and slot == 1:
            _log.warning(
                "the last iteration over this DataLoader was left early: this one starts again "
                "where that one started"
            )
        self._phases[slot] = DRAWING
        return int(self._slots[slot]), epoch_is_drawn

    def move(self, position: int, epoch_is_drawn: bool) -> None:
        """The batch that is drawn now is the last before this position."""
        if get_worker_info() is None:
            self.set(position)
        else:
            self._running = (position, epoch_is_drawn)

    def finish(self, start: int, end: int) -> None:
        """The iteration from `start` is at the end of its epoch."""
        if get_worker_info() is None:
            self.set(end)
            return
        self._running = None
        slot = _slot()
        # unless this worker was sent elsewhere meanwhile
        if self._slots[slot] == start and self._phases[slot] == DRAWING:
            self._slots[slot] = end
            self._phases[slot] = DRAWN


def _slot() -> int:
    info = get_worker_info()
    return 0 if info is None else info.id + 1
