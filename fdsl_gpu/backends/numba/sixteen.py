"""Lanes that look up a table of sixteen entries, or that begin or end as bytes; see `lanes`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fdsl_gpu.backends.numba.lanes import (
    FLOATS,
    LANES,
    WORDS,
    instruction,
    machine_of,
    pointer_to,
)

__all__ = [
    "any_set",
    "as_floats",
    "entries",
    "lane",
    "load_bytes",
    "store_bytes",
    "store_interleaved",
]

_WORD, _BYTES = ir.IntType(32), ir.VectorType(ir.IntType(8), LANES)
_FIRST = ir.Constant(ir.IntType(64), 0)


@intrinsic
def entries(typing_context: Any, table: Any, numbers: Any) -> Any:
    """Entries of an array of sixteen float32, by words in [0, 16)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, numbers_ = arguments
        first = pointer_to(context, builder, signature.args[0], array, _FIRST, FLOATS.vector)
        if "+avx512f" in machine_of(context):
            whole = builder.load(first, align=4)
            name = "llvm.x86.avx512.permvar.sf.512"
            return instruction(builder, name, FLOATS.vector, [whole, numbers_])
        data = builder.bitcast(first, ir.FloatType().as_pointer())
        found = ir.Constant(FLOATS.vector, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(_WORD, lane)
            place = builder.zext(builder.extract_element(numbers_, number), ir.IntType(64))
            entry = builder.load(builder.gep(data, [place]))
            found = builder.insert_element(found, entry, number)
        return found

    return FLOATS(table, WORDS), generate


@intrinsic
def store_bytes(typing_context: Any, array: Any, offset: Any, words: Any) -> Any:
    """Put the lowest byte of each word into an array of uint8 from an offset on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, offset_, words_ = arguments
        start = pointer_to(context, builder, signature.args[0], array_, offset_, _BYTES)
        builder.store(builder.trunc(words_, _BYTES), start, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, WORDS), generate


@intrinsic
def store_interleaved(typing_context: Any, array: Any, offset: Any, even: Any, odd: Any) -> Any:
    """Put words into an array from an offset on, one of each in turn."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, offset_, even_, odd_ = arguments
        order = [ir.Constant(_WORD, k // 2 + LANES * (k % 2)) for k in range(2 * LANES)]
        both = ir.VectorType(_WORD, 2 * LANES)
        words = builder.shuffle_vector(even_, odd_, ir.Constant(both, order))
        start = pointer_to(context, builder, signature.args[0], array_, offset_, both)
        builder.store(words, start, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, WORDS, WORDS), generate


@intrinsic
def load_bytes(typing_context: Any, array: Any, offset: Any) -> Any:
    """Sixteen elements of an array of uint8 from an offset on, as words."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, offset_ = arguments
        start = pointer_to(context, builder, signature.args[0], array_, offset_, _BYTES)
        return builder.zext(builder.load(start, align=1), WORDS.vector)

    return WORDS(array, types.int64), generate


@intrinsic
def as_floats(typing_context: Any, words: Any) -> Any:
    """The floats next to words below 2**31."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], FLOATS.vector)

    return FLOATS(WORDS), generate


@intrinsic
def any_set(typing_context: Any, words: Any) -> Any:
    """Whether one of the words is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = ir.Constant(WORDS.vector, [ir.Constant(_WORD, 0)] * LANES)
        bits = builder.bitcast(builder.icmp_unsigned("!=", arguments[0], zeros), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(WORDS), generate


@intrinsic
def lane(typing_context: Any, words: Any, number: Any) -> Any:
    """One of the words."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], _WORD))

    return types.uint32(WORDS, types.int64), generate
