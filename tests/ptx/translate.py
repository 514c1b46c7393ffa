"""A parsed kernel -> C: one function that is one thread, its registers local variables."""

import re

from ptx.parse import Instruction, Kernel, Label

# PTX type -> C type in which an instruction computes; a register holds the bits
C_TYPES = {
    **{f"{kind}{bits}": f"uint{bits}_t" for kind in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": f"int{bits}_t" for bits in (8, 16, 32, 64)},
    "f32": "float",
    "f64": "double",
    "pred": "uint8_t",
}
REGISTERS = {"p": "uint8_t", "rs": "uint16_t", "r": "uint32_t", "rd": "uint64_t"}
SPECIAL = {
    "%tid.x": "thread",
    "%ctaid.x": "program[0]",
    "%ctaid.y": "program[1]",
    "%ctaid.z": "program[2]",
    "%nctaid.x": "grid[0]",
    "%nctaid.y": "grid[1]",
    "%nctaid.z": "grid[2]",
}
OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "rem": "%",
    "and": "&",
    "or": "|",
    "xor": "^",
}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
UNORDERED = {"equ": "==", "neu": "!=", "ltu": "<", "leu": "<=", "gtu": ">", "geu": ">="}

PRELUDE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>
static const uint64_t (*ranges)[2]; static int num_ranges;
static int inside(uint64_t address, uint64_t size) {
  for (int i = 0; i < num_ranges; i++)
    if (address >= ranges[i][0] && address + size <= ranges[i][1]) return 1;
  return 0;
}
#define READ(type, address) ({ type v; memcpy(&v, (void *)(address), sizeof v); v; })
#define WRITE(type, address, value) \
  do { type v = (value); memcpy((void *)(address), &v, sizeof v); } while (0)
#define BITS(type, value) ({ typeof(value) v = (value); type b; memcpy(&b, &v, sizeof b); b; })
/* shifts by the width or more are defined in PTX */
#define SHIFT_LEFT(a, n) ((n) >= 8 * sizeof(a) ? 0 : (a) << (n))
#define SHIFT_RIGHT(a, n) ((n) >= 8 * sizeof(a) ? ((a) < 0 ? -1 : 0) : (a) >> (n))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define LARGER(a, b) ((a) > (b) ? (a) : (b))
/* NaN becomes 0, and what is too large the nearest integer */
static int32_t truncated(float x) {
  return x != x ? 0 : x >= 2147483648.0f ? INT32_MAX : x < -2147483648.0f ? INT32_MIN : (int32_t)x;
}
static uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector) {
  uint64_t bytes = (uint64_t)b << 32 | a; uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    uint32_t s = selector >> (4 * i) & 15; uint8_t byte = bytes >> (8 * (s & 7));
    if (s & 8) byte = byte & 128 ? 255 : 0;
    result |= (uint32_t)byte << (8 * i);
  }
  return result;
}
"""


def to_c(kernel: Kernel) -> str:
    """C source with `run(parameters, grid, ranges, num_ranges, backwards, address)`.

    It runs every thread of every program, and returns 0, or the number of the instruction (from 1)
    that would have touched `address`, outside of every range.
    """
    statements = []
    for number, item in enumerate(kernel.body, 1):
        if isinstance(item, Label):
            statements.append(f"{_label(item.name)}:;")
            continue
        statement = _statement(item, number)
        guard = item.guard.replace("!%", "!").replace("%", "")
        statements.append(f"if ({guard}) {{ {statement} }}" if guard else statement)
    text = "\n  ".join(statements)
    names = sorted(set(re.findall(r"\b(?:p|rs|r|rd)\d+\b", text)))
    # a register that is read before it is written holds a pattern that no result survives
    registers = "\n  ".join(
        f"{REGISTERS[name.rstrip('0123456789')]} {name} = (typeof({name}))0xcdcdcdcdcdcdcdcdull;"
        for name in names
    )
    return f"""{PRELUDE}
