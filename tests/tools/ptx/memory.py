"""Memory spaces: bounds, alignment, definedness and races of each access, and the bytes themselves.

Global buffers lie 2^40 bytes apart, so an address outside of its buffer is in no other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .races import Hazard, Shadow, Who
from .types import RAW, Array

if TYPE_CHECKING:
    from .state import Group

POISON = 0xCD
REGION = 40  # bits of an address within one global buffer
SHARED_WINDOW, LOCAL_WINDOW = 1 << 60, 1 << 61  # of generic addresses


@dataclass
class Access:
    """Some lanes of a group at one instruction. lanes: their numbers; address: of each, within the space."""

    group: Group
    lanes: Array
    address: Array

    def only(self, kept: Array) -> Access:
        return Access(self.group, self.lanes[kept], self.address[kept])

    def who(self) -> Who:
        group = self.group
        return Who(group.ids[self.lanes], group.rows[self.lanes], group.pc, group.batch.clocks)


class Space:
    """Bytes with checks. A cell of `granule` bytes is what definedness and races are kept for."""

    name = "?"
    shadow: Shadow | None = None

    def __init__(self, size: int, granule: int) -> None:
        self.data = np.full(-(-size // 16) * 16, POISON, np.uint8)
        self.granule = granule
        self.defined = np.zeros(len(self.data) // granule, bool)
        self.all_defined = False

    def locate(self, access: Access, width: int) -> tuple[Array, Array]:
        """Place in `data` of each lane's bytes, and whether they are inside of the space."""
        raise NotImplementedError  # global, shared and local memory are addressed each in its own way

    def describe(self, address: int, width: int) -> str:
        """What lies there, for a report."""
        raise NotImplementedError  # as `locate`

    def view(self, size: int, count: int) -> Array:
        """(all, count) elements of `size` bytes."""
        return self.data.view(RAW[size]).reshape(-1, count)

    def checked(self, access: Access, width: int, verb: str) -> tuple[Access, Array, Array | None]:
        """Lanes that may proceed and the place of their bytes; which they are, or None for all of them."""
        place, inside = self.locate(access, width)
        aligned = access.address & (width - 1) == 0
        kept = inside & aligned
        if kept.all():
            return access, place, None
        for bad, what in (
            (~inside, "{verb} of {width} bytes {place}"),
            (inside & ~aligned, "misaligned {verb}: {place}"),
        ):
            if bad.any():
                address = int(access.address[bad][0])
                text = what.format(verb=verb, width=width, place=self.describe(address, width))
                access.group.found("memory", text, access.lanes[bad], address)
        return access.only(kept), place[kept], kept

    def cells(self, place: Array, width: int) -> Array:
        """(lanes, parts): the cells that `width` bytes cover."""
        first = place // self.granule
        return first[:, None] if width <= self.granule else first[:, None] + np.arange(width // self.granule)

    def load(self, access: Access, size: int, count: int) -> Array:
        """(lanes, count) raw elements; poison where a lane's access is refused."""
        width, total = size * count, len(access.lanes)
        access, place, kept = self.checked(access, width, "read")
        cells = self.cells(place, width)
        self.settled(access, cells, "read")
        self.require_defined(access, cells)
        if self.shadow is not None:
            self.report(access, self.shadow.read(cells, access.who()))
        values = self.view(size, count)[place // width]
        if kept is None:
            return values
        result = np.full((total, width), POISON, np.uint8).view(RAW[size])
        result[kept] = values
        return result

    def store(self, access: Access, values: Array) -> None:
        """values: (lanes, count) raw elements."""
        size, count = values.dtype.itemsize, values.shape[1]
        width = size * count
        access, place, kept = self.checked(access, width, "write")
        values = values if kept is None else values[kept]
        cells, memory = self.cells(place, width), self.view(size, count)
        self.settled(access, cells, "written")
        if self.shadow is not None:
            found = self.shadow.write(cells, access.who())
            if found:
                self.report(access, self._harmful(found, np.not_equal(memory[place // width], values)))
        memory[place // width] = values
        self.defined[cells] = True
        if self.shadow is not None:
            lost = (memory[place // width] != values).any(1)
            if lost.any():
                text = "threads of one instruction write different values to the same address"
                access.group.found(
                    "write after write", text, access.lanes[lost], int(access.address[lost][0]), hazard=True
                )

    def settled(self, access: Access, cells: Array, verb: str) -> None:
        """Report cells that an asynchronous copy has yet to write."""

    def _harmful(self, found: list[Hazard], differs: Array) -> list[Hazard]:
        """Without writes of the value that is there already."""
        for hazard in found:
            if hazard.kind == "write after write":
                hazard.bad = hazard.bad & differs.any(axis=1, keepdims=True)
        return [hazard for hazard in found if hazard.bad.any()]

    def require_defined(self, access: Access, cells: Array) -> None:
        if self.all_defined:
            return
        bad = ~self.defined[cells].all(1)
        if bad.any():
            address = int(access.address[bad][0])
            text = f"read of {self.name} memory that nothing was written to: {self.describe(address, 1)}"
            access.group.found("uninitialised", text, access.lanes[bad], address)

    def report(self, access: Access, found: list[Hazard]) -> None:
        for hazard in found:
            lane, part = (int(at[0]) for at in np.nonzero(hazard.bad))
            group, launch = access.group, access.group.batch.launch
            holder, line = int(hazard.holder[lane, part]), launch.kernel.code[hazard.line[lane, part]].line
            before = f"thread {holder % launch.padded}" if holder >= 0 else "threads"
            block = f" of block {holder // launch.padded}" if holder >= 0 and len(launch.blocks) > 1 else ""
            address = int(access.address[lane]) + part * self.granule
            text = f"{self.name} address {address:#x}, last used by {before}{block} at line {line}, no barrier between"
            group.found(hazard.kind, text, access.lanes[hazard.bad.any(1)], address, hazard=True)


class Shared(Space):
    """Shared memory of the blocks of a batch, one after the other.

    flight: instruction + 1 of the cp.async that is yet to write a cell, or 0; flying: whether there is any.
    """

    name = "shared"

    def __init__(self, size: int, blocks: int, threads: int, granule: int, races: bool) -> None:
        self.size, self.stride = size, -(-size // 16) * 16
        super().__init__(self.stride * blocks, granule)
        self.shadow = Shadow(len(self.defined), threads) if races else None
        self.flight = np.zeros(len(self.defined), np.int32)
        self.flying = False

    def settled(self, access: Access, cells: Array, verb: str) -> None:
        if not self.flying:
            return
        bad = (self.flight[cells] != 0).any(1)
        if bad.any():
            group, address = access.group, int(access.address[bad][0])
            line = group.batch.launch.kernel.code[int(self.flight[cells[bad]].max()) - 1].line
            text = f"shared address {address:#x} is {verb} while the cp.async of line {line} may still write it"
            group.found("in flight", text, access.lanes[bad], address, hazard=True)

    def locate(self, access: Access, width: int) -> tuple[Array, Array]:
        address = access.address
        return access.group.block[access.lanes] * self.stride + address, (address >= 0) & (address + width <= self.size)

    def describe(self, address: int, width: int) -> str:
        return f"at shared address {address:#x} of {self.size} bytes"


class Local(Space):
    """Local memory of each thread of a batch."""

    name = "local"

    def __init__(self, size: int, threads: int, granule: int) -> None:
        self.size, self.stride = size, -(-size // 16) * 16
        super().__init__(self.stride * threads, granule)

    def locate(self, access: Access, width: int) -> tuple[Array, Array]:
        address = access.address
        return access.group.rows[access.lanes] * self.stride + address, (address >= 0) & (address + width <= self.size)

    def describe(self, address: int, width: int) -> str:
        return f"at local address {address:#x} of {self.size} bytes"
