"""Kernels with one fault each, to see whether it is noticed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from .instructions import prepare
from .kernel import Instruction, Kernel
from .operands import Immediate, Register

KINDS = ("barrier", "wait", "commit", "guard", "branch")

_DELETED = {
    "barrier": re.compile(r"(?:bar|barrier)(?:\.cta)?\.(?:warp\.)?sync(?:\.aligned)?"),
    "wait": re.compile(r"cp\.async\.wait_(?:group|all)"),
    "commit": re.compile(r"cp\.async\.commit_group"),
}
_ACCESS = re.compile(r"(?:ld|st|atom|red|cp\.async)\.(?!param|async\.wait|async\.commit)[\w.:]+")
_SIZED = re.compile(r"cp\.async\.c[ag]\.[\w.:]+")
_BRANCH = re.compile(r"bra(?:\.uni)?")
_NOTHING = "membar.cta"  # does nothing in this interpreter, and waits for nobody


@dataclass(frozen=True)
class Mutant:
    """name: unique within a kernel, and the same whatever registers and labels are called; at: number of the changed
    instruction, of `kernel` and of the one it was made from."""

    name: str
    kind: str
    at: int
    kernel: Kernel


def mutate(kernel: Kernel, kinds: Collection[str] = KINDS) -> Iterator[Mutant]:
    """Every mutant of the given kinds, one changed instruction each.

    barrier: bar.sync or bar.warp.sync deleted. wait, commit: cp.async.wait_* or commit_group deleted. guard: the predicate of a
    load, store, copy or atomic operation dropped, or the number of bytes that a cp.async is to read made full. branch: a
    conditional branch on a comparison of whole numbers, as of bounds, deleted, so that what it leaves out is always done.
    Raises ValueError for unknown kinds.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"mutate: unknown kinds {sorted(unknown)}; expected some of {KINDS}")
    seen: Counter[str] = Counter()
    for at, instruction in enumerate(kernel.code):
        for kind, new in _changes(instruction, kernel.code[:at] if instruction.guard else []):
            text = f"{kind} {nameless(instruction.text)}"
            seen[text] += 1
            if kind in kinds:
                yield Mutant(f"{text} #{seen[text]}", kind, at, _changed(kernel, at, new))


def nameless(text: str) -> str:
    """An instruction without the numbers of its registers and labels."""
    return re.sub(r"(%[a-z]+)\d+", r"\1", re.sub(r"\$\w+", "$", text))


def _changed(kernel: Kernel, at: int, new: Instruction) -> Kernel:
    code = [*kernel.code[:at], new, *kernel.code[at + 1 :]]
    result = replace(kernel, code=code, prepared=[*kernel.prepared])
    if result.prepared:
        result.prepared[at] = prepare(new, result)
    return result


def _changes(old: Instruction, before: list[Instruction]) -> Iterator[tuple[str, Instruction]]:
    """Kinds of fault this instruction can have, and what it becomes. before: what stands above it."""
    nothing = replace(old, opcode=_NOTHING, operands=(), guard=None)
    for kind, pattern in _DELETED.items():
        if pattern.fullmatch(old.opcode):
            yield kind, nothing
    if old.guard is not None and _ACCESS.fullmatch(old.opcode):
        yield "guard", replace(old, guard=None)
    if _SIZED.fullmatch(old.opcode) and len(old.operands) > 3 and isinstance(old.operands[3], Register):
        yield "guard", replace(old, operands=(*old.operands[:3], Immediate("i", _width(old))))
    if old.guard is not None and _BRANCH.fullmatch(old.opcode) and _of_whole_numbers(old.guard, before):
        yield "branch", nothing


def _of_whole_numbers(predicate: Register, before: list[Instruction]) -> bool:
    """Whether the nearest instruction above that sets the predicate compares whole numbers, or combines such comparisons."""
    for at in range(len(before) - 1, -1, -1):
        code = before[at]
        target = code.operands[0] if code.operands else None
        if predicate not in (target, getattr(target, "first", None), getattr(target, "second", None)):
            continue
        if code.opcode.startswith("setp"):
            return re.search(r"\.[bsu](?:16|32|64)$", code.opcode) is not None
        sources = [operand for operand in code.operands[1:] if isinstance(operand, Register) and operand.size == 0]
        return all(_of_whole_numbers(source, before[:at]) for source in sources)
    return True


def _width(copy: Instruction) -> int:
    """Bytes that a cp.async writes."""
    size = copy.operands[2]
    return int(size.value) if isinstance(size, Immediate) else 16