static int run_thread(const uint64_t *parameters, const uint32_t *grid, const uint32_t *program,
                      uint32_t thread, uint64_t *address) {{
  {registers}
  {text}
  return 0;
}}
int run(const uint64_t *parameters, const uint32_t *grid, const uint64_t (*r)[2], int n,
        int backwards, uint64_t *address) {{
  ranges = r; num_ranges = n;
  uint64_t threads = {kernel.num_threads}, total = (uint64_t)grid[0] * grid[1] * grid[2] * threads;
  for (uint64_t i = 0; i < total; i++) {{
    uint64_t j = backwards ? total - 1 - i : i, k = j / threads;
    uint32_t program[3] = {{k % grid[0], k / grid[0] % grid[1], k / grid[0] / grid[1]}};
    int bad = run_thread(parameters, grid, program, j % threads, address);
    if (bad) return bad;
  }}
  return 0;
}}
"""


def _label(name):
    return name.replace("$", "L_")


def _statement(instruction: Instruction, number: int) -> str:
    name, operands = instruction.opcode[0], instruction.operands
    if name in ("ret", "exit"):
        return "return 0;"
    if name == "bra":
        return f"goto {_label(operands[0])};"
    if name == "ld" and "param" in instruction.opcode:
        return _load_parameter(instruction)
    if name in ("ld", "st", "red", "atom") and "global" in instruction.opcode:
        return _memory(instruction, number)
    if name == "mov" and "{" in "".join(operands):
        return _move_parts(instruction)
    return _assign(operands[0], _expression(instruction), _types(instruction)[0])


def _types(instruction):
    """The types that an opcode names, e.g. ("s32", "f32") of cvt.rzi.s32.f32."""
    known = {*C_TYPES, "f32x2"}
    return tuple(part for part in instruction.opcode if part in known) or _unknown(instruction)


def _unknown(instruction):
    raise NotImplementedError(f"PTX instruction that is not known: {instruction.text}")


def _value(operand, kind):
    """An operand as a C expression of a PTX type."""
    if operand in SPECIAL:
        return SPECIAL[operand]
    c_type = C_TYPES[kind]
    if match := re.fullmatch(r"0[fFdD]([0-9A-Fa-f]{8}|[0-9A-Fa-f]{16})", operand):
        bits = f"0x{match.group(1)}u" + "ll" * (len(match.group(1)) == 16)
        return f"BITS({c_type}, {bits})" if kind in ("f32", "f64") else f"(({c_type}){bits})"
    if operand.startswith("%"):
        name = operand[1:]
        if kind in ("f32", "f64"):
            return f"BITS({c_type}, {name})"
        return f"(({c_type}){name})"
    if re.fullmatch(r"-?(\d+|0x[0-9A-Fa-f]+)U?", operand):
        return f"(({c_type}){operand.rstrip('U')}ll)"
    raise NotImplementedError(f"PTX operand that is not known: {operand!r}")


def _assign(register, expression, kind):
    """Store an expression of a PTX type in a register, as bits of the register's width."""
    if register == "_":
        return ""
    name = register[1:]
    if kind in ("f32", "f64"):
        bits = "uint32_t" if kind == "f32" else "uint64_t"
        return f"{name} = BITS({bits}, {expression});"
    return f"{name} = {expression};"


