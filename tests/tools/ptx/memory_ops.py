"""Loads and stores of every space."""

from __future__ import annotations

import re

import numpy as np

from .instructions import Site, Step, rule
from .kernel import Kernel
from .memory import Access, Space
from .operands import Register, Sink
from .report import PTXError
from .state import Group, Mask, to_space
from .types import RAW, TYPES, Array, resize

HINTS = r"(?:\.(?:ca|cg|cs|lu|cv|nc|wb|wt|unified|L[12]::\w+(?:::\w+)?))*"
SPACES = r"(?:\.(?P<space>global|shared(?:::cta)?|local|const|param(?:::entry)?))?"


def space_of(group: Group, name: str) -> Space:
    batch = group.batch
    return {"shared": batch.shared, "local": batch.local}.get(name, batch.launch.memory)


def granules(kernel: Kernel) -> dict[str, int]:
    """The narrowest access of each space, in bytes, at most 16."""
    least = {"global": 16, "shared": 16, "local": 16}
    for instruction in kernel.code:
        parts = re.sub(r"::\w+", "", instruction.opcode).split(".")
        if parts[0] not in ("ld", "st", "atom", "red", "ldmatrix", "cp"):
            continue
        size = TYPES[parts[-1]].size if parts[-1] in TYPES else 4
        named = [name for name in least if name in parts]
        for name in named or ([] if "param" in parts or "const" in parts else least):
            least[name] = min(least[name], 4 if parts[0] == "ldmatrix" else size)
    return least


def _name(match: re.Match[str]) -> str | None:
    return match["space"].split("::")[0] if match["space"] else None


@rule(rf"ld{{order}}{SPACES}{{order}}{HINTS}(?:\.v(?P<count>[248]))?\.{{memory}}")
def load(site: Site, match: re.Match[str]) -> Step:
    kind, count, name = TYPES[match["type"]], int(match["count"] or 1), _name(match)
    items, address = site.items(0), site.address(1)
    if len(items) != count:
        raise site.error(f"expected {count} registers")
    for item in items:
        if not isinstance(item, Register | Sink) or (isinstance(item, Register) and item.size < kind.size):
            raise site.error("expected registers at least as wide as the type")

    def step(group: Group, mask: Mask) -> None:
        lanes = group.lanes(mask)
        values = _read(group, name, lanes, address(group)[lanes], kind.size, count)
        for index, item in enumerate(items):
            if isinstance(item, Register):
                bits = np.ascontiguousarray(values[:, index])
                group.put_at(item.slot, resize(bits, item.size, kind.signed), lanes)

    return step


def _read(group: Group, name: str | None, lanes: Array, address: Array, size: int, count: int) -> Array:
    if name == "param":
        return _parameters(group, address, size, count)
    if name is not None:
        return space_of(group, name).load(Access(group, lanes, address), size, count)
    result = np.zeros((len(lanes), count), RAW[size])
    for space, chosen, within in to_space(group, lanes, address):
        result[chosen] = space_of(group, space).load(Access(group, lanes[chosen], within), size, count)
    return result


def _parameters(group: Group, address: Array, size: int, count: int) -> Array:
    data = group.batch.launch.parameters
    if int(address.min()) < 0 or int(address.max()) + size * count > len(data):
        raise PTXError(f"kernel {group.batch.launch.kernel.name}: read outside of the parameters' {len(data)} bytes")
    return data[address[:, None] + np.arange(size * count)].view(RAW[size])


@rule(rf"st{{order}}{SPACES}{{order}}{HINTS}(?:\.v(?P<count>[248]))?\.{{memory}}")
def store(site: Site, match: re.Match[str]) -> Step:
    kind, count, name = TYPES[match["type"]], int(match["count"] or 1), _name(match)
    address, items = site.address(0), site.items(1)
    if len(items) != count or name in ("param", "const"):
        raise site.error(f"expected {count} registers and a space that can be written")
    bits = TYPES[f"b{8 * kind.size}"]
    reads = [site.raw(item, bits) for item in items]

    def step(group: Group, mask: Mask) -> None:
        lanes = group.lanes(mask)
        values = np.stack([np.broadcast_to(read(group), group.n)[lanes] for read in reads], 1)
        where = address(group)[lanes]
        if name is not None:
            space_of(group, name).store(Access(group, lanes, where), values)
            return
        for space, chosen, within in to_space(group, lanes, where):
            space_of(group, space).store(Access(group, lanes[chosen], within), values[chosen])

    return step
