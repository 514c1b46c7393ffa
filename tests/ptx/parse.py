"""PTX text -> a kernel's parameters and a flat list of labels and instructions."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction: `@!%p1 add.s32 %r1, %r2, 3` -> guard "!%p1", opcode and operands."""

    guard: str
    opcode: tuple[str, ...]
    operands: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Label:
    name: str


@dataclass(frozen=True)
class Kernel:
    name: str
    parameters: tuple[str, ...]
    """Types: u64 (pointers too), u32, ..."""
    num_threads: int
    body: tuple[Instruction | Label, ...]


def parse(ptx: str) -> Kernel:
    """The one entry of a PTX module."""
    ptx = re.sub(r"//[^\n]*", "", ptx)
    entry = re.search(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)^\{(.*?)^\}", ptx, re.S | re.M)
    if entry is None:
        raise ValueError("no .entry in the PTX")
    name, parameters, directives, text = entry.groups()
    threads = re.search(r"\.reqntid\s+(\d+)", directives)
    if threads is None:
        raise ValueError(f"{name} does not say its number of threads")
    return Kernel(
        name,
        tuple(re.findall(r"\.param\s+\.(\w+)", parameters)),
        int(threads.group(1)),
        tuple(_body(text)),
    )


def _body(text):
    # directives fill a line; statements end with a semicolon, and labels may stand before them
    text = re.sub(r"^\s*\.(loc|pragma|reg)\b[^\n]*$", "", text, flags=re.M)
    for statement in text.split(";"):
        statement = " ".join(statement.split())
        while label := re.match(r"(\$\w+): ?", statement):
            yield Label(label.group(1))
            statement = statement[label.end() :]
        if statement:
            yield _instruction(statement)


def _instruction(text):
    match = re.fullmatch(r"(?:@(!?%p\d+) )?([\w.]+) ?(.*)", text)
    if match is None:
        raise NotImplementedError(f"PTX that is not an instruction: {text!r}")
    guard, opcode, operands = match.groups()
    # a comma inside braces or brackets separates the parts of one operand
    split = re.findall(r"(?:\{[^}]*\}|\[[^\]]*\]|[^,\s]+)", operands)
    return Instruction(guard or "", tuple(opcode.split(".")), tuple(split), text)
