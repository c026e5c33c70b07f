"""Which threads run next: within a group those at the lowest instruction, until they wait or part.

Lanes that part at a branch meet again where the lower of them arrives at the higher, as on the device with its compilers'
block order; a collective instruction waits for the lanes it names wherever they are, and it is an error if they never come.
"""

from __future__ import annotations

import numpy as np

from .instructions import Operation
from .races import WARP
from .state import Batch, Group, Mask
from .types import Array
from .warp import bits_of

NOWHERE = 1 << 60


class StepLimit(Exception):
    """More instructions were executed than the launch allows."""


def run_batch(batch: Batch) -> None:
    """Run blocks to their ends."""
    launch = batch.launch
    while batch.alive.any():
        for group, quantum in launch.order.turns(batch.groups):
            advance(group, quantum)
        if not (batch.alive & ~batch.blocked).any() and batch.alive.any():
            release(batch)
    for group in batch.groups:
        if group.pending:
            lanes = np.concatenate([item.lanes for item in group.pending])
            group.pc = min(group.pc, len(launch.kernel.code) - 1)
            group.found("async", "the thread ends without waiting for its cp.async", lanes)


def pick(group: Group) -> tuple[int, Mask, int] | None:
    """The lowest instruction a lane can run, the lanes there, and the next higher instruction of the others."""
    runnable = group.alive & ~group.blocked
    if not runnable.any():
        return None
    pcs = np.where(runnable, group.pcs, NOWHERE)
    low = int(pcs.min())
    here = pcs == low
    if here.all():
        return low, None, NOWHERE
    return low, here, int(np.where(here, NOWHERE, pcs).min())


def advance(group: Group, quantum: int) -> None:
    """Execute at most `quantum` instructions, less where every lane waits or has ended."""
    while quantum > 0 and (picked := pick(group)):
        quantum -= _run(group, quantum, *picked)


def _run(group: Group, quantum: int, pc: int, mask: Mask, limit: int) -> int:
    """Execute the lanes `mask` until they part, wait, end or reach `limit`; returns the number of instructions."""
    launch = group.batch.launch
    operations, guards, counts, end = launch.operations, launch.guards, launch.executed, len(launch.operations)
    reached = launch.reached
    size = group.n if mask is None else int(np.count_nonzero(mask))
    steps, most = 0, min(quantum, launch.max_steps + 1 - launch.report.steps)
    while pc < limit and steps < most:
        if pc >= end:
            group.alive[slice(None) if mask is None else mask] = False
            break
        group.pc = pc
        reached[pc] = True
        steps += 1
        active, number = mask, size
        guard = guards[pc]
        if guard is not None:
            active, number = _guarded(group, guard, mask)
        counts[pc] += number
        operation = operations[pc]
        if operation.flow == "next":
            if number:
                operation.step(group, active)
            pc += 1
        elif not number:
            pc += 1
        elif operation.flow == "branch" and number == size and isinstance(operation.target, int):
            pc = operation.target
        elif operation.flow == "collective" and number == size and _everyone(group, operation, active):
            operation.step(group, active)
            pc += 1
        else:
            _part(group, operation, pc, mask, taking_part(group, active))
            break
    else:
        group.pcs[slice(None) if mask is None else mask] = pc
    launch.count_steps(steps)
    return max(steps, 1)


def taking_part(group: Group, mask: Mask) -> Array:
    return np.ones(group.n, bool) if mask is None else mask


def _guarded(group: Group, guard: tuple[int, bool], mask: Mask) -> tuple[Mask, int]:
    chosen = group.regs[guard[0]]
    if guard[1]:
        chosen = ~chosen
    if mask is not None:
        chosen = chosen & mask
    number = int(np.count_nonzero(chosen))
    return (None if number == group.n else chosen), number


def _everyone(group: Group, operation: Operation, active: Mask) -> bool:
    """All lanes of the group are here and asked for."""
    if active is not None:
        return False
    return operation.members is None or bool((operation.members(group) == 0xFFFFFFFF).all())


def _part(group: Group, operation: Operation, pc: int, mask: Mask, active: Array) -> None:
    """Lanes that go separate ways, end or wait."""
    group.pcs[slice(None) if mask is None else mask] = pc + 1
    if operation.flow == "branch":
        target = operation.target
        group.pcs[active] = target if isinstance(target, int) else target(group)[active]
    elif operation.flow == "exit":
        operation.step(group, active)
        group.alive[active] = False
    elif operation.flow == "barrier":
        _arrive(group, operation, pc, active)
    else:
        _meet(group, operation, pc, active)


