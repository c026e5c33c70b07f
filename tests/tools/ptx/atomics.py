"""Atomic operations: each thread's in turn, in the order of the launch."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import numpy as np

from .instructions import Site, Step, rule
from .memory import Access, Space
from .memory_ops import space_of
from .operands import Operand, Sink
from .state import Group, Mask, to_space
from .types import TYPES, Array, Type

_OPS: dict[str, Callable[[Array, Array], Array]] = {
    "add": operator.add,
    "min": np.fmin,
    "max": np.fmax,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "exch": lambda old, new: new,
    "inc": lambda old, limit: np.where(old >= limit, 0, old + 1).astype(old.dtype),
    "dec": lambda old, limit: np.where((old == 0) | (old > limit), limit, old - 1).astype(old.dtype),
}


def turns(place: Array) -> Array:
    """How many lanes before each one have the same place."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(place)]]))
    result = np.empty(len(place), np.int64)
    result[order] = np.arange(len(place)) - np.repeat(starts, counts)
    return result


def update(space: Space, access: Access, kind: Type, function: Callable[..., Array], values: list[Array]) -> Array:
    """Apply `function(old, *values)` lane after lane; returns the raw bits each lane found."""
    found = np.zeros(len(access.lanes), kind.raw)
    access, place, kept = space.checked(access, kind.size, "atomic operation")
    cells = space.cells(place, kind.size)
    space.settled(access, cells, "changed")
    space.require_defined(access, cells)
    if space.shadow is not None:
        space.report(access, space.shadow.atomic(cells, access.who()))
    chosen = np.arange(len(found)) if kept is None else np.flatnonzero(kept)
    memory = space.view(kind.size, 1).reshape(-1)
    sequence = access.group.batch.launch.sequence(len(place))
    turn = turns(place[sequence]) if len(place) else sequence
    for number in range(int(turn.max()) + 1 if len(turn) else 0):
        now = sequence[turn == number]
        at, lanes = place[now] // kind.size, chosen[now]
        old = memory[at]
        found[lanes] = old
        memory[at] = kind.encode(function(kind.decode(old), *(value[lanes] for value in values)))
    return found


_SCOPED = r"{order}(?:\.(?P<space>global|shared(?:::cta)?))?{order}"
_TYPE = r"(?P<type>[bus](?:16|32|64)|f16x2|bf16x2|f16|bf16|f32|f64)"


@rule(
    rf"(?P<what>atom|red){_SCOPED}\.(?P<op>add|min|max|and|or|xor|exch|inc|dec|cas)(?:\.noftz)?(?:\.L2::\w+)?\.{_TYPE}"
)
def atomic(site: Site, match: re.Match[str]) -> Step:
    kind, op = TYPES[match["type"]], match["op"]
    first = 0 if match["what"] == "red" else 1
    target: Operand = Sink() if match["what"] == "red" else site.operand(0)
    address = site.address(first)
    reads = [site.read(first + 1 + index, kind) for index in range(2 if op == "cas" else 1)]
    name = match["space"].split("::")[0] if match["space"] else None
    write = site.write(target, TYPES[f"b{8 * kind.size}"])

    def swap(old: Array, expected: Array, new: Array) -> Array:
        return np.where(old == expected, new, old)

    function: Callable[..., Array] = swap if op == "cas" else _OPS[op]

    def step(group: Group, mask: Mask) -> None:
        lanes = group.lanes(mask)
        values = [_every(read(group), group.n)[lanes] for read in reads]
        where = address(group)[lanes]
        bits = np.zeros(group.n, kind.raw)
        everything = np.ones(len(lanes), bool)
        for space, chosen, within in [(name, everything, where)] if name else to_space(group, lanes, where):
            access = Access(group, lanes[chosen], within)
            bits[lanes[chosen]] = update(space_of(group, space), access, kind, function, [v[chosen] for v in values])
        write(group, bits, mask)

    return step


def _every(values: Array, n: int) -> Array:
    return values if len(values) == n else np.repeat(values, n, axis=0)
