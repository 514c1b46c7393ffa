"""Stands in for Triton's launcher where there is no GPU; the host code before it runs as it is.

The kernels of a module are replaced, so what is compiled, and run on the CPU, is exactly what the
host code would have asked a GPU for.
"""

import contextlib
from dataclasses import dataclass
from functools import cache
from unittest import mock

import torch
import triton
from ptx.run import Program
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = {
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}
NVIDIA = {number: GPUTarget("cuda", number, 32) for number in (75, 80, 86, 89, 90, 100, 120)}
AMD = {
    "gfx90a": GPUTarget("hip", "gfx90a", 64),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx1100": GPUTarget("hip", "gfx1100", 32),
}


@dataclass(frozen=True)
class Build:
    """One variant of a kernel, as Triton's JIT would compile it for a launch."""

    function: triton.JITFunction
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, int], ...]
    options: tuple[tuple[str, int], ...]

    def __str__(self):
        pointers = [kind for name, kind in self.signature if name == "images_ptr"]
        constants = [f"{name}={value}" for name, value in self.constants]
        return " ".join([self.function.__name__, *pointers, *constants])

    def compile(self, target):
        """The compiled kernel; `asm` holds its texts and binary."""
        return _compiled(self, target)


@cache
def _compiled(build, target):
    source = ASTSource(build.function, dict(build.signature), constexprs=dict(build.constants))
    return triton.compile(source, target=target, options=dict(build.options))


class StandIn:
    """In place of a kernel: `kernel[grid](*arguments, **settings)` calls `launch`."""

    def __init__(self, function, launch):
        self.function, self.launch = function, launch

    def __getitem__(self, grid):
        def launch(*arguments, **settings):
            names = self.function.arg_names
            constants = {name: value for name, value in settings.items() if name in names}
            options = {name: value for name, value in settings.items() if name not in names}
            given = dict(zip(names, arguments, strict=False)) | constants
            signature = {name: _kind(name, given[name], constants) for name in names}
            parts = (tuple(part.items()) for part in (signature, constants, options))
            self.launch(Build(self.function, *parts), grid, arguments)

        return launch


def _kind(name, value, constants):
    if name in constants:
        return "constexpr"
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    return "i32" if -(2**31) <= value < 2**31 else "i64"


@contextlib.contextmanager
def replaced_kernels(backend, launch):
    """Call `launch(build, grid, arguments)` for what the host code of a backend module launches."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(backend, "check_device"))
        for module in list(vars(backend).values()):
            if getattr(module, "__name__", "").startswith("fdsl_gpu.kernels."):
                stack.enter_context(_replaced(module, launch))
        yield


def _replaced(module, launch):
    kernels = {
        name: StandIn(function, launch)
        for name, function in vars(module).items()
        if name.endswith("_kernel") and isinstance(function, triton.JITFunction)
    }
    return mock.patch.multiple(module, **kernels)


def run_on_cpu(target, backwards=False):
    """A `launch` that compiles for an NVIDIA target and runs the PTX on the CPU."""

    def launch(build, grid, arguments):
        program = _program(build.compile(target).asm["ptx"])
        values = [
            _memory(value) if isinstance(value, torch.Tensor) else value for value in arguments
        ]
        program(grid, values, backwards)

    return launch


@cache
def _program(ptx):
    return Program(ptx)


def _memory(tensor):
    """What a tensor's pointer may reach: the bytes from its first element to its storage's end."""
    start = tensor.storage_offset() * tensor.element_size()
    storage = tensor.untyped_storage()
    size = storage.nbytes() - start
    return torch.empty(0, dtype=torch.uint8).set_(storage, start, (size,)).numpy()