def _arrive(group: Group, operation: Operation, pc: int, active: Array) -> None:
    """At a barrier of the block."""
    operation.step(group, active)
    batch, rows = group.batch, group.rows[active]
    if operation.barrier is None:
        raise AssertionError("a barrier without a number")
    batch.waiting_at[rows] = np.broadcast_to(operation.barrier(group), group.n)[active]
    batch.expected[rows] = (
        0 if operation.expected is None else np.broadcast_to(operation.expected(group), group.n)[active]
    )
    group.blocked[active] = True
    group.pcs[active] = pc


def _meet(group: Group, operation: Operation, pc: int, active: Array) -> None:
    """At a collective instruction: those whose named lanes are all here execute it, the others wait."""
    present = active | (group.blocked & (group.pcs == pc))
    own = group.specials["%lanemask_eq"]
    needed = np.repeat(bits_of(group.exists), WARP)
    if operation.members is not None:
        named = np.broadcast_to(operation.members(group), group.n)
        left_out = present & (named & own == 0)
        if left_out.any():
            group.found("collective", "executed by a lane that its member mask leaves out", np.flatnonzero(left_out))
        needed = needed & (named | own)
    ready = present & (needed & ~np.repeat(bits_of(present), WARP) == 0)
    waiting = present & ~ready
    group.blocked[waiting] = True
    group.pcs[waiting] = pc
    if ready.any():
        operation.step(group, None if ready.all() else ready)
        group.blocked[ready] = False
        group.pcs[ready] = pc + 1


def release(batch: Batch) -> None:
    """Every thread that is alive waits: open the barriers that are complete, or say why none is."""
    progress = False
    for block in range(len(batch.blocks)):
        rows = np.arange(block * batch.threads, (block + 1) * batch.threads)
        waiting = batch.waiting_at[rows]
        for number in np.unique(waiting[waiting >= 0]):
            here = rows[waiting == number]
            expected = int(batch.expected[here].max())
            if len(here) == (expected or int(batch.alive[rows].sum())):
                _check_barrier(batch, rows, here, bool(expected))
                _open(batch, block, here)
                progress = True
    batch.clocks.tick()
    if not progress:
        _deadlock(batch)


def _check_barrier(batch: Batch, rows: Array, here: Array, partial: bool) -> None:
    lines = np.unique(batch.pcs[here])
    code = batch.launch.kernel.code
    if len(lines) > 1:
        others = ", ".join(str(code[pc].line) for pc in lines[1:])
        _found(batch, here, "barrier", f"threads of one block wait at different barriers (also at line {others})")
    ended = int((batch.exists[rows] & ~batch.alive[rows]).sum())
    if ended and not partial:
        _found(batch, here, "barrier", f"a barrier of the whole block, but {ended} of its threads have ended")


def _open(batch: Batch, block: int, here: Array) -> None:
    batch.clocks.join(here)
    batch.tally[block] = np.count_nonzero(batch.votes[here]), len(here)
    batch.waiting_at[here] = -1
    batch.blocked[here] = False
    for group in batch.groups:
        inside = np.isin(group.rows, here)
        for pc in np.unique(group.pcs[inside]):
            finish = batch.launch.operations[pc].finish
            if finish is not None:
                finish(group, inside & (group.pcs == pc))
    batch.pcs[here] += 1


def _deadlock(batch: Batch) -> None:
    """Report what each waiting thread waits for, and end the threads."""
    for rows, what in ((batch.waiting_at >= 0, "barrier"), (batch.waiting_at < 0, "collective")):
        stuck = batch.alive & rows
        for pc in np.unique(batch.pcs[stuck]):
            here = np.flatnonzero(stuck & (batch.pcs == pc))
            missing = "threads of its block" if what == "barrier" else "lanes of its warp that it names"
            _found(batch, here, what, f"waits for {missing} that never come")
    batch.alive[:] = False


def _found(batch: Batch, rows: Array, kind: str, what: str) -> None:
    group = next(group for group in batch.groups if rows[0] in group.rows)
    group.pc = int(batch.pcs[rows[0]])
    inside = rows[np.isin(rows, group.rows)] - group.rows[0]
    group.found(kind, what, inside)
