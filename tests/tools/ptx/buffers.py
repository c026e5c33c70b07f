"""Global memory: the buffers of a launch, from and to torch tensors and numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .memory import REGION, Access, Space
from .races import Hazard, Shadow
from .types import Array

GENERIC_ALIGNMENT = 512  # of what an allocator returns


@dataclass(frozen=True)
class Uninitialised:
    """An output: reading it before it was written is an error, as with fresh memory."""

    array: torch.Tensor | Array


@dataclass(frozen=True)
class HandedOver:
    """Blocks pass data to each other through it by fences and atomics, which are not modelled: what one block wrote and
    another uses is no hazard here."""

    array: torch.Tensor | Array | Uninitialised


Buffer = torch.Tensor | Array | Uninitialised | HandedOver


def bytes_of(buffer: torch.Tensor | Array) -> tuple[Array, int]:
    """The bytes from a buffer's first to its last element, to write through, and its alignment within its storage."""
    if isinstance(buffer, torch.Tensor):
        storage = torch.empty(0, dtype=torch.uint8).set_(buffer.untyped_storage())
        start = int(buffer.storage_offset()) * buffer.element_size()
        last = sum((size - 1) * stride for size, stride in zip(buffer.shape, buffer.stride(), strict=True))
        length = (last + 1) * buffer.element_size() if buffer.numel() else 0
        return storage.numpy()[start : start + length], start % GENERIC_ALIGNMENT
    if not buffer.flags["C_CONTIGUOUS"]:
        raise ValueError("launch: a numpy argument is not contiguous; pass a contiguous array or a torch tensor")
    return buffer.reshape(-1).view(np.uint8), 0


class Global(Space):
    """Every buffer of a launch in one array of bytes; `finish` copies back what was written."""

    name = "global"

    def __init__(self, granule: int) -> None:
        super().__init__(0, granule)
        self.buffers: list[tuple[str, Array]] = []
        self.starts, self.sizes, self.first = [0], [0], [0]
        self.parts: list[tuple[Array, bool]] = []
        self.handed_over: set[int] = set()  # numbers of buffers

    def add(self, name: str, buffer: Buffer) -> int:
        """The address of its first element. A buffer that was added before keeps its address."""
        if isinstance(buffer, HandedOver):
            address = self.add(name, buffer.array)
            self.handed_over.add(address >> REGION)
            return address
        defined = not isinstance(buffer, Uninitialised)
        content, skew = bytes_of(buffer.array if isinstance(buffer, Uninitialised) else buffer)
        for number, (known, old) in enumerate(self.buffers, 1):
            if not np.may_share_memory(old, content) or not len(content):
                continue
            if old.ctypes.data != content.ctypes.data or len(old) != len(content):
                raise ValueError(
                    f"launch: {name} and {known} overlap without being the same memory; expected disjoint ones"
                )
            return (number << REGION) + self.first[number]
        return self._place(name, content, skew, defined)

    def _place(self, name: str, content: Array, skew: int, defined: bool) -> int:
        self.buffers.append((name, content))
        end = sum(len(part) for part, _ in self.parts)
        padding = 64 + skew % 16
        self.parts += [(np.zeros(padding, np.uint8), False), (content, defined)]
        self.parts.append((np.zeros(-(end + padding + len(content)) % 16, np.uint8), False))
        self.starts.append(end + padding)
        self.sizes.append(len(content))
        self.first.append(skew)
        return (len(self.buffers) << REGION) + skew

    def begin(self, threads: int, races: bool) -> None:
        """After all buffers were added: gather their bytes."""
        self.data = np.concatenate([part for part, _ in self.parts] or [np.zeros(16, np.uint8)])
        states = [np.full(len(part), defined) for part, defined in self.parts] or [np.zeros(16, bool)]
        self.defined = np.concatenate(states)[:: self.granule].copy()
        self.all_defined = all(defined for _, defined in self.parts[1::3])
        self.shadow = Shadow(len(self.defined), threads) if races else None
        self.tables = [np.array([*table, 0], np.int64) for table in (self.starts, self.sizes, self.first)]

    def finish(self) -> None:
        for (_, content), start in zip(self.buffers, self.starts[1:], strict=True):
            new = self.data[start : start + len(content)]
            if not np.array_equal(content, new):
                content[:] = new

    def report(self, access: Access, found: list[Hazard]) -> None:
        """Without what other blocks did to buffers that are handed over."""
        if found and self.handed_over:
            exempt = np.isin(access.address >> REGION, list(self.handed_over))[:, None]
            for hazard in found:
                hazard.bad = hazard.bad & ~(exempt & hazard.foreign)
            found = [hazard for hazard in found if hazard.bad.any()]
        super().report(access, found)

    def locate(self, access: Access, width: int) -> tuple[Array, Array]:
        region = access.address >> REGION
        region = np.where((region < 0) | (region > len(self.buffers)), 0, region)
        starts, sizes, first = (table[region] for table in self.tables)
        offset = (access.address & ((1 << REGION) - 1)) - first
        return starts + offset, (offset >= 0) & (offset + width <= sizes)

    def describe(self, address: int, width: int) -> str:
        region, offset = address >> REGION, address & ((1 << REGION) - 1)
        if offset > 1 << (REGION - 1):  # before the first byte of the next buffer
            region, offset = region + 1, offset - (1 << REGION)
        if not 1 <= region <= len(self.buffers):
            return f"at global address {address:#x}, in no buffer"
        name, content = self.buffers[region - 1]
        return f"at byte {offset - self.first[region]} of {name} ({len(content)} bytes)"
