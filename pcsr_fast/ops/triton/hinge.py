"""Triplet losses with mean or sum of negatives by Triton, forward and backward (METHODS 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, sides

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.hinge import Margins


def _margins(margin: Tensor, margin_mode: str, count: int) -> Margins:
    from pcsr_fast.kernels.triton.hinge import Margins
    from pcsr_fast.kernels.triton.sweep import Shift

    m = margin.detach().float()
    if m.ndim == 0 or margin_mode == "anchor":
        return Margins(m.expand(count).contiguous(), Shift())
    return Margins(torch.zeros(count, device=m.device), Shift(margin_mode, m.contiguous()))


def hinge(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, exact: bool
) -> tuple[Tensor, Tensor]:
    """Row part and column part (B,) of the loss of x y^T in O(B) memory beside a chunk of scores."""
    from pcsr_fast.kernels.triton.hinge import hinge_sums
    from pcsr_fast.kernels.triton.launch_table import plan_for

    plan = plan_for("sums", x.dtype, x.device, exact)
    row, column = hinge_sums(sides(x, y, groups), _margins(margin, margin_mode, x.shape[0]), plan)
    share = x.shape[0] if negatives == "mean" else 1
    return row / share, column / share


@on_device
def hinge_gradient(
    by_row: Tensor,
    by_column: Tensor,
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx, dL/dy (B, D) and dL/dmargin from the upstream gradients (B,) of both parts."""
    from pcsr_fast.kernels.triton.hinge import hinge_gradients
    from pcsr_fast.kernels.triton.launch_table import plan_for

    share = 1 / x.shape[0] if negatives == "mean" else 1.0
    upstream = [part.float() * share for part in (by_row, by_column)]
    margins, plan = _margins(margin, margin_mode, x.shape[0]), plan_for("sums", x.dtype, x.device)
    found = hinge_gradients(sides(x, y, groups), margins, *upstream, plan, keep=margin.ndim == 2)
    of_margin = {"row": found.of_rows, "col": found.of_columns, "matrix": found.of_entries, "anchor": found.of_anchors}
    return found.dx, found.dy, found.of_anchors.sum() if margin.ndim == 0 else of_margin[margin_mode]
