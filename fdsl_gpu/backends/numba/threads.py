"""Share the images of a batch out among threads: loops that let go of the interpreter, no OpenMP.

A forked child of a process that ran an OpenMP loop is killed when it runs one too, and DataLoader
forks its workers; a pool of Python threads that belongs to its process survives that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

__all__ = ["share_out"]

CHUNKS_PER_THREAD = 8
"""Parts of a batch a thread: images differ in cost, and who is done takes the next."""


def share_out(work: Callable[[int, int], None], count: int) -> None:
    """Call work(start, stop) on parts that cover range(count), on as many threads as torch has.

    DataLoader gives its workers one thread each, and then everything runs on the caller's.

    Args:
        work: Draws the images start .. stop - 1; touches nothing that another part touches.
        count: Images of the batch.
    """
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    size = -(-count // (threads * CHUNKS_PER_THREAD))
    pool = _pool(os.getpid(), threads - 1)
    parts = iter([(start, min(start + size, count)) for start in range(0, count, size)])
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                part = next(parts, None)
            if part is None:
                return
            work(*part)

    helpers = [pool.submit(run) for _ in range(threads - 1)]
    try:
        run()
    finally:
        for helper in helpers:
            helper.result()


@lru_cache(maxsize=1)
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    """The helpers of this process: a fork inherits the object, but not its threads."""
    return ThreadPoolExecutor(size, thread_name_prefix=f"fdsl_gpu-{process}")
