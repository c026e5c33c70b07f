"""cp.async: the copy reads at once and writes as late as the program allows, when its thread waits for it.

From its issue on the bytes may change at any time, so any access to them before that wait is a hazard; other threads need
a barrier after it as well.
"""

from __future__ import annotations

import re

import numpy as np

from .instructions import Operation, Site, Step, rule
from .memory import Access
from .operands import Immediate
from .state import Copy, Group, Mask
from .types import Array


@rule(r"cp\.async\.(?:ca|cg)\.shared(?:::cta)?\.global(?:\.L2::\w+)?")
def copy(site: Site, match: re.Match[str]) -> Step:
    size = site.operand(2)
    if not isinstance(size, Immediate) or size.value not in (4, 8, 16):
        raise site.error("expected a size of 4, 8 or 16 bytes")
    width, target, source = int(size.value), site.address(0), site.address(1)
    wanted = site.read(3, "u32") if len(site.operands) > 3 else None

    def step(group: Group, mask: Mask) -> None:
        lanes = group.lanes(mask)
        access = Access(group, lanes, target(group)[lanes])
        from_address = source(group)[lanes]
        count = np.full(len(lanes), width) if wanted is None else np.broadcast_to(wanted(group), group.n)[lanes]
        data = fetch(group, lanes, from_address, np.minimum(count.astype(np.int64), width), width)
        access, place, kept = group.batch.shared.checked(access, width, "cp.async")
        if kept is not None:
            data = data[kept]
        announce(access, place, width)
        group.pending.append(Copy(access.lanes, place, access.address, data, group.committed[access.lanes]))

    return step


def fetch(group: Group, lanes: Array, address: Array, count: Array, width: int) -> Array:
    """(lanes, words): the first `count` bytes of each source, zeros behind them."""
    memory, data = group.batch.launch.memory, np.zeros((len(lanes), width), np.uint8)
    for length in np.unique(count[count > 0]):
        chosen = count == length
        size, parts = (4, width // 4) if length == width else (min(int(length & -length), 4), 1)
        for start in range(0, int(length), size * parts):
            values = memory.load(Access(group, lanes[chosen], address[chosen] + start), size, parts)
            data[chosen, start : start + size * parts] = values.view(np.uint8)
    return data.view(np.uint32)


def announce(access: Access, place: Array, width: int) -> None:
    """The write may happen from now on."""
    shared = access.group.batch.shared
    cells = shared.cells(place, width)
    shared.settled(access, cells, "copied to")
    if shared.shadow is not None:
        shared.report(access, shared.shadow.before_write(cells, access.who()))
    shared.flight[cells] = access.group.pc + 1
    shared.flying = True


def complete(group: Group, item: Copy, done: Array) -> None:
    """Write what the lanes `done` of a copy asked for."""
    shared, width = group.batch.shared, 4 * item.data.shape[1]
    place, access = item.place[done], Access(group, item.lanes[done], item.address[done])
    shared.view(4, item.data.shape[1])[place // width] = item.data[done]
    cells = shared.cells(place, width)
    shared.defined[cells] = True
    shared.flight[cells] = 0
    if shared.shadow is not None:
        shared.shadow.write(cells, access.who())


def wait(group: Group, mask: Mask, keep: int | None) -> None:
    """Complete all groups but the youngest `keep`, or everything, committed or not, for None."""
    remaining: list[Copy] = []
    for item in group.pending:
        due = np.ones(len(item.lanes), bool) if mask is None else mask[item.lanes]
        if keep is not None:
            due = due & (item.number < group.committed[item.lanes] - keep)
        if due.any():
            complete(group, item, due)
        if not due.all():
            rest = ~due
            remaining.append(
                Copy(*(part[rest] for part in (item.lanes, item.place, item.address, item.data, item.number)))
            )
    group.pending = remaining
    group.batch.shared.flying = any(other.pending for other in group.batch.groups)


@rule(r"cp\.async\.commit_group")
def commit(site: Site, match: re.Match[str]) -> Operation:
    def step(group: Group, mask: Mask) -> None:
        group.committed += 1 if mask is None else mask

    return Operation(step)


@rule(r"cp\.async\.wait_(?P<what>group|all)")
def wait_group(site: Site, match: re.Match[str]) -> Operation:
    if match["what"] == "all":
        return Operation(lambda group, mask: wait(group, mask, None))
    keep = site.operand(0)
    if not isinstance(keep, Immediate):
        raise site.error("expected a number of groups")
    return Operation(lambda group, mask: wait(group, mask, int(keep.value)))
