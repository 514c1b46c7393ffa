"""Memory for images and masks, used again once the tensor that lay in it is gone.

A batch of images is large enough that the allocator gets it from the system and gives it back each
time; the system clears it page by page, which costs up to a fifth of the time that drawing takes.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["empty_images"]

LEAST: Final = 2**20
"""Bytes from which on memory is kept: what is smaller the allocator keeps by itself."""
KEPT: Final = 9
"""Pieces a thread keeps: of images, of masks as drawn and of masks as targets, one each that is
drawn into, drawn ahead and in use."""

_local: Final = threading.local()


def empty_images(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
    """An uninitialised tensor on the host, in memory of this thread that no tensor is in.

    Args:
        shape: Its shape.
        dtype: Its type.

    Example:
        >>> empty_images((2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return torch.empty(shape, dtype=dtype)
    kept: list[NDArray[Any]] = _local.__dict__.setdefault("kept", [])
    free = [k for k in range(len(kept)) if kept[k].size == size and _is_unused(kept, k)]
    memory = kept.pop(free[0]) if free else np.empty(size, np.uint8)
    kept.append(memory)
    del kept[:-KEPT]  # what was used last stays
    return torch.from_numpy(memory).view(dtype).view(shape)


def _is_unused(kept: list[NDArray[Any]], number: int) -> bool:
    """Whether no tensor lies in it: each refers to the array that it was made from."""
    return sys.getrefcount(kept[number]) == 2  # the list, and the argument of getrefcount