def _expression(instruction):
    name, kind = instruction.opcode[0], _types(instruction)[-1]
    if kind == "f32x2":
        return _packed_floats(instruction)
    c_type = C_TYPES[kind]
    sources = instruction.operands[1:]
    values = [_value(source, kind) for source in sources] if name not in _MIXED else []
    # wrap-around of signed integers is undefined in C: compute in unsigned
    wrapped = [f"(u{c_type}){value}" if c_type.startswith("int") else value for value in values]
    if name == "mov":
        return values[0]
    if name in ("add", "sub"):
        _exactly(instruction, kind)
        return f"({c_type})({wrapped[0]} {OPERATORS[name]} {wrapped[1]})"
    if name in ("and", "or", "xor"):
        return f"({values[0]} {OPERATORS[name]} {values[1]})"
    if name == "not":
        return f"(!{values[0]})" if kind == "pred" else f"(~{values[0]})"
    if name in ("mul", "mad"):
        return _product(instruction, kind, values, wrapped)
    if name == "fma":
        _exactly(instruction, kind)
        return f"fma{'f' if kind == 'f32' else ''}({', '.join(values)})"
    if name in ("div", "rem"):
        # both languages truncate integers toward zero
        _exactly(instruction, kind)
        return f"({values[0]} {OPERATORS[name]} {values[1]})"
    if name == "neg" and kind.startswith("s"):
        _exactly(instruction, kind)
        return f"({c_type})(0 - {wrapped[0]})"
    if name == "abs" and kind.startswith("s"):
        _exactly(instruction, kind)
        return f"({values[0]} < 0 ? ({c_type})(0 - {wrapped[0]}) : {values[0]})"
    if name == "abs" and kind == "f32" and instruction.opcode[1:] == ("f32",):
        return f"fabsf({values[0]})"
    if name in ("min", "max") and not kind.startswith("f"):
        return f"{'SMALLER' if name == 'min' else 'LARGER'}({values[0]}, {values[1]})"
    if name == "setp":
        return _comparison(instruction, kind, values)
    if name == "selp":
        chosen = _value(sources[2], "pred")
        return f"({chosen} ? {_value(sources[0], kind)} : {_value(sources[1], kind)})"
    if name in ("shl", "shr"):
        macro = "SHIFT_LEFT" if name == "shl" else "SHIFT_RIGHT"
        return f"{macro}({_value(sources[0], kind)}, {_value(sources[1], 'u32')})"
    if name == "bfe" and kind in ("s32", "u32") and all(map(str.isdecimal, sources[1:])):
        first, width = map(int, sources[1:])
        if 0 < width <= 32 - first:
            # the field goes to the top, and comes back down, with copies of its sign if it has one
            return f"(({c_type})((uint32_t){values[0]} << {32 - first - width}) >> {32 - width})"
    if name == "prmt":
        return f"permuted({', '.join(values)})"
    if name == "cvt":
        return _conversion(instruction)
    return _unknown(instruction)


# instructions whose sources have types of their own
_MIXED = ("selp", "shl", "shr", "cvt")


def _exactly(instruction, kind):
    """Refuse what changes the result (.sat, .ftz, .cc), and floats without .rn: ptxas may fuse."""
    if set(instruction.opcode[1:]) != ({kind, "rn"} if kind.startswith("f") else {kind}):
        _unknown(instruction)


def _product(instruction, kind, values, wrapped):
    modifiers, c_type = instruction.opcode[1:], C_TYPES[kind]
    if kind in ("f32", "f64"):
        _exactly(instruction, kind)
        return f"({values[0]} * {values[1]})"
    bits = int(kind[1:])
    wide = c_type.replace(str(bits), str(2 * bits)) if bits < 64 else "unsigned __int128"
    if "wide" in modifiers:
        product, sum_kind = f"(({wide}){values[0]} * ({wide}){values[1]})", f"{kind[0]}{2 * bits}"
        unsigned = C_TYPES[f"u{2 * bits}"]
    elif "hi" in modifiers and kind in ("u32", "s32", "u64"):
        product, sum_kind = f"(({wide}){values[0]} * ({wide}){values[1]} >> {bits})", kind
        unsigned = C_TYPES[f"u{bits}"]
    elif "lo" in modifiers:
        product, sum_kind = f"({wrapped[0]} * {wrapped[1]})", kind
        unsigned = C_TYPES[f"u{bits}"]
    else:
        return _unknown(instruction)
    if instruction.opcode[0] == "mul":
        return f"({unsigned}){product}"
    return f"(({unsigned}){product} + ({unsigned}){_value(instruction.operands[3], sum_kind)})"


def _comparison(instruction, kind, values):
    operator = instruction.opcode[1]
    left, right = values
    if instruction.opcode[2:] != (kind,):
        return _unknown(instruction)
    if kind == "f32" and operator in UNORDERED:
        return f"(isunordered({left}, {right}) || {left} {UNORDERED[operator]} {right})"
    if kind == "f32" and operator == "ne":
        return f"islessgreater({left}, {right})"
    if operator not in COMPARISONS:
        return _unknown(instruction)
    return f"({left} {COMPARISONS[operator]} {right})"


