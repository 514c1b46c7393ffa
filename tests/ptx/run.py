"""A translated kernel as a Python function over NumPy buffers, with gaps between them."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from ptx.parse import parse
from ptx.translate import to_c

GUARD_BYTES = 1 << 16
"""Bytes around every buffer that belong to none."""


class OutOfBounds(Exception):
    """An instruction would have read or written outside of every buffer."""


class Program:
    """One PTX kernel, compiled by the machine's C compiler.

    Args:
        ptx: The text of a module with one entry.
    """

    def __init__(self, ptx):
        self.kernel = parse(ptx)
        self._run = _library(to_c(self.kernel)).run

    def __call__(self, grid, arguments, backwards=False):
        """Run all programs of a grid.

        Args:
            grid: One to three extents.
            arguments: A buffer (one-dimensional uint8 array, changed in place) or an integer for
                each parameter; parameters beyond are null.
            backwards: Run the threads in the opposite order.

        Raises:
            OutOfBounds: An access fell outside of every buffer.
        """
        buffers = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        arena, offsets = _arena(buffers)
        base = arena.ctypes.data
        starts = {
            id(buffer): base + offset for buffer, offset in zip(buffers, offsets, strict=True)
        }
        values = [
            starts[id(argument)]
            if isinstance(argument, np.ndarray)
            else int(argument) & (2**64 - 1)
            for argument in arguments
        ]
        values += [0] * (len(self.kernel.parameters) - len(values))
        ranges = np.array(
            [(starts[id(buffer)], starts[id(buffer)] + buffer.nbytes) for buffer in buffers],
            np.uint64,
        )
        parameters = np.array(values, np.uint64)
        extents = np.array([*grid, 1, 1][:3], np.uint32)
        address = np.zeros(1, np.uint64)
        pointers = [
            array.ctypes.data_as(ctypes.c_void_p) for array in (parameters, extents, ranges)
        ]
        number = self._run(
            *pointers, len(buffers), int(backwards), address.ctypes.data_as(ctypes.c_void_p)
        )
        if number:
            near = [f"{int(address[0]) - start:+d}" for start in starts.values()]
            raise OutOfBounds(
                f"{self.kernel.name}: {self.kernel.body[number - 1].text!r} at bytes "
                f"{', '.join(near)} of buffers of {[buffer.nbytes for buffer in buffers]} bytes"
            )
        for buffer, offset in zip(buffers, offsets, strict=True):
            buffer[:] = arena[offset : offset + buffer.nbytes]


def _arena(buffers):
    """One allocation that holds the buffers, each at a multiple of 256 bytes, with gaps around."""
    offsets, end = [], GUARD_BYTES
    for buffer in buffers:
        offsets.append(end)
        end += -(-buffer.nbytes // 256) * 256 + GUARD_BYTES
    memory = np.full(end + 256, 0xCD, np.uint8)
    arena = memory[-memory.ctypes.data % 256 :]
    for buffer, offset in zip(buffers, offsets, strict=True):
        arena[offset : offset + buffer.nbytes] = buffer
    return arena, offsets


@cache
def _library(source):
    """The shared library of a C source, kept in the temporary directory under its hash."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("running PTX on the CPU needs a C compiler: install gcc or cc")
    folder = Path(tempfile.gettempdir()) / f"fdsl_gpu-ptx-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            code, built = Path(work) / "kernel.c", Path(work) / "kernel.so"
            code.write_text(source)
            # no contraction of a multiplication and an addition, nothing that changes a float bit
            options = ["-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-shared", "-fPIC"]
            subprocess.run([compiler, *options, "-o", built, code, "-lm"], check=True)
            os.replace(built, library)
    return ctypes.CDLL(str(library))
