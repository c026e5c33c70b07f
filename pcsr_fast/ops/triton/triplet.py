"""Triplet losses by Triton (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import sides, supports
from pcsr_fast.ops.triton.search import search
from pcsr_fast.reference.triplet import TripletParts

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.hinge import Margins


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: Any) -> str | None:
    """As `supports`; the largest few are not kept."""
    few = negatives.startswith("topk")
    return supports(*tensors) or (f"negatives={negatives!r}: only hardest, mean and sum" if few else None)


def _margins(margin: Tensor, margin_mode: str, count: int) -> Margins:
    from pcsr_fast.kernels.triton.hinge import Margins
    from pcsr_fast.kernels.triton.sweep import Shift

    m = margin.detach().float()
    if m.ndim == 0 or margin_mode == "anchor":
        return Margins(m.expand(count).contiguous(), Shift())
    return Margins(torch.zeros(count, device=m.device), Shift(margin_mode, m.contiguous()))


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T in O(B) memory beside a chunk of scores."""
    m, count = margin.detach().float(), x.shape[0]
    if negatives == "hardest":
        by_anchor = m.ndim == 0 or margin_mode == "anchor"
        look = functools.partial(search, x, y, groups, precision)
        found, own = look() if by_anchor else look(m, margin_mode)
        gap = m - own if by_anchor else -own
        row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
        return TripletParts(row, column, found.row_indices, found.column_indices)
    from pcsr_fast.kernels.triton.hinge import hinge_sums
    from pcsr_fast.kernels.triton.launch_table import plan_for

    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    plan = plan_for("sums", x.dtype, x.device, exact=precision != "auto")
    parts = hinge_sums(sides(x, y, groups), _margins(margin, margin_mode, count), plan)
    row, column = (part / count if negatives == "mean" else part.clone() for part in parts)
    none = torch.empty(0, dtype=torch.int64, device=x.device)
    return TripletParts(row, column, none, none.clone())


def triplet_gradient(
    by_row: Tensor,
    by_column: Tensor,
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx, dL/dy (B, D) and dL/dmargin from the upstream gradients (B,) of both parts, for mean and sum."""
    from pcsr_fast.kernels.triton.hinge import hinge_gradients
    from pcsr_fast.kernels.triton.launch_table import plan_for

    share = 1 / x.shape[0] if negatives == "mean" else 1.0
    upstream = [part.float() * share for part in (by_row, by_column)]
    margins = _margins(margin, margin_mode, x.shape[0])
    plan = plan_for("sums", x.dtype, x.device)
    found = hinge_gradients(sides(x, y, groups), margins, *upstream, plan, keep=margin.ndim == 2)
    of_margin = {"row": found.of_rows, "col": found.of_columns, "matrix": found.of_entries, "anchor": found.of_anchors}
    dm = found.of_anchors.sum() if margin.ndim == 0 else of_margin[margin_mode]
    assert dm is not None
    return found.dx, found.dy, dm
