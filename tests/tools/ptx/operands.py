"""Operands of PTX instructions, and the parser of their text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .report import PTXError
from .types import RAW, Array, Type


@dataclass(frozen=True)
class Register:
    """slot: place in a group's list of registers; size: bytes, 0 for a predicate."""

    slot: int
    size: int


@dataclass(frozen=True)
class Negated:
    register: Register


@dataclass(frozen=True)
class Special:
    """A read-only register such as %tid.x."""

    name: str


@dataclass(frozen=True)
class Name:
    """A variable, parameter or label; what it is depends on the instruction."""

    name: str


@dataclass(frozen=True)
class Sink:
    """`_`: the result is dropped."""


@dataclass(frozen=True)
class Vector:
    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """`p|q`: a result and a second one, its complement for setp."""

    first: Operand
    second: Operand


@dataclass(frozen=True)
class Address:
    base: Operand
    offset: int


@dataclass(frozen=True)
class Immediate:
    """kind: "i" an integer, "f" the bits of a float32, "d" of a float64, "n" a decimal number."""

    kind: str
    value: int | float

    def bits(self, kind: Type) -> Array:
        """One element: the raw bits as an operand of this type."""
        if kind.kind == "pred":
            return np.array([bool(self.value)])
        if self.kind == "i":
            return np.array([int(self.value) & ((1 << 8 * kind.size) - 1)], RAW[kind.size])
        if self.kind == "n":
            if not kind.is_float:
                raise PTXError(f"{self.value} as {kind.name}")
            return kind.encode(np.array([self.value], kind.values))
        size = 4 if self.kind == "f" else 8
        if size == kind.size:
            return np.array([self.value], RAW[size])
        value = np.array([self.value], RAW[size]).view(f"f{size}")
        return kind.encode(value.astype(kind.values))


Operand = Register | Negated | Special | Name | Sink | Vector | Pair | Address | Immediate

_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|\d+)U?$")
_OFFSET = r"(?:0[xX][0-9a-fA-F]+|\d+)"
_DECIMAL = re.compile(r"[-+]?\d+\.\d*([eE][-+]?\d+)?$")
_SPECIAL = re.compile(
    r"%(n?tid\.[xyz]|n?ctaid\.[xyz]|laneid|n?warpid|clock|clock_hi|clock64|globaltimer|lanemask_(eq|lt|le|gt|ge))$"
)


def split(text: str) -> list[str]:
    """Parts between commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()] if text.strip() else []


def parse_operand(text: str, find: Callable[[str], Register | None]) -> Operand:
    """`find` gives the register of a name, or None where the name is something else."""
    text = text.strip()
    if text[0] == "[":
        return _address(text[1:-1].replace(" ", ""), find)
    if text[0] == "{":
        return Vector(tuple(parse_operand(item, find) for item in split(text[1:-1])))
    if text == "_":
        return Sink()
    if "|" in text:
        first, second = text.split("|")
        return Pair(parse_operand(first, find), parse_operand(second, find))
    if text[0] == "!":
        inner = parse_operand(text[1:], find)
        if not isinstance(inner, Register):
            raise PTXError(f"{text!r}: expected a predicate register after '!'")
        return Negated(inner)
    return _number(text) or find(text) or (Special(text) if _SPECIAL.match(text) else _name(text))


def _name(text: str) -> Name:
    if not re.match(r"[\w$]+$", text):
        raise PTXError(f"{text!r} is no operand: a register that was not declared, or unknown syntax")
    return Name(text)


def _number(text: str) -> Immediate | None:
    if text[:2] in ("0f", "0F", "0d", "0D") and len(text) in (10, 18):
        return Immediate(text[1].lower(), int(text[2:], 16))
    if text == "WARP_SZ":
        return Immediate("i", 32)
    if _INTEGER.match(text):
        return Immediate("i", int(text.rstrip("U"), 0))
    return Immediate("n", float(text)) if _DECIMAL.match(text) else None


def _address(text: str, find: Callable[[str], Register | None]) -> Address:
    match = re.match(rf"([%\w$]+)(?:\+(-?{_OFFSET})|(-{_OFFSET}))?$", text)
    if match is None:
        raise PTXError(f"[{text}]: expected [name] or [name+offset]")
    return Address(parse_operand(match[1], find), int(match[2] or match[3] or "0", 0))
