"""Triplet losses by Triton (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, score_sides, sides, supports
from pcsr_fast.ops.triton.hinge import hinge_parts
from pcsr_fast.ops.triton.search import search, work_of
from pcsr_fast.reference.triplet import TripletParts

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.launch import Plan, Sides


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: Any) -> str | None:
    """As `supports`; the largest few are not kept."""
    few = negatives.startswith("topk")
    return supports(*tensors) or (f"negatives={negatives!r}: only hardest, mean and sum" if few else None)


def _parts(both: Sides, margin: Tensor, margin_mode: str, negatives: str, plans: Callable[[str], Plan]) -> TripletParts:
    """Both parts of the loss; plans: of a search, "shifted search" or "sums"."""
    count, device = both.x.shape[0], both.x.device
    if negatives != "hardest":
        none = torch.empty(0, dtype=torch.int64, device=device)
        return TripletParts(*hinge_parts(both, margin, margin_mode, negatives, plans("sums")), none, none.clone())
    m = margin.detach().float()
    own = torch.empty(count, dtype=torch.float32, device=device)
    if m.ndim == 0 or margin_mode == "anchor":
        found, gap = search(both, plans(work_of(both)), own=own), m - own
    else:
        found, gap = search(both, plans("shifted search"), m.contiguous(), margin_mode, own), -own
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)


@on_device
def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T, in O(B) memory for the hardest negatives, else beside a chunk of scores."""
    from pcsr_fast.kernels.triton.launch_table import plan_for

    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    plans = functools.partial(plan_for, dtype=x.dtype, device=x.device, exact=precision != "auto")
    return _parts(sides(x, y, groups), margin, margin_mode, negatives, plans)


@on_device
def triplet_from_scores(
    S: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> TripletParts:
    """Both parts of the loss of ready-made scores."""
    from pcsr_fast.kernels.triton.launch_table import reading_plan

    return _parts(score_sides(S, groups), margin, margin_mode, negatives, lambda work: reading_plan(S.device))
