"""Triplet losses on the native core (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cpu.hinge import hinge
from pcsr_fast.ops.cpu.search import search
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.selection import parse_negatives
from pcsr_fast.reference.triplet import TripletParts

MOST_TOP = 64


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T in O(B) memory."""
    if negatives != "hardest":
        x, y = at_precision(x, precision), at_precision(y, precision)
        none = torch.empty(0, dtype=torch.int64)
        return TripletParts(*hinge(x, y, margin, margin_mode, negatives, groups), none, none.clone())
    m = margin.to(compute_dtype(x.dtype))
    if m.ndim == 0 or margin_mode == "anchor":
        found, own = search(x, y, groups, precision)
        gap = m - own
    else:
        found, own = search(x, y, groups, precision, m, margin_mode)
        gap = -own
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: object) -> str | None:
    """As `supports`; lists of the largest scores are kept short."""
    _, top = parse_negatives(negatives)
    return supports(*tensors) or (f"negatives={negatives!r}: at most topk:{MOST_TOP}" if top > MOST_TOP else None)
