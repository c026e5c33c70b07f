"""Tiles of the cross-attention kernels, by architecture and dtype of products: a committed table, no tuning at run time.

Chosen by what the compiler says of registers, spills and shared memory; nobody has timed them (tuned.py).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .groups import Tile
from .launch import interpreting
from .launch_table import architecture_of
from .sgr import Tiles
from .tuned import HEADS, measured


class Plan(NamedTuple):
    """Tiles of SCAN's kernel and of SGR's."""

    scan: Tile
    sgr: Tiles


_INTERPRETED = Tile(64, 64)
INTERPRETED = Plan(_INTERPRETED, Tiles(*[_INTERPRETED] * 4))

_SMALL, _SPLIT = Tile(64, 16), Tile(64, 16, columns=128, precision="tf32x3")
_PLAIN = {
    "float32": Plan(_SMALL, Tiles(_SMALL, _SMALL, _SMALL, _SMALL)),
    "tf32x3": Plan(_SPLIT, Tiles(_SPLIT, _SPLIT, _SPLIT, _SPLIT)),
}
_LARGE, _MIDDLE = Tile(128, 64, stages=3), Tile(64, 64)
_AMD = Tile(64, 32)
_HALF = {
    80: Plan(_LARGE, Tiles(_MIDDLE, _MIDDLE, Tile(128, 32), _LARGE)),
    90: Plan(_LARGE, Tiles(_LARGE, _LARGE, _LARGE, _LARGE)),
    "hip": Plan(_AMD, Tiles(_AMD, _AMD, _AMD, _AMD)),
}
_HALF[100] = _HALF[90]
# "tf32x3" are float32 inputs as three products on tensor cores.
TABLE: dict[int | str, dict[str, Plan]] = {
    architecture: _PLAIN | {"bfloat16": plan, "float16": plan} for architecture, plan in _HALF.items()
}
TABLE["hip"]["tf32x3"] = _PLAIN["float32"]
# Nothing else that was tried keeps the local nodes in registers.
TABLE[80]["tf32x3"] = Plan(
    _SPLIT, Tiles(_SPLIT._replace(columns=64, stages=1), _SPLIT._replace(rows=32), _SPLIT, _SPLIT)
)


def plan_for(dtype: torch.dtype, device: torch.device, exact: bool) -> Plan:
    """The plan for products of `dtype`.

    float32 is multiplied as such, or unless `exact` as torch.set_float32_matmul_precision allows.
    """
    if interpreting():
        return INTERPRETED
    name = str(dtype).removeprefix("torch.")
    if name == "float32" and not exact and torch.get_float32_matmul_precision() != "highest":
        name = "tf32x3"
    plan = TABLE[architecture_of(device)][name]

    def tile(kernel: str, committed: Tile) -> Tile:
        found = measured(device, HEADS, kernel, name)
        return Tile(**found) if found else committed

    sgr = (tile(f"sgr {kernel}", committed) for kernel, committed in plan.sgr._asdict().items())
    return Plan(tile("scan", plan.scan), Tiles(*sgr))
