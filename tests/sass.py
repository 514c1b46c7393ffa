"""What the GPU's own code costs: instructions, registers and spills of a compiled kernel.

Read from the machine code with the tools that ship with Triton; no driver is needed.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import triton

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Sass:
    """Machine code of one kernel for an NVIDIA GPU."""

    registers: int
    local_bytes: int
    """Stack and local memory of a thread: spilled registers would be here."""
    addresses: tuple[int, ...]
    instructions: tuple[str, ...]

    def count(self, name):
        """Instructions with this opcode (a regular expression of its first part)."""
        return count(self.instructions, name)

    def loop(self, name):
        """The instructions of the innermost loop that holds an opcode; all, where none loops."""
        loops = []
        for end, text in enumerate(self.instructions):
            target = re.search(r"\bBRA\S* (?:\S+, )?`?\(?(0x[0-9a-f]+)", text)
            if target and int(target.group(1), 16) <= self.addresses[end]:
                body = self.instructions[self.addresses.index(int(target.group(1), 16)) : end + 1]
                if count(body, name):
                    loops.append(body)
        return min(loops, key=len, default=self.instructions)


def count(instructions, name):
    return sum(re.match(rf"(@!?U?P\w+ )?(?:{name})\b", text) is not None for text in instructions)


def disassemble(cubin):
    """The machine code in the bytes of a cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [CUOBJDUMP, "-res-usage", "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", text)}
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?) ?;", text, re.M)
    code = [(int(address, 16), " ".join(line.split())) for address, line in lines]
    # what follows the endless branch after the last exit is padding
    code = [(address, line) for address, line in code if not line.startswith("NOP")]
    addresses, instructions = zip(*code, strict=True)
    return Sass(usage["REG"], usage["STACK"] + usage["LOCAL"], addresses, instructions)
