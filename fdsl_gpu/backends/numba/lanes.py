"""Explicit vectors for Numba: sixteen lanes of float32 or of uint32, thirty-two of uint16.

LLVM makes vectors of plain loops, but not the two instructions that a walk lives on: a table of
eight coefficients looked up in a register (a gather from memory is three times slower), and values
packed to the front of a register. So a kernel says what its vectors do, and LLVM fits 512 bits to
the machine: one AVX-512 register, two of AVX2, four of anything else. The results are the same.

Inside compiled code: `a + b`, `a * b`, `words & 15`, `words >> 4` and the functions below.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

__all__ = [
    "LANES",
    "append_zero",
    "as_words",
    "chosen",
    "gather",
    "instruction",
    "lane_numbers",
    "larger",
    "load",
    "machine_of",
    "pointer_to",
    "smaller",
    "splat",
    "spread",
    "store",
    "tables",
    "truncated",
    "where_at_most",
]

LANES: Final = 16
Builder = Any
Value = Any

_FLOAT, _WORD, _BYTE, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(8), ir.IntType(64)
_FLOATS, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_WORD, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


class Lanes(types.Type):  # type: ignore[misc]
    """A vector of 512 bits."""

    def __init__(self, scalar: types.Type, vector: ir.Type) -> None:
        super().__init__(f"Lanes({scalar})")
        self.scalar, self.vector = scalar, vector


FLOATS: Final = Lanes(types.float32, _FLOATS)
WORDS: Final = Lanes(types.uint32, _WORDS)
SHORTS: Final = Lanes(types.uint16, ir.VectorType(ir.IntType(16), 2 * LANES))
_OF: Final = {lanes.scalar: lanes for lanes in (FLOATS, WORDS, SHORTS)}


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)


def _constant(number: int) -> Value:
    return ir.Constant(_WORDS, [ir.Constant(_WORD, number)] * LANES)


def _numbers(numbers: Any) -> Value:
    numbers = [ir.Constant(_WORD, number) for number in numbers]
    return ir.Constant(ir.VectorType(_WORD, len(numbers)), numbers)


def _spread(builder: Builder, scalar: Value, vector: Any) -> Value:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_WORD, 0))
    return builder.shuffle_vector(first, first, _numbers([0] * vector.count))


def instruction(builder: Builder, name: str, result: Any, arguments: list[Value]) -> Value:
    """Call an instruction of the machine by LLVM's name for it."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, arguments)


def machine_of(context: Any) -> set[str]:
    """Features of the CPU that Numba compiles for; they are part of the key of its cache."""
    return set(context.codegen().magic_tuple()[2].split(","))


def _data(context: Any, builder: Builder, array_type: Any, array: Value) -> Value:
    return context.make_array(array_type)(context, builder, array).data


def pointer_to(context: Any, builder: Builder, kind: Any, array: Value, at: Any, to: Any) -> Value:
    """Where an element of an array of this kind lies, as a pointer to something else."""
    start = builder.gep(_data(context, builder, kind, array), [at])
    return builder.bitcast(start, to.as_pointer())


