"""Problems of the searches and losses for the CUDA kernels, moved to the device under test."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.ops.searches import Sides
from tests.ops.tools import dot_bound, group_ids, make_pairs, rows_of
from tests.ops.triplets import Triplets, with_margin

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (1, 2, 63, 100, 127, 130, 257)
WIDTHS = (1, 33, 70, 128)
# By type: float32 on tensor cores in three parts, by plain multiply-adds, and halves.
ARITHMETICS = ((torch.float32, "auto"), (torch.float32, "exact"), (torch.bfloat16, "auto"), (torch.float16, "auto"))
ORDERS = ("forward", "reverse", "random:1", "random:2")


def make_sides(
    device: torch.device, rows: int, columns: int, width: int, dtype: torch.dtype, kind: str = "unit", seed: int = 0
) -> Sides:
    """Sides of unlike length with ids of about two each."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (rows, columns))
    ids = [group_ids("pairs", count, generator) for count in (rows, columns)]
    return Sides(x.to(device), y.to(device), tuple(side.to(device) for side in ids), kind == "integers")


def make_triplets(
    device: torch.device, size: int, width: int, dtype: torch.dtype, mode: str, negatives: str, kind: str = "unit"
) -> Triplets:
    """Pairs in small groups with margins of every shape."""
    made = with_margin(make_pairs(size + width, size, width, dtype, kind, "pairs"), mode, negatives, size)
    moved = {name: getattr(made, name).to(device) for name in ("x", "y", "margin", "groups")}
    return made._replace(**moved)


def score_bound(problem: Sides) -> Tensor:
    """How far a score may lie from the true one: any order of sums, and float32 as sums of two tf32 parts (2^-20)."""
    split = problem.x.double().abs() @ problem.y.double().abs().T * 2.0**-20
    return dot_bound(problem.x, problem.y) + (split if problem.x.dtype == torch.float32 else 0)
