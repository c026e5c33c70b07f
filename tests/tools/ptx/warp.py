"""Instructions of a whole warp, and barriers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .instructions import Operation, Site, Step, rule
from .operands import Sink
from .races import WARP
from .state import Group, Mask
from .types import TYPES, Array


def bits_of(lanes: Array) -> Array:
    """(n,) bool -> each warp's mask, (n / 32,) uint32."""
    return np.packbits(lanes.reshape(-1, WARP), axis=1, bitorder="little").view(np.uint32).reshape(-1)


def taking_part(group: Group, mask: Mask) -> Array:
    return np.ones(group.n, bool) if mask is None else mask


def every(values: Array, n: int) -> Array:
    return values if len(values) == n else np.repeat(values, n)


def source_lane(mode: str, lane: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """The lane that shfl reads, and whether it is inside of the segment."""
    segment = (c >> 8) & 31
    clamp = (lane & segment) | (c & 31 & ~segment)
    first, b = lane & segment, b & 31
    source = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": first | (b & ~segment)}[mode]
    inside = source >= clamp if mode == "up" else source <= clamp
    return np.where(inside, source, lane), inside


@rule(r"shfl\.sync\.(?P<mode>up|down|bfly|idx)\.b32")
def shuffle(site: Site, match: re.Match[str]) -> Operation:
    first, second = site.both(0)
    write, write_inside = site.write(first, "b32"), site.write(second, "pred")
    value, b, c, members = (site.read(index, "u32") for index in range(1, 5))
    has_inside = not isinstance(second, Sink)

    def step(group: Group, mask: Mask) -> None:
        lane = group.lane
        where = (every(read(group), group.n).astype(np.int64) for read in (b, c))
        source, inside = source_lane(match["mode"], lane, *where)
        at = group.everyone - lane + source
        if mask is not None:
            silent = mask & ~mask[at]
            if silent.any():
                group.found("collective", "shfl reads a lane that takes no part", np.flatnonzero(silent))
        write(group, every(value(group), group.n)[at], mask)
        if has_inside:
            write_inside(group, inside, mask)

    return Operation(step, "collective", members=members)


@rule(r"vote\.sync\.(?P<mode>all|any|uni|ballot)\.(?:pred|b32)")
def vote(site: Site, match: re.Match[str]) -> Operation:
    mode = match["mode"]
    predicate, members = site.read(1, "pred"), site.read(2, "u32")
    write = site.write(site.operands[0], "b32" if mode == "ballot" else "pred")

    def step(group: Group, mask: Mask) -> None:
        active = taking_part(group, mask)
        votes, voters = bits_of(every(predicate(group), group.n) & active), bits_of(active)
        result = {"ballot": votes, "any": votes != 0, "all": votes == voters, "uni": (votes == voters) | (votes == 0)}
        write(group, np.repeat(result[mode], WARP), mask)

    return Operation(step, "collective", members=members)


@rule(r"match\.(?P<mode>any|all)\.sync\.(?P<type>b32|b64)")
def match_lanes(site: Site, match: re.Match[str]) -> Operation:
    first, second = site.both(0)
    write, write_all = site.write(first, "b32"), site.write(second, "pred")
    value, members, alike = site.read(1, match["type"]), site.read(2, "u32"), match["mode"] == "all"

    def step(group: Group, mask: Mask) -> None:
        active = taking_part(group, mask).reshape(-1, WARP)
        values = every(value(group), group.n).reshape(-1, WARP)
        same = bits_of((values[:, :, None] == values[:, None, :]) & active[:, None, :]).reshape(-1)
        voters = np.repeat(bits_of(active), WARP)
        write(group, np.where(same == voters, voters, np.uint32(0)) if alike else same, mask)
        if alike:
            write_all(group, same == voters, mask)

    return Operation(step, "collective", members=members)


_REDUCE: dict[str, tuple[Any, Callable[[Any], int]]] = {
    "add": (np.add, lambda limits: 0),
    "min": (np.minimum, lambda limits: limits.max),
    "max": (np.maximum, lambda limits: limits.min),
    "and": (np.bitwise_and, lambda limits: limits.max),
    "or": (np.bitwise_or, lambda limits: 0),
    "xor": (np.bitwise_xor, lambda limits: 0),
}


@rule(r"redux\.sync\.(?P<op>add|min|max|and|or|xor)\.(?P<type>u32|s32|b32)")
def reduce_warp(site: Site, match: re.Match[str]) -> Operation:
    kind = TYPES[match["type"]]
    function, identity = _REDUCE[match["op"]]
    neutral = kind.values.type(identity(np.iinfo(kind.values)))
    value, members, write = site.read(1, kind), site.read(2, "u32"), site.write(site.operands[0], kind)

    def step(group: Group, mask: Mask) -> None:
        values = np.where(taking_part(group, mask), every(value(group), group.n), neutral)
        write(group, np.repeat(function.reduce(values.reshape(-1, WARP), axis=1, dtype=kind.values), WARP), mask)

    return Operation(step, "collective", members=members)


@rule(r"activemask\.b32")
def active_lanes(site: Site, match: re.Match[str]) -> Step:
    write = site.write(site.operands[0], "b32")
    return lambda group, mask: write(group, np.repeat(bits_of(taking_part(group, mask)), WARP), mask)


@rule(r"bar\.warp\.sync")
def warp_barrier(site: Site, match: re.Match[str]) -> Operation:
    def step(group: Group, mask: Mask) -> None:
        clocks, rows = group.batch.clocks, group.rows
        for first in range(0, group.n, WARP):
            part = slice(first, first + WARP)
            here = rows[part] if mask is None else rows[part][mask[part]]
            if len(here):
                clocks.join(here)
        clocks.tick()

    return Operation(step, "collective", members=site.read(0, "u32"))


_RED = r"red\.(?P<op>popc|and|or)(?:\.aligned)?\.(?:u32|pred)"


@rule(rf"(?:bar|barrier)(?:\.cta)?\.(?:sync(?:\.aligned)?|{_RED})")
def barrier(site: Site, match: re.Match[str]) -> Operation:
    """The whole block waits, or as many threads as the second operand says; .red counts a predicate over them."""
    op = match["op"]
    first = 1 if op else 0
    count = len(site.operands) - first - bool(op)
    expected = site.read(first + 1, "u32") if count == 2 else None
    if not op:
        return Operation(lambda group, mask: None, "barrier", barrier=site.read(first, "u32"), expected=expected)
    predicate = site.read(len(site.operands) - 1, "pred")
    write = site.write(site.operands[0], "u32" if op == "popc" else "pred")

    def arrive(group: Group, mask: Mask) -> None:
        group.batch.votes[group.rows] = every(predicate(group), group.n)

    def finish(group: Group, mask: Mask) -> None:
        votes, voters = group.batch.tally[group.block].T
        write(group, {"popc": votes.astype(np.uint32), "and": votes == voters, "or": votes > 0}[op], mask)

    return Operation(arrive, "barrier", barrier=site.read(first, "u32"), expected=expected, finish=finish)
