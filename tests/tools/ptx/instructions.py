"""The table of instructions: a pattern of opcodes -> the function that prepares one for execution.

`@rule(pattern)` adds an entry. Patterns are regular expressions that match the whole opcode, so a modifier nobody thought of
makes an instruction unknown instead of wrong. `{int}`, `{float}` and such stand for lists of types.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from .kernel import Instruction, Kernel
from .operands import Address, Immediate, Name, Negated, Operand, Pair, Register, Sink, Special, Vector
from .report import PTXError
from .state import Group, Mask
from .types import TYPES, Array, Type, resize

Step = Callable[[Group, Mask], None]
Read = Callable[[Group], Array]
Write = Callable[[Group, Array, Mask], None]

_LISTS = {
    "{int}": r"(?P<type>[us](?:16|32|64))",
    "{bits}": r"(?P<type>[bus](?:16|32|64))",
    "{any}": r"(?P<type>[bus](?:8|16|32|64)|f32|f64|f16|bf16|f16x2|bf16x2|pred)",
    "{float}": r"(?P<type>f64|f32|f16x2|bf16x2|f16|bf16)",
    "{memory}": r"(?P<type>[bus](?:8|16|32|64)|f32|f64|f16|bf16|f16x2|bf16x2)",
    "{round}": r"(?:\.(?P<round>rn|rz|rm|rp))?",
    "{ftz}": r"(?P<ftz>\.ftz)?",
    "{sat}": r"(?P<sat>\.sat)?",
    "{order}": r"(?:\.(?:relaxed|acquire|release|acq_rel|volatile|weak|cta|gpu|sys|mmio))*",
}


@dataclass
class Operation:
    """A prepared instruction.

    flow: "next" continues behind it; "branch" (target gives each thread's next number), "exit"; "barrier" (waits for the
    block; `step` runs on arrival, `finish` with everyone there); "collective" (waits for the lanes that `members` names by
    a mask, all of the warp where that is None).
    """

    step: Step
    flow: str = "next"
    target: Callable[[Group], Array] | int = 0
    members: Read | None = None
    barrier: Read | None = None
    expected: Read | None = None
    arrive_only: bool = False
    finish: Step | None = None


class Site:
    """An instruction in its kernel: gives the readers and writers of its operands."""

    def __init__(self, instruction: Instruction, kernel: Kernel) -> None:
        self.instruction, self.kernel = instruction, kernel
        self.operands = instruction.operands

    def error(self, what: str) -> PTXError:
        at = self.instruction
        return PTXError(f"kernel {self.kernel.name}, line {at.line}: {what}: {at.text}")

    def operand(self, index: int) -> Operand:
        if index >= len(self.operands):
            raise self.error(f"expected at least {index + 1} operands")
        return self.operands[index]

    def raw(self, operand: Operand, kind: Type) -> Read:
        """Reader of the raw bits of an operand: (n,), or one element that stands for all threads."""
        if isinstance(operand, Register):
            slot = operand.slot
            if (operand.size == 0) != (kind.kind == "pred") or (operand.size and operand.size < kind.size):
                raise self.error(f"a register of {operand.size} bytes as {kind.name}")
            if operand.size in (0, kind.size):
                return lambda group: group.regs[slot]
            return lambda group: resize(group.regs[slot], kind.size)
        if isinstance(operand, Negated):
            slot = operand.register.slot
            return lambda group: ~group.regs[slot]
        if isinstance(operand, Immediate):
            bits = operand.bits(kind)
            return lambda group: bits
        if isinstance(operand, Special):
            name = operand.name
            return lambda group: resize(group.special(name), kind.size)
        if isinstance(operand, Name):
            symbol = operand.name
            if symbol not in self.kernel.variables and symbol not in self.kernel.dynamic:
                raise self.error(f"{symbol} is not declared")
            return lambda group: np.array([group.symbol(symbol)], kind.raw)
        if isinstance(operand, Vector):
            return self._packed(operand, kind)
        raise self.error("an operand of this kind cannot be read")

    def _packed(self, vector: Vector, kind: Type) -> Read:
        """`{low, high}` as one value."""
        size = kind.size // len(vector.items)
        part = TYPES[f"b{8 * size}"]
        reads = [self.raw(item, part) for item in vector.items]

        def read(group: Group) -> Array:
            parts = np.broadcast_arrays(*(read(group) for read in reads))
            return np.stack(parts, 1).reshape(-1).view(kind.raw)

        return read

    def read(self, index: int, kind: str | Type) -> Read:
        """Reader of operand `index` as values of a type."""
        kind = TYPES[kind] if isinstance(kind, str) else kind
        raw = self.raw(self.operand(index), kind)
        if not kind.is_float and not kind.signed:
            return raw
        return lambda group: kind.decode(raw(group))

    def write(self, operand: Operand, kind: str | Type) -> Write:
        """Writer of values of a type; a wider register gets them extended by zeros, or by the sign of a signed type."""
        kind = TYPES[kind] if isinstance(kind, str) else kind
        if isinstance(operand, Sink):
            return lambda group, values, mask: None
        if isinstance(operand, Vector):
            return self._unpacked(operand, kind)
        if not isinstance(operand, Register) or (operand.size == 0) != (kind.kind == "pred"):
            raise self.error(f"a result of type {kind.name} fits no such operand")
        slot, size = operand.slot, operand.size
        if size in (0, kind.size):
            return lambda group, values, mask: group.put(slot, kind.encode(values), mask)
        return lambda group, values, mask: group.put(slot, resize(kind.encode(values), size, kind.signed), mask)

    def _unpacked(self, vector: Vector, kind: Type) -> Write:
        count = len(vector.items)
        part = TYPES[f"b{8 * kind.size // count}"]
        writes = [self.write(item, part) for item in vector.items]

        def write(group: Group, values: Array, mask: Mask) -> None:
            parts = np.ascontiguousarray(kind.encode(values)).view(part.raw).reshape(-1, count)
            for index, put in enumerate(writes):
                put(group, np.ascontiguousarray(parts[:, index]), mask)

        return write

    def address(self, index: int) -> Read:
        """Reader of `[base+offset]` as int64, of each thread."""
        operand = self.operand(index)
        if not isinstance(operand, Address):
            raise self.error(f"operand {index + 1}: expected [address]")
        size = operand.base.size if isinstance(operand.base, Register) else 8
        base, offset = self.raw(operand.base, TYPES[f"u{8 * size}"]), operand.offset

        def read(group: Group) -> Array:
            address = base(group).astype(np.int64) + offset
            return address if len(address) == group.n else np.repeat(address, group.n)

        return read

    def items(self, index: int) -> tuple[Operand, ...]:
        """The registers of `{a, b}`, or the one there is."""
        operand = self.operand(index)
        return operand.items if isinstance(operand, Vector) else (operand,)

    def both(self, index: int) -> tuple[Operand, Operand]:
        """`p|q`, or `p` and nothing."""
        operand = self.operand(index)
        return (operand.first, operand.second) if isinstance(operand, Pair) else (operand, Sink())


Builder = Callable[[Site, "re.Match[str]"], "Operation | Step"]
RULES: list[tuple[re.Pattern[str], Builder]] = []


def rule(pattern: str) -> Callable[[Builder], Builder]:
    for short, long in _LISTS.items():
        pattern = pattern.replace(short, long)

    def add(builder: Builder) -> Builder:
        RULES.append((re.compile(pattern), builder))
        return builder

    return add


def compute(site: Site, result: str, sources: tuple[str, ...], function: Callable[..., Array]) -> Step:
    """An instruction that is a function of its operands' values."""
    if len(site.operands) != len(sources) + 1:
        raise site.error(f"expected {len(sources) + 1} operands")
    reads = [site.read(index, kind) for index, kind in enumerate(sources, 1)]
    write = site.write(site.operands[0], result)

    def step(group: Group, mask: Mask) -> None:
        write(group, function(*[read(group) for read in reads]), mask)

    return step


def prepare(instruction: Instruction, kernel: Kernel) -> Operation:
    """Raises PTXError that names the line where no rule knows the opcode."""
    site, found = Site(instruction, kernel), find(instruction.opcode)
    if found is None:
        raise site.error(f"unknown instruction {instruction.opcode}")
    builder, match = found
    built = builder(site, match)
    return built if isinstance(built, Operation) else Operation(built)


@cache
def find(opcode: str) -> tuple[Builder, re.Match[str]] | None:
    """The first rule that knows an opcode."""
    return next(((builder, match) for pattern, builder in RULES if (match := pattern.fullmatch(opcode))), None)
