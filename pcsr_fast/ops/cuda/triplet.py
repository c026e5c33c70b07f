"""Triplet losses by CUDA kernels (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.triplet import hardest_parts
from pcsr_fast.ops.cuda.arguments import supports
from pcsr_fast.ops.cuda.hinge import hinge_sums
from pcsr_fast.ops.cuda.search import search
from pcsr_fast.reference.triplet import TripletParts


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T in O(B) memory."""
    if negatives != "hardest":
        factor = 1 / x.shape[0] if negatives == "mean" else 1.0
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        return TripletParts(*hinge_sums(x, y, margin, margin_mode, groups, precision, factor), none, none.clone())
    return hardest_parts(functools.partial(search, x, y, groups, precision), margin.float(), margin_mode)


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: Any) -> str | None:
    """As `supports`, for all but the k largest negatives."""
    able = negatives in ("hardest", "mean", "sum")
    return supports(*tensors, **options) or (None if able else f"negatives={negatives!r}: only hardest, mean or sum")
