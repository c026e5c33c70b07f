"""Global memory: the buffers of a launch, from and to torch tensors and numpy arrays."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .memory import REGION, Access, Space
from .races import Hazard, Shadow
from .types import Array

GENERIC_ALIGNMENT = 512  # of what an allocator returns
FIRST = 1 << 32  # offset of a buffer within its region, so that it can grow downwards


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


@dataclass(frozen=True)
class Struct:
    """A parameter of plain data, laid out as in C.

    codes: of each member a letter of Python's `struct` ("P" for an address), or "S" for a struct within; values: numbers,
    structs, and of an address a buffer or None.
    """

    codes: str
    values: tuple[Buffer | Struct | int | float | None, ...]

    @property
    def alignment(self) -> int:
        return max(_alignment(code, value) for code, value in zip(self.codes, self.values, strict=True))

    def pack(self, address: Callable[[Buffer], int]) -> bytes:
        """`address` places a buffer."""
        data = b""
        for code, value in zip(self.codes, self.values, strict=True):
            data += bytes(-len(data) % _alignment(code, value))
            if isinstance(value, Struct):
                data += value.pack(address)
            elif isinstance(value, int | float | None):
                data += struct.pack(f"<{code.replace('P', 'Q')}", value or 0)
            else:
                data += struct.pack("<Q", address(value))
        return data + bytes(-len(data) % self.alignment)


def _alignment(code: str, value: object) -> int:
    return value.alignment if isinstance(value, Struct) else struct.calcsize(code)


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
    return buffer.reshape(-1).view(np.uint8), buffer.ctypes.data % 16


class Global(Space):
    """Every buffer of a launch in one array of bytes; `finish` copies back what was written."""

    name = "global"

    def __init__(self, granule: int) -> None:
        super().__init__(0, granule)
        self.buffers: list[tuple[str, Array]] = []
        self.initialised: list[bool] = []
        self.starts, self.sizes, self.first = [0], [0], [0]
        self.handed_over: set[int] = set()  # numbers of buffers

    def add(self, name: str, buffer: Buffer) -> int:
        """The address of its first element. Buffers that overlap are one, with the bounds of their union."""
        if isinstance(buffer, HandedOver):
            address = self.add(name, buffer.array)
            self.handed_over.add(address >> REGION)
            return address
        defined = not isinstance(buffer, Uninitialised)
        content, skew = bytes_of(buffer.array if isinstance(buffer, Uninitialised) else buffer)
        shared = [n for n, (_, old) in enumerate(self.buffers, 1) if len(content) and np.may_share_memory(old, content)]
        if len(shared) > 1:
            raise ValueError(f"launch: {name} overlaps several earlier arguments; expected it before them")
        if shared:
            return self._widen(shared[0], name, content, defined)
        self.buffers.append((name, content))
        self.initialised.append(defined)
        self.first.append(FIRST + skew)
        return (len(self.buffers) << REGION) + FIRST + skew

    def _widen(self, number: int, name: str, content: Array, defined: bool) -> int:
        """Buffer `number` takes in the bytes `content`; their address."""
        known, old = self.buffers[number - 1]
        low, start = old.ctypes.data, content.ctypes.data
        end = max(low + len(old), start + len(content))
        self.first[number] += min(start - low, 0)
        low = min(low, start)
        if (low, end - low) != (old.ctypes.data, len(old)):
            union = np.frombuffer((ctypes.c_uint8 * (end - low)).from_address(low), np.uint8)
            self.buffers[number - 1] = (f"{known} and {name}", union)
        self.initialised[number - 1] &= defined
        return (number << REGION) + self.first[number] + start - low

    def begin(self, threads: int, races: bool) -> None:
        """After all buffers were added: gather their bytes, 64 of nobody's and up to 15 more between them."""
        parts, states, end = [], [], 0
        for (_, content), defined, first in zip(self.buffers, self.initialised, self.first[1:], strict=True):
            before = 64 + first % 16
            after = -(end + before + len(content)) % 16
            self.starts.append(end + before)
            self.sizes.append(len(content))
            parts += [np.zeros(before, np.uint8), content, np.zeros(after, np.uint8)]
            states += [np.zeros(before, bool), np.full(len(content), defined), np.zeros(after, bool)]
            end += before + len(content) + after
        self.data = np.concatenate([*parts, np.zeros(16, np.uint8)])
        self.defined = np.concatenate([*states, np.zeros(16, bool)])[:: self.granule].copy()
        self.all_defined = all(self.initialised)
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