def _operator(function: Callable[..., Any], floats: str | None, words: str) -> None:
    """Teach Numba a binary operator on lanes; an integer on the right is spread to all of them."""

    @type_callable(function)
    def type_operator(context: Any) -> Any:
        def signature(left: Any, right: Any) -> Any:
            if not isinstance(left, Lanes) or (left == FLOATS and not floats):
                return None
            same = left == right or (left != FLOATS and isinstance(right, types.Integer))
            return left if same else None

        return signature

    def lower_same(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        name = floats if signature.return_type == FLOATS else words
        return getattr(builder, str(name))(*arguments)

    def lower_scalar(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        left, right = arguments
        lanes = signature.return_type
        right = context.cast(builder, right, signature.args[1], lanes.scalar)
        return getattr(builder, words)(left, _spread(builder, right, lanes.vector))

    lower_builtin(function, Lanes, Lanes)(lower_same)
    lower_builtin(function, Lanes, types.Integer)(lower_scalar)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", "udiv")
_operator(operator.and_, None, "and_")
_operator(operator.or_, None, "or_")
_operator(operator.xor, None, "xor")
_operator(operator.lshift, None, "shl")
_operator(operator.rshift, None, "lshr")


@intrinsic
def splat(typing_context: Any, scalar: Any) -> Any:
    """The same float32 or uint32 in all lanes."""
    lanes = _OF[scalar]

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        return _spread(builder, arguments[0], lanes.vector)

    return lanes(scalar), generate


@intrinsic
def lane_numbers(typing_context: Any) -> Any:
    """0, 1, ..., 15."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        return _numbers(range(LANES))

    return WORDS(), generate


@intrinsic
def load(typing_context: Any, array: Any, offset: Any) -> Any:
    """As many elements as there are lanes, of an array from an offset on."""
    lanes = _OF[array.dtype]

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        array_, offset_ = arguments
        pointer = pointer_to(context, builder, signature.args[0], array_, offset_, lanes.vector)
        return builder.load(pointer, align=lanes.scalar.bitwidth // 8)

    return lanes(array, types.int64), generate


@intrinsic
def store(typing_context: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """Put as many elements as there are lanes into an array from an offset on."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        array_, offset_, lanes_ = arguments
        pointer = pointer_to(context, builder, signature.args[0], array_, offset_, lanes_.type)
        builder.store(lanes_, pointer, align=lanes.scalar.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), generate


@intrinsic
def tables(typing_context: Any, array: Any, places: Any) -> Any:
    """Rows of eight float32 of an array as tables for `chosen`, as many as `places` is long."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        eight, found = ir.VectorType(_FLOAT, 8), []
        for place in range(len(places)):
            at = ir.Constant(_INT64, 8 * place)
            pointer = pointer_to(context, builder, signature.args[0], arguments[0], at, eight)
            row = builder.load(pointer, align=4)
            found.append(builder.shuffle_vector(row, row, _numbers(k % 8 for k in range(LANES))))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(FLOATS, len(places))(array, places), generate


@intrinsic
def spread(typing_context: Any, array: Any, places: Any) -> Any:
    """The first uint32 of an array, each in all lanes, as many as `places` is long."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        data, found = _data(context, builder, signature.args[0], arguments[0]), []
        for place in range(len(places)):
            word = builder.load(builder.gep(data, [ir.Constant(_INT64, place)]))
            found.append(_spread(builder, word, _WORDS))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(WORDS, len(places))(array, places), generate


@intrinsic
def chosen(typing_context: Any, tables: Any, thresholds: Any, words: Any) -> Any:
    """What the words choose from each of some tables: entry k where k thresholds are <= the word.

    `tables` is a tuple of tables, `thresholds` one of at most seven words, each in all lanes and
    ascending; the result is a tuple of float32 lanes, one for each table.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        tables_ = cgutils.unpack_tuple(builder, arguments[0])
        passed = [
            builder.icmp_unsigned("<=", threshold, arguments[2])
            for threshold in cgutils.unpack_tuple(builder, arguments[1])
        ]
        look_up = _look_up(builder, machine_of(context), passed)
        return context.make_tuple(builder, signature.return_type, [look_up(t) for t in tables_])

    return types.UniTuple(FLOATS, len(tables))(tables, thresholds, words), generate


def _look_up(builder: Builder, machine: set[str], passed: list[Value]) -> Callable[[Value], Value]:
    if "+avx2" not in machine:  # a blend a threshold and table
        return lambda table: _blended(
            builder,
            passed,
            [
                builder.shuffle_vector(table, table, _numbers([entry] * LANES))
                for entry in range(len(passed) + 1)
            ],
        )
    # The instructions read the low bits of an index. 49 * k has k there, and its high bits keep
    # LLVM from making arithmetic of the blends: moving masks into registers costs twice the time.
    entries = [_constant(256 + 49 * entry) for entry in range(len(passed) + 1)]
    index = _blended(builder, passed, entries)
    if "+avx512f" in machine:
        name = "llvm.x86.avx512.permvar.sf.512"
        return lambda table: instruction(builder, name, _FLOATS, [table, index])
    halves = [builder.shuffle_vector(index, index, half) for half in _HALVES]

    def look_up(table: Value) -> Value:
        eight = builder.shuffle_vector(table, table, _HALVES[0])
        name, result = "llvm.x86.avx2.permps", ir.VectorType(_FLOAT, 8)
        looked = [instruction(builder, name, result, [eight, half]) for half in halves]
        return builder.shuffle_vector(*looked, _numbers(range(LANES)))

    return look_up


_HALVES: Final = _numbers(range(8)), _numbers(range(8, 16))


def _blended(builder: Builder, passed: list[Value], entries: list[Value]) -> Value:
    value = entries[0]
    for condition, entry in zip(passed, entries[1:], strict=True):
        value = builder.select(condition, entry, value)
    return value


@intrinsic
def as_words(typing_context: Any, value: Any) -> Any:
    """The bits of float32, in lanes or a scalar, as uint32."""
    result = WORDS if value == FLOATS else types.uint32

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(FLOATS if value == FLOATS else types.float32), generate


@intrinsic
def smaller(typing_context: Any, left: Any, right: Any) -> Any:
    """The smaller of two floats; the right one where either is NaN."""
    return _compared("<")


@intrinsic
def larger(typing_context: Any, left: Any, right: Any) -> Any:
    """The larger of two floats; the right one where either is NaN."""
    return _compared(">")


def _compared(relation: str) -> Any:
    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        left, right = arguments
        return builder.select(builder.fcmp_ordered(relation, left, right), left, right)

    return FLOATS(FLOATS, FLOATS), generate


@intrinsic
def where_at_most(typing_context: Any, words: Any, bound: Any, value: Any, other: Any) -> Any:
    """Lanes of value where the words are at most the bound, of other elsewhere."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        words_, bound_, value_, other_ = arguments
        return builder.select(builder.icmp_unsigned("<=", words_, bound_), value_, other_)

    return value(WORDS, WORDS, value, value), generate


@intrinsic
def truncated(typing_context: Any, floats: Any, limit: Any) -> Any:
    """Floats as whole numbers; `limit` where they are not in [0, limit), NaN included.

    There must be no negative zero, and `limit` is a whole number in all lanes.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        # floats from 0.0 on are ordered as their bits are, and all others have larger ones
        bits, limit_ = (builder.bitcast(argument, _WORDS) for argument in arguments)
        inside = builder.select(builder.icmp_unsigned("<", bits, limit_), bits, limit_)
        return builder.fptosi(builder.bitcast(inside, _FLOATS), _WORDS)

    return WORDS(FLOATS, FLOATS), generate


@intrinsic
def gather(typing_context: Any, array: Any, at: Any) -> Any:
    """32 bits from each of sixteen elements of an array on, which is of uint32 or of uint16."""
    scale = array.dtype.bitwidth // 8

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        data, at_ = _data(context, builder, signature.args[0], arguments[0]), arguments[1]
        byte, machine = builder.bitcast(data, _BYTE.as_pointer()), machine_of(context)
        if "+avx512f" in machine:
            everywhere = ir.Constant(_MASK, [ir.Constant(ir.IntType(1), 1)] * LANES)
            name, factor = "llvm.x86.avx512.mask.gather.dpi.512", ir.Constant(_WORD, scale)
            nothing = ir.Constant(_WORDS, ir.Undefined)
            return instruction(builder, name, _WORDS, [nothing, byte, at_, everywhere, factor])
        if "+avx2" in machine:
            name, half_type = "llvm.x86.avx2.gather.d.d.256", ir.VectorType(_WORD, 8)
            everywhere, factor = _numbers([2**32 - 1] * 8), ir.Constant(_BYTE, scale)
            nothing, parts = ir.Constant(half_type, ir.Undefined), []
            for half in _HALVES:
                places = builder.shuffle_vector(at_, at_, half)
                arguments_ = [nothing, byte, places, everywhere, factor]
                parts.append(instruction(builder, name, half_type, arguments_))
            return builder.shuffle_vector(*parts, _numbers(range(LANES)))
        gathered = _constant(0)
        for lane in range(LANES):
            number = ir.Constant(_WORD, lane)
            place = builder.zext(builder.extract_element(at_, number), _INT64)
            pointer = builder.bitcast(builder.gep(data, [place]), _WORD.as_pointer())
            word = builder.load(pointer, align=scale)
            gathered = builder.insert_element(gathered, word, number)
        return gathered

    return WORDS(array, WORDS), generate


@intrinsic
def append_zero(typing_context: Any, array: Any, count: Any, words: Any, test: Any) -> Any:
    """Append to an array that holds `count` those words whose lane of `test` is 0; the new count.

    The array needs sixteen elements of room behind its last one.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        array_, count_, words_, test_ = arguments
        data = _data(context, builder, signature.args[0], array_)
        kept = builder.icmp_unsigned("==", test_, _constant(0))
        if "+avx512f" in machine_of(context):
            name = "llvm.x86.avx512.mask.compress.v16i32"
            packed = instruction(builder, name, _WORDS, [words_, _constant(0), kept])
            pointer = builder.bitcast(builder.gep(data, [count_]), _WORDS.as_pointer())
            builder.store(packed, pointer, align=4)
            bits = builder.zext(builder.bitcast(kept, ir.IntType(LANES)), _INT64)
            return builder.add(count_, builder.ctpop(bits))
        for lane in range(LANES):  # without a branch: always stored, and overwritten if not kept
            number = ir.Constant(_WORD, lane)
            builder.store(builder.extract_element(words_, number), builder.gep(data, [count_]))
            count_ = builder.add(
                count_, builder.zext(builder.extract_element(kept, number), _INT64)
            )
        return count_

    return types.int64(array, types.int64, WORDS, WORDS), generate
