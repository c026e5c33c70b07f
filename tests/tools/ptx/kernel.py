"""What a PTX text is made of: modules, kernels, variables, instructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .operands import Operand, Register
from .report import PTXError


@dataclass(frozen=True)
class Instruction:
    """guard: predicate register of `@p`, negated for `@!p`; line: of the text; source: "file:line" from `.loc`, or ""."""

    opcode: str
    operands: tuple[Operand, ...]
    guard: Register | None
    negated: bool
    line: int
    text: str
    source: str


@dataclass(frozen=True)
class Variable:
    """A variable or parameter. offset: within its space; data: initial bytes, empty where there are none."""

    name: str
    space: str
    size: int
    offset: int
    data: bytes = b""


@dataclass
class Kernel:
    """params: in order, offsets within the parameter space; labels: instruction numbers; dynamic: names of the
    `.extern .shared` arrays, which begin at the end of the static shared memory; threads: `.reqntid`, or None;
    prepared, granules: what the first launch leaves for later ones."""

    name: str
    params: list[Variable] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    dynamic: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of each space
    registers: list[int] = field(default_factory=list)  # size of each, 0 for predicates
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    targets: dict[str, list[str]] = field(default_factory=dict)  # labels of each `.branchtargets`
    threads: tuple[int, int, int] | None = None
    prepared: list[Any] = field(default_factory=list)
    granules: dict[str, int] = field(default_factory=dict)

    def declare(self, name: str, space: str, size: int, align: int, data: bytes = b"") -> Variable:
        offset = -(-self.sizes.get(space, 0) // align) * align
        self.sizes[space] = offset + size
        variable = Variable(name, space, size, offset, data)
        self.variables[name] = variable
        return variable


class Module(dict[str, Kernel]):
    """Kernels by name. `only` is the one of a module that holds one."""

    @property
    def only(self) -> Kernel:
        if len(self) != 1:
            raise PTXError(f"the module holds {len(self)} kernels: {', '.join(self)}; expected one")
        return next(iter(self.values()))
