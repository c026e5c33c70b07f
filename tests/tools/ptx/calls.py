"""Device functions: a call becomes the function's own code, its parameters the caller's registers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .operands import split
from .report import PTXError

_HEADER = re.compile(r"\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*(?:\(([^)]*)\))?")
_CALL = re.compile(r"(?:\(([^)]*)\)\s*,\s*)?([\w$]+)(?:\s*,\s*\(([^)]*)\))?$")


@dataclass(frozen=True)
class Function:
    """names: of what it returns and then of its parameters; start, end: of its body in the text."""

    name: str
    names: tuple[str, ...]
    start: int
    end: int


def read_function(header: str, start: int, end: int) -> Function:
    """header: what stands between `.func` and the body."""
    match = _HEADER.match(header)
    if match is None:
        raise PTXError(f"cannot read the function's header {header!r}")
    return Function(
        match[2], tuple(part.split()[-1] for part in split(match[1] or "") + split(match[3] or "")), start, end
    )


def read_call(operands: str) -> tuple[str, tuple[str, ...]]:
    """The function's name and those of the caller's results and arguments, of `(result), name, (argument, ...)`."""
    match = _CALL.match(operands)
    if match is None:
        raise PTXError(f"cannot read the call {operands!r}")
    return match[2], tuple(split(match[1] or "") + split(match[3] or ""))
