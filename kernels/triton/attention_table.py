"""Tiles of the cross-attention kernels, by architecture and dtype of products: a committed table, no tuning at run time.

Chosen by what the compiler says of registers, spills and shared memory; nobody has timed them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .groups import Tile
from .launch import interpreting
from .launch_table import ARCHITECTURES, architecture_of
from .sgr import Tiles


class Plan(NamedTuple):
    """Tiles of SCAN's kernel and of SGR's."""

    scan: Tile
    sgr: Tiles


_INTERPRETED = Tile(64, 64)
INTERPRETED = Plan(_INTERPRETED, Tiles(*[_INTERPRETED] * 4))


def _plain(precision: str) -> Plan:
    tile = Tile(64, 16, precision=precision)
    return Plan(tile, Tiles(tile, tile, tile, tile))


def _halves(tile: Tile) -> dict[str, Plan]:
    plan = Plan(tile, Tiles(tile, tile, tile, tile))
    return {"bfloat16": plan, "float16": plan}


TABLE: dict[int | str, dict[str, Plan]] = {
    architecture: {"float32": _plain("ieee"), "tf32x3": _plain("tf32x3")} | _halves(Tile(128, 64, stages=3))
    for architecture in (*ARCHITECTURES, "hip")
}


def plan_for(dtype: torch.dtype, device: torch.device, exact: bool) -> Plan:
    """The plan for products of `dtype`.

    float32 is multiplied as such, or unless `exact` as torch.set_float32_matmul_precision allows.
    """
    if interpreting():
        return INTERPRETED
    name = str(dtype).removeprefix("torch.")
    if name == "float32" and not exact and torch.get_float32_matmul_precision() != "highest":
        name = "tf32x3"
    return TABLE[architecture_of(device)][name]
