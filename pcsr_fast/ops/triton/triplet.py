"""Triplet losses by Triton (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, supports
from pcsr_fast.ops.triton.hinge import hinge
from pcsr_fast.ops.triton.search import search
from pcsr_fast.reference.triplet import TripletParts


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: Any) -> str | None:
    """As `supports`; the largest few are not kept."""
    few = negatives.startswith("topk")
    return supports(*tensors) or (f"negatives={negatives!r}: only hardest, mean and sum" if few else None)


@on_device
def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T, in O(B) memory for the hardest negatives, else beside a chunk of scores."""
    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    exact = precision != "auto"
    if negatives != "hardest":
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        return TripletParts(*hinge(x, y, margin, margin_mode, negatives, groups, exact), none, none.clone())
    m = margin.detach().float()
    own = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    if m.ndim == 0 or margin_mode == "anchor":
        found, gap = search(x, y, groups, exact, own=own), m - own
    else:
        found, gap = search(x, y, groups, exact, m.contiguous(), margin_mode, own), -own
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)
