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
KEPT: Final = 3
"""Pieces of a size: one that is drawn into, one drawn ahead, one in use."""
SIZES: Final = 3
"""Sizes, to the power of two: of images, of masks as they are drawn, of masks as targets."""

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
    kept: dict[int, list[NDArray[Any]]] = _local.__dict__.setdefault("kept", {})
    pieces = kept.pop(size.bit_length(), [])
    free = [k for k in range(len(pieces)) if pieces[k].size >= size and _is_unused(pieces, k)]
    memory = pieces.pop(free[0]) if free else np.empty(size, np.uint8)
    # what was used last stays, and comes last
    kept[size.bit_length()] = [*pieces, memory][-KEPT:]
    for old in list(kept)[:-SIZES]:
        del kept[old]
    return torch.from_numpy(memory[:size]).view(dtype).view(shape)


def _is_unused(pieces: list[NDArray[Any]], number: int) -> bool:
    """Whether no tensor lies in it: each refers to the array that it was made from."""
    return sys.getrefcount(pieces[number]) == 2  # the list, and the argument of getrefcount
