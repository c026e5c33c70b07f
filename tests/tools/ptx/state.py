"""Threads and their registers: a batch of blocks, and the groups of warps that run together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import LOCAL_WINDOW, SHARED_WINDOW, Local, Shared
from .races import WARP, Clocks
from .report import Finding
from .types import RAW, Array

if TYPE_CHECKING:
    from .launch import Launch

Mask = Array | None  # lanes of a group that take part; None is all of them
POISON = 0xDEADBEEFDEADBEEF


@dataclass
class Copy:
    """A cp.async that is not finished.

    lanes: of the group; place: in the batch's shared memory; data: (lanes, words); number: commit group of each.
    """

    lanes: Array
    place: Array
    address: Array
    data: Array
    number: Array


class Batch:
    """Blocks that run at the same time. Threads of a block are padded to whole warps; padding never runs."""

    def __init__(self, launch: Launch, blocks: list[int]) -> None:
        self.launch, self.blocks, self.threads = launch, blocks, launch.padded
        kernel, total = launch.kernel, len(blocks) * launch.padded
        self.shared = Shared(launch.shared_size, len(blocks), self.threads, launch.granules["shared"], launch.races)
        self.local = Local(kernel.sizes.get("local", 0), total, launch.granules["local"])
        thread = np.arange(total) % launch.padded
        self.exists = thread < launch.threads
        self.alive = self.exists.copy()
        self.clocks = Clocks(self.alive, self.threads, launch.now)
        self.blocked = np.zeros(total, bool)
        self.pcs = np.zeros(total, np.int64)  # where each thread that does not run continues
        self.waiting_at = np.full(total, -1, np.int64)  # barrier number of each waiting thread
        self.expected = np.zeros(total, np.int64)  # threads at that barrier, 0 for all of the block
        self.votes = np.zeros(total, bool)  # of bar.red
        self.tally = np.zeros((len(blocks), 2), np.int64)  # votes for, votes
        width = total if launch.together else WARP
        self.groups = [Group(self, first, width) for first in range(0, total, width)]


class Group:
    """Consecutive warps of a batch with one list of registers.

    n: threads; rows: their numbers in the batch; thread: in the (padded) block; block: of the batch; ids: in the grid.
    pc: instruction that runs now. `alive`, `blocked` and `pcs` are its part of the batch's.
    """

    def __init__(self, batch: Batch, first: int, n: int) -> None:
        self.batch, self.n = batch, n
        self.rows = np.arange(first, first + n)
        self.thread = self.rows % batch.threads
        self.block = self.rows // batch.threads
        self.numbers = np.array(batch.blocks)[self.block]  # of each thread's block in the grid
        self.ids = self.numbers * batch.threads + self.thread
        self.lane = self.rows % WARP
        own = slice(first, first + n)
        self.exists, self.alive = batch.exists[own], batch.alive[own]
        self.blocked, self.pcs = batch.blocked[own], batch.pcs[own]
        self.pc = 0
        self.carry = np.zeros(n, np.uint32)
        self.everyone = np.arange(n)
        poison = {size: np.full(n, POISON & ((1 << 8 * size) - 1), RAW[size]) for size in RAW}
        poison[0] = np.zeros(n, bool)
        self.regs: list[Array] = [poison[size] for size in batch.launch.kernel.registers]
        self.pending: list[Copy] = []
        self.committed = np.zeros(n, np.int64)  # groups of them
        self.specials = self._specials()

    def _specials(self) -> dict[str, Array]:
        launch = self.batch.launch
        values: dict[str, Any] = {"laneid": self.lane, "warpid": self.thread // WARP, "nwarpid": launch.padded // WARP}
        number, thread = self.numbers, self.thread
        for axis, size, blocks in zip("xyz", launch.block, launch.grid, strict=True):
            values |= {f"tid.{axis}": thread % size, f"ntid.{axis}": size}
            values |= {f"ctaid.{axis}": number % blocks, f"nctaid.{axis}": blocks}
            thread, number = thread // size, number // blocks
        bit = np.uint64(1) << self.lane.astype(np.uint64)
        below = bit - np.uint64(1)
        values |= {"lanemask_eq": bit, "lanemask_lt": below, "lanemask_le": bit | below}
        values |= {"lanemask_gt": ~(bit | below), "lanemask_ge": ~below}
        return {f"%{name}": np.broadcast_to(value, self.n).astype(np.uint32) for name, value in values.items()}

    def special(self, name: str) -> Array:
        if name in self.specials:
            return self.specials[name]
        steps = self.batch.launch.report.steps  # the clocks count instructions
        return np.full(self.n, 0 if name == "%clock_hi" else steps, np.uint32 if name[-2:] != "64" else np.uint64)

    def symbol(self, name: str) -> int:
        """Address of a variable within its space."""
        launch = self.batch.launch
        if name in launch.kernel.dynamic:
            return launch.static_shared
        if name in launch.addresses:
            return launch.addresses[name]
        return launch.kernel.variables[name].offset

    def put(self, slot: int, bits: Array, mask: Mask) -> None:
        if bits.shape[0] != self.n:
            bits = np.repeat(bits, self.n)
        self.regs[slot] = bits if mask is None else np.where(mask, bits, self.regs[slot])

    def put_at(self, slot: int, bits: Array, lanes: Array) -> None:
        """Bits of some lanes only, in their order."""
        if len(lanes) == self.n:
            self.regs[slot] = bits
            return
        new = self.regs[slot].copy()
        new[lanes] = bits
        self.regs[slot] = new

    def lanes(self, mask: Mask) -> Array:
        return self.everyone if mask is None else np.flatnonzero(mask)

    def found(self, kind: str, what: str, lanes: Array, address: int = -1, hazard: bool = False) -> None:
        """Report a fault of the instruction at `pc`."""
        launch, number = self.batch.launch, int(self.numbers[lanes[0]])
        instruction = launch.kernel.code[self.pc]
        threads = tuple(int(thread) for thread in self.thread[lanes[self.numbers[lanes] == number][:8]])
        place = (instruction.line, instruction.text, instruction.source, launch.coordinates(number), threads)
        launch.report.add(Finding(kind, launch.kernel.name, *place, address, what, len(lanes)), hazard)


def to_space(group: Group, lanes: Array, address: Array) -> list[tuple[str, Array, Array]]:
    """Generic addresses by space: its name, which of `lanes` they are, the addresses within it."""
    shared = (address >= SHARED_WINDOW) & (address < LOCAL_WINDOW)
    local = address >= LOCAL_WINDOW
    parts = (("shared", shared, SHARED_WINDOW), ("local", local, LOCAL_WINDOW), ("global", ~(shared | local), 0))
    return [(name, chosen, address[chosen] - window) for name, chosen, window in parts if chosen.any()]
