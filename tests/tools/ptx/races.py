"""Which thread touched each byte last, and whether another access is ordered after it.

Time is a counter that grows by one at each synchronisation. `Clocks` holds, for each pair of threads of a block, the time up
to which the one's accesses are ordered before whatever the other does next: a barrier sets it for all pairs that took part.
A `Track` holds the last accesses of one kind to each cell of memory. Threads of different blocks are never ordered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Array

NOBODY, MANY, ACROSS = -1, -2, -3  # holders of a cell that are no thread: several of one block, of several blocks
WARP = 32


class Clocks:
    """Order between the threads of each block of a batch; `threads` is padded to whole warps.

    alive: of each thread of the batch, changed by its owner; what a warp has seen leaves out those that have ended.
    """

    def __init__(self, alive: Array, threads: int, start: int) -> None:
        blocks = len(alive) // threads
        self.alive, self.threads, self.now = alive.reshape(blocks, threads), threads, start
        self.seen = np.zeros((blocks * threads, threads), np.int32)
        self.warps_seen = np.zeros((blocks * threads, threads // WARP), np.int32)

    def join(self, rows: Array) -> None:
        """Threads of one block (rows are block * threads + thread) wait for each other."""
        columns = rows % self.threads
        known = self.seen[rows].max(0)
        known[columns] = self.now
        self.seen[rows] = known
        relevant = np.where(self.alive[rows[0] // self.threads], known, self.now)
        self.warps_seen[rows] = relevant.reshape(-1, WARP).min(1)

    def tick(self) -> None:
        self.now += 1


@dataclass
class Who:
    """The threads of an access. ids: number in the grid; rows: in the clocks; line: number of the instruction."""

    ids: Array
    rows: Array
    line: int
    clocks: Clocks


class Track:
    """Last accesses of one kind. With several unordered holders the time is kept for each warp."""

    def __init__(self, cells: int, threads: int, single: bool = False) -> None:
        self.threads, self.used = threads, False
        self.holder = np.full(cells, NOBODY, np.int32)
        self.stamp = np.zeros(cells, np.int32)
        self.line = np.zeros(cells, np.int32)
        self.block = np.zeros(0 if single else cells, np.int32)
        self.stamps = np.zeros((0 if single else cells, threads // WARP), np.int32)

    def unordered(self, cells: Array, who: Who) -> Array | None:
        """Cells (accesses, parts) whose last access may run at the same time as `who`'s; None where there are none."""
        if not self.used:
            return None
        held, me = self.holder[cells], who.ids[:, None]
        others = (held != NOBODY) & (held != me)
        if not others.any():
            return None
        rows, blocks = who.rows[:, None], me // self.threads
        bad = others & (
            (self.stamp[cells] > who.clocks.seen[rows, held % self.threads]) | (held // self.threads != blocks)
        )
        many = held == MANY
        if many.any():
            at = np.nonzero(many)
            inside, row = cells[at], who.rows[at[0]]
            late = (self.stamps[inside] > who.clocks.warps_seen[row]).any(1)
            bad[at] = late | (self.block[inside] != blocks[at[0], 0])
        bad |= held == ACROSS
        return bad if bad.any() else None

    def foreign(self, cells: Array, blocks: Array) -> Array:
        """Cells that another block than `blocks` holds, or several."""
        held = self.holder[cells]
        holders = np.where(held == MANY, self.block[cells] if len(self.block) else 0, held // self.threads)
        return (held == ACROSS) | (holders != blocks)

    def replace(self, cells: Array, who: Who) -> None:
        """From now on `who` is the only holder."""
        self.used = True
        self.holder[cells] = who.ids[:, None]
        self.stamp[cells] = who.clocks.now
        self.line[cells] = who.line

    def add(self, cells: Array, who: Who) -> None:
        """`who` holds the cells too, or alone where the others' accesses are ordered before this one."""
        bad = self.unordered(cells, who)
        me = np.broadcast_to(who.ids[:, None], cells.shape)
        blocks = me // self.threads
        if bad is None:
            self.holder[cells] = me
        else:
            across = (self.block[cells] != blocks) | (self.holder[cells] == ACROSS)
            self.holder[cells] = np.where(bad, np.where(across, ACROSS, MANY), me)
        self.used = True
        self._collide(cells, me, blocks)
        self.block[cells] = blocks
        self.stamp[cells] = who.clocks.now
        self.line[cells] = who.line
        self.stamps[cells, me % self.threads // WARP] = who.clocks.now

    def _collide(self, cells: Array, me: Array, blocks: Array) -> None:
        """Threads of this very access that meet in a cell: only the last one's number was kept."""
        kept = self.holder[cells]
        met = (kept >= 0) & (kept != me)
        if met.any():
            across = kept[met] // self.threads != blocks[met]
            self.holder[cells[met]] = MANY
            self.holder[cells[met][across]] = ACROSS

    def clear(self, cells: Array) -> None:
        if self.used:
            self.holder[cells] = NOBODY


@dataclass
class Hazard:
    """bad: (accesses, parts) in conflict. holder, line: of the earlier accesses; foreign: whether by another block."""

    kind: str
    bad: Array
    holder: Array
    line: Array
    foreign: Array


class Shadow:
    """Reads, writes and atomic accesses of a space; a cell is as many bytes as its narrowest access."""

    def __init__(self, cells: int, threads: int) -> None:
        self.writes = Track(cells, threads, single=True)
        self.reads = Track(cells, threads)
        self.atomics = Track(cells, threads)

    def _hazards(self, cells: Array, who: Who, kinds: tuple[tuple[str, Track], ...]) -> list[Hazard]:
        found = []
        for kind, track in kinds:
            bad = track.unordered(cells, who)
            if bad is not None:
                foreign = track.foreign(cells, who.ids[:, None] // track.threads)
                found.append(Hazard(kind, bad, track.holder[cells], track.line[cells], foreign))
        return found

    def read(self, cells: Array, who: Who) -> list[Hazard]:
        kinds = (("read after write", self.writes), ("read after write", self.atomics))
        found = self._hazards(cells, who, kinds)
        self.reads.add(cells, who)
        return found

    def before_write(self, cells: Array, who: Who) -> list[Hazard]:
        kinds = (
            ("write after write", self.writes),
            ("write after write", self.atomics),
            ("write after read", self.reads),
        )
        return self._hazards(cells, who, kinds)

    def write(self, cells: Array, who: Who) -> list[Hazard]:
        found = self.before_write(cells, who)
        self.writes.replace(cells, who)
        self.reads.clear(cells)
        self.atomics.clear(cells)
        return found

    def atomic(self, cells: Array, who: Who) -> list[Hazard]:
        """Atomic accesses conflict with plain ones only."""
        kinds = (("write after write", self.writes), ("write after read", self.reads))
        found = self._hazards(cells, who, kinds)
        self.atomics.add(cells, who)
        return found
