"""Kernels with one fault each, to see whether it is noticed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

KINDS = ("barrier", "wait", "commit", "guard", "compare")

_GUARD = r"@!?[%\w$]+\s+"
_BARRIER = re.compile(rf"^\s*(?:{_GUARD})?(?:bar|barrier)(?:\.cta)?\.(?:warp\.)?sync\b")
_WAIT = re.compile(rf"^\s*(?:{_GUARD})?cp\.async\.wait_(?:group|all)\b")
_COMMIT = re.compile(rf"^\s*(?:{_GUARD})?cp\.async\.commit_group\b")
_GUARDED = re.compile(rf"^(\s*)({_GUARD})((?:ld|st|atom|red|cp\.async)\.(?!param|async\.wait|async\.commit).*)$")
_SIZED = re.compile(r"^\s*cp\.async\..*,\s*(?:0x)?[0-9a-f]+\s*,\s*([%\w$]+)\s*;")
_COMPARE = re.compile(rf"^(\s*)((?:{_GUARD})?)setp\.\S+\s+([%\w$]+(?:\|[%\w$]+)?)\s*,.*;\s*$")


@dataclass(frozen=True)
class Mutant:
    """name: unique within a text; line: of the text, from 1; text: the whole PTX with that line changed."""

    name: str
    kind: str
    line: int
    text: str


def mutate(text: str, kinds: Collection[str] = KINDS) -> Iterator[Mutant]:
    """Every mutant of the given kinds, one changed instruction each.

    barrier: bar.sync or bar.warp.sync deleted. wait, commit: cp.async.wait_* or commit_group deleted. guard: the predicate of a
    load, store, copy or atomic operation dropped, or the size of a cp.async that it chose made full. compare: the result of a
    comparison forced, once to true and once to false. Raises ValueError for unknown kinds.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"mutate: unknown kinds {sorted(unknown)}; expected some of {KINDS}")
    lines = text.split("\n")
    sized = {match[1] for line in lines if (match := _SIZED.match(line))}
    for number, line in enumerate(lines):
        for kind, suffix, new in _changes(line, sized):
            if kind in kinds:
                changed = "\n".join([*lines[:number], new, *lines[number + 1 :]])
                yield Mutant(f"{kind}{suffix}:{number + 1}", kind, number + 1, changed)


def _changes(line: str, sized: set[str]) -> Iterator[tuple[str, str, str]]:
    """(kind, suffix of the name, new line)."""
    for kind, pattern in (("barrier", _BARRIER), ("wait", _WAIT), ("commit", _COMMIT)):
        if pattern.match(line):
            yield kind, "", "//" + line
    if match := _GUARDED.match(line):
        yield "guard", "", match[1] + match[3]
    if (match := re.match(r"^(\s*)selp\.b32\s+([%\w$]+),\s*(\d+),\s*0,.*$", line)) and match[2] in sized:
        yield "guard", "", f"{match[1]}mov.b32 {match[2]}, {match[3]};"
    if match := _COMPARE.match(line):
        for name, test in (("true", "eq"), ("false", "ne")):
            yield "compare", f"-{name}", f"{match[1]}{match[2]}setp.{test}.u32 {match[3]}, 0, 0;"