def _conversion(instruction):
    target, source = _types(instruction)
    value = _value(instruction.operands[1], source)
    rounding = set(instruction.opcode[1:]) - {target, source}
    if target == "s32" and source == "f32" and rounding == {"rzi"}:
        return f"truncated({value})"
    widened, narrowed = (target, source) == ("f64", "f32"), (target, source) == ("f32", "f64")
    if (widened and not rounding) or (narrowed and rounding == {"rn"}):
        return f"(({C_TYPES[target]}){value})"
    integer_source = not source.startswith("f")
    if target in ("f32", "f64") and integer_source and rounding == {"rn"}:
        return f"(({C_TYPES[target]}){value})"
    if not target.startswith("f") and integer_source and not rounding:
        return f"(({C_TYPES[target]}){value})"
    return _unknown(instruction)


def _packed_floats(instruction):
    """Two float32 operations in one 64-bit register, each rounded for itself."""
    name, modifiers = instruction.opcode[0], set(instruction.opcode[1:])
    if name not in ("add", "sub", "mul") or modifiers != {"rn", "f32x2"}:
        return _unknown(instruction)
    halves = []
    for shift in (0, 32):
        a, b = (
            f"BITS(float, (uint32_t)({_value(operand, 'u64')} >> {shift}))"
            for operand in instruction.operands[1:]
        )
        halves.append(f"(uint64_t)BITS(uint32_t, {a} {OPERATORS[name]} {b}) << {shift}")
    return f"({halves[0]} | {halves[1]})"


def _move_parts(instruction):
    """mov between one register and the tuple of its parts."""
    kind = _types(instruction)[0]
    target, source = instruction.operands
    parts = re.findall(r"[%\w]+", target if target.startswith("{") else source)
    width = int(kind[1:]) // len(parts)
    if target.startswith("{"):
        whole = _value(source, kind)
        return " ".join(
            _assign(part, f"(uint{width}_t)({whole} >> {width * place})", f"u{width}")
            for place, part in enumerate(parts)
        )
    whole = " | ".join(
        f"(({C_TYPES[kind]}){_value(part, f'u{width}')} << {width * place})"
        for place, part in enumerate(parts)
    )
    return _assign(target, whole, kind)


def _address(operand):
    match = re.fullmatch(r"\[ ?(%\w+) ?(?:\+ ?(-?\d+))? ?\]", operand)
    if match is None:
        raise NotImplementedError(f"PTX address that is not known: {operand!r}")
    return f"({match.group(1)[1:]} + {match.group(2) or 0})"


def _load_parameter(instruction):
    index = re.fullmatch(r"\[\w+_param_(\d+)\]", instruction.operands[1])
    if index is None:
        return _unknown(instruction)
    kind = _types(instruction)[0]
    return _assign(instruction.operands[0], f"({C_TYPES[kind]})parameters[{index.group(1)}]", "b64")


def _memory(instruction, number):
    """A load, store, reduction or atomic in global memory; one outside ends the run."""
    name, kind = instruction.opcode[0], _types(instruction)[0]
    c_type = C_TYPES[kind]
    place = 0 if name in ("st", "red") else 1
    address = _address(instruction.operands[place])
    others = [operand for i, operand in enumerate(instruction.operands) if i != place]
    parts = re.findall(r"[%\w]+", others[0])
    size = len(parts) * int(kind[1:]) // 8
    check = f"if (!inside({address}, {size})) {{ *address = {address}; return {number}; }}"
    if name == "ld":
        accesses = [
            _assign(part, f"READ({c_type}, {address} + {i} * sizeof({c_type}))", kind)
            for i, part in enumerate(parts)
        ]
    elif name == "st":
        accesses = [
            f"WRITE({c_type}, {address} + {i} * sizeof({c_type}), {_value(part, kind)});"
            for i, part in enumerate(parts)
        ]
    elif name in ("red", "atom") and "relaxed" in instruction.opcode:
        old, new = f"READ({c_type}, {address})", _value(others[-1], kind)
        combined = {
            "max": f"LARGER({old}, {new})",
            "min": f"SMALLER({old}, {new})",
            "add": f"{old} + {new}",
            "xor": f"{old} ^ {new}",
        }
        operation = next((part for part in instruction.opcode if part in combined), None)
        if operation is None:
            return _unknown(instruction)
        # an atomic is a reduction that also tells what was there
        accesses = [_assign(others[0], old, kind)] if name == "atom" else []
        accesses.append(f"WRITE({c_type}, {address}, {combined[operation]});")
    else:
        return _unknown(instruction)
    return " ".join([check, *accesses])
