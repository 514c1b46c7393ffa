"""GPU drawings: the host packs what `fdsl_gpu.kernels` need, copies it once, launches them."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final

import numpy as np
import torch

__all__ = ["check_device", "interpreted", "launch_options", "launching", "scratch_size"]

DEFAULT_SCRATCH_SIZE: Final = 32 * 2**20
"""Bytes of scratch in flight where the size of the device's L2 cache is not known."""


def interpreted() -> bool:
    """Whether Triton runs kernels in Python, on CPU tensors; set when they are first imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def check_device(device: torch.device) -> None:
    """Say what is missing where Triton cannot draw on this device.

    Raises:
        RuntimeError: Triton is not installed, torch sees no GPU, or the device is not a GPU.
    """
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            "backend 'triton' needs the package triton, which cannot be imported here "
            f"({error}); use backend='numba', or install it (on Windows: triton-windows)"
        ) from error
    if interpreted():
        return
    if device.type != "cuda":
        raise RuntimeError(
            f"backend 'triton' draws on a GPU, got device {str(device)!r}; use device='cuda', "
            "backend='numba' for the CPU, or TRITON_INTERPRET=1 to run the kernels slowly"
        )
    if not torch.cuda.is_available():
        raise RuntimeError(
            "backend 'triton' needs a GPU and torch sees none; use backend='numba' for the CPU, "
            "or TRITON_INTERPRET=1 to run the kernels slowly"
        )


def scratch_size(device: torch.device) -> int:
    """Bytes of scratch in flight: two thirds of the L2 cache; images pass through the rest."""
    if device.type != "cuda":
        return DEFAULT_SCRATCH_SIZE
    cache: int = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
    return cache * 2 // 3 or DEFAULT_SCRATCH_SIZE


def launch_options(num_warps: int) -> dict[str, Any]:
    """Settings of every launch: fixed, never tuned.

    Multiplications and additions are rounded separately, as the definitions say. With 64 registers
    a thread, 1,024 threads share a multiprocessor on every NVIDIA GPU; AMD's compiler has no such
    option.
    """
    limit = {} if torch.version.hip else {"maxnreg": 64}
    return {"num_warps": num_warps, "enable_fp_fusion": False, **limit}


def launching(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """What launches need around them.

    Triton launches on torch's current device: make it this one. The interpreter computes with
    NumPy, which would warn of walks that overflow; a GPU does not.
    """
    return torch.cuda.device(device) if device.type == "cuda" else np.errstate(all="ignore")
