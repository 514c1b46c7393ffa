"""Bits and bytes that compiled loops move in one piece, where Numba alone goes one by one."""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fdsl_gpu.backends.numba.lanes import pointer_to

__all__ = ["BYTES", "bits_to_bytes", "copy_bytes", "load_64", "lowest_bit", "store_64"]

BYTES: Final = 32
"""Bytes that `bits_to_bytes` makes at once."""

_BYTE, _SHORT, _WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32)


@intrinsic
def load_64(typing_context: Any, array: Any, at: Any) -> Any:
    """64 bits of an array of uint16 from any element on, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, at_ = arguments
        pointer = pointer_to(context, builder, signature.args[0], array_, at_, ir.IntType(64))
        return builder.load(pointer, align=2)

    return types.uint64(array, types.uint64), generate


@intrinsic
def store_64(typing_context: Any, array: Any, at: Any, bits: Any) -> Any:
    """Put 64 bits into an array of uint16 from any element on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, at_, bits_ = arguments
        pointer = pointer_to(context, builder, signature.args[0], array_, at_, bits_.type)
        builder.store(bits_, pointer, align=2)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64), generate


@intrinsic
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def copy_bytes(
    typing_context: Any, target: Any, to: Any, source: Any, start: Any, count: Any
) -> Any:
    """Copy bytes between arrays of uint8, or within one where they do not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_, to_, source_, start_, count_ = arguments
        target_ = pointer_to(context, builder, signature.args[0], target_, to_, _BYTE)
        source_ = pointer_to(context, builder, signature.args[2], source_, start_, _BYTE)
        cgutils.raw_memcpy(builder, target_, source_, count_, 1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


@intrinsic
def bits_to_bytes(
    typing_context: Any, bits: Any, start: Any, number: Any, value: Any, target: Any, to: Any
) -> Any:
    """A byte for each of 32 elements of an array of uint16: the value where bit `number` is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits_, start_, number_, value_, target_, to_ = arguments
        shorts, bytes_ = ir.VectorType(_SHORT, BYTES), ir.VectorType(_BYTE, BYTES)
        bits_ = pointer_to(context, builder, signature.args[0], bits_, start_, shorts)
        bit = builder.shl(ir.Constant(_SHORT, 1), builder.trunc(number_, _SHORT))
        kept = builder.and_(builder.load(bits_, align=2), _spread(builder, bit))
        is_set = builder.icmp_unsigned("!=", kept, ir.Constant(shorts, [0] * BYTES))
        values = builder.select(is_set, _spread(builder, value_), ir.Constant(bytes_, [0] * BYTES))
        target_ = pointer_to(context, builder, signature.args[4], target_, to_, bytes_)
        builder.store(values, target_, align=1)
        return context.get_dummy_value()

    return types.void(bits, types.int64, types.int64, types.uint8, target, types.int64), generate


def _spread(builder: Any, scalar: Any) -> Any:
    nothing = ir.Constant(ir.VectorType(scalar.type, BYTES), ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(_WORD, 0))
    zeros = ir.Constant(ir.VectorType(_WORD, BYTES), [0] * BYTES)
    return builder.shuffle_vector(first, first, zeros)
