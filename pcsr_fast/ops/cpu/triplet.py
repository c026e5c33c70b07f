"""Triplet losses on the native core (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cpu.search import search
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet import TripletParts


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the hardest-negative loss of x y^T in O(B) memory."""
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
    """As `supports`; only the hardest negative."""
    return supports(*tensors) or (None if negatives == "hardest" else f"negatives={negatives!r}: only 'hardest'")
