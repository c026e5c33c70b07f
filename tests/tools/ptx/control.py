"""Branches, ends and fences."""

from __future__ import annotations

import re

import numpy as np

from .instructions import Operation, Site, rule
from .operands import Name
from .state import Group, Mask
from .types import Array


def nothing(group: Group, mask: Mask) -> None:
    """Memory is sequential here, so fences have nothing to do; so have hints."""


def _number(site: Site, label: str) -> int:
    if label not in site.kernel.labels:
        raise site.error(f"the label {label} is not in the kernel")
    return site.kernel.labels[label]


@rule(r"bra(\.uni)?")
def branch(site: Site, match: re.Match[str]) -> Operation:
    label = site.operand(0)
    if not isinstance(label, Name):
        raise site.error("expected a label")
    return Operation(nothing, "branch", target=_number(site, label.name))


@rule(r"brx\.idx(\.uni)?")
def indexed_branch(site: Site, match: re.Match[str]) -> Operation:
    index, table = site.read(0, "u32"), site.operand(1)
    if not isinstance(table, Name) or table.name not in site.kernel.targets:
        raise site.error("expected the name of .branchtargets")
    numbers = np.array([_number(site, label) for label in site.kernel.targets[table.name]])

    def target(group: Group) -> Array:
        return np.broadcast_to(numbers[np.minimum(index(group), len(numbers) - 1)], group.n)

    return Operation(nothing, "branch", target=target)


@rule(r"ret(\.uni)?|exit|trap")
def leave(site: Site, match: re.Match[str]) -> Operation:
    def trapped(group: Group, mask: Mask) -> None:
        group.found("memory", "trap", group.lanes(mask))

    return Operation(trapped if match[0] == "trap" else nothing, "exit")


@rule(r"membar\.\w+|fence(\.\w+)*|nanosleep\.u32|prefetch\w*(\.\w+)*|griddepcontrol\.\w+|discard\S*")
def fence(site: Site, match: re.Match[str]) -> Operation:
    return Operation(nothing)
