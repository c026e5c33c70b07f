"""Triplet losses with mean or sum of negatives by Triton, forward and backward (METHODS 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, score_sides, sides

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.hinge import HingeSlopes, Margins
    from pcsr_fast.kernels.triton.launch import Plan, Sides


def _margins(margin: Tensor, margin_mode: str, count: int) -> Margins:
    from pcsr_fast.kernels.triton.hinge import Margins
    from pcsr_fast.kernels.triton.sweep import Shift

    m = margin.detach().float()
    if m.ndim == 0 or margin_mode == "anchor":
        return Margins(m.expand(count).contiguous(), Shift())
    return Margins(torch.zeros(count, device=m.device), Shift(margin_mode, m.contiguous()))


def _margin_gradient(slopes: HingeSlopes, margin: Tensor, margin_mode: str) -> Tensor:
    """dL/dmargin."""
    of = {"row": slopes.of_rows, "col": slopes.of_columns, "matrix": slopes.of_entries, "anchor": slopes.of_anchors}
    found: Tensor = slopes.of_anchors.sum() if margin.ndim == 0 else of[margin_mode]
    return found


def _upstream(by_row: Tensor, by_column: Tensor, negatives: str) -> list[Tensor]:
    """Upstream gradients (B,) of sums of hinges from those of both parts."""
    share = 1 / by_row.shape[0] if negatives == "mean" else 1.0
    return [part.float() * share for part in (by_row, by_column)]


def hinge_parts(both: Sides, margin: Tensor, margin_mode: str, negatives: str, plan: Plan) -> tuple[Tensor, Tensor]:
    """Row part and column part (B,) of the loss in O(B) memory beside a chunk of scores."""
    from pcsr_fast.kernels.triton.hinge import hinge_sums

    count = both.x.shape[0]
    row, column = hinge_sums(both, _margins(margin, margin_mode, count), plan)
    share = count if negatives == "mean" else 1
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

    margins, plan = _margins(margin, margin_mode, x.shape[0]), plan_for("sums", x.dtype, x.device)
    upstream = _upstream(by_row, by_column, negatives)
    dx, dy, slopes = hinge_gradients(sides(x, y, groups), margins, *upstream, plan, keep=margin.ndim == 2)
    return dx, dy, _margin_gradient(slopes, margin, margin_mode)


@on_device
def hinge_score_gradient(
    by_row: Tensor,
    by_column: Tensor,
    S: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """dL/dS (B, B) and dL/dmargin from the upstream gradients (B,) of both parts."""
    from pcsr_fast.kernels.triton.hinge import hinge_score_gradients
    from pcsr_fast.kernels.triton.launch_table import reading_plan

    margins, upstream = _margins(margin, margin_mode, S.shape[0]), _upstream(by_row, by_column, negatives)
    dS, slopes = hinge_score_gradients(score_sides(S, groups), margins, *upstream, reading_plan(S.device))
    return dS, _margin_gradient(slopes, margin, margin_mode)
