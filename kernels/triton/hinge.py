"""Sums of hinges over negatives and their gradients, O(N) memory beside a chunk of scores (METHODS 2.2; KERNELS 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .launch import Plan, Sides, sources
from .search import own_scores
from .slopes import Gradients, slopes_of
from .sweep import Gathered, Shift, Sweep, sweep

HINGES = Gathered("hinge")


class Margins(NamedTuple):
    """Margins (N,) of every anchor, zero where they are the shift's."""

    of_anchors: Tensor
    shift: Shift


def hinge_sums(sides: Sides, margins: Margins, plan: Plan) -> tuple[Tensor, Tensor]:
    """sum_j [m + s_ij - s_ii]+ of every row and sum_i [m + s_ij - s_jj]+ of every column (N,), over negatives."""
    gap = (margins.of_anchors - own_scores(sides, plan))[None]
    rows, columns = sweep(HINGES, sides, plan, (gap, gap), margins.shift)
    return rows[0], columns[0]


class HingeGradients(NamedTuple):
    """dL/dx, dL/dy; what all hinges of an anchor get, (N,); dL/dS without the diagonal summed over rows and columns,
    and itself where it was asked for."""

    dx: Tensor
    dy: Tensor
    of_anchors: Tensor
    of_rows: Tensor
    of_columns: Tensor
    of_entries: Tensor | None


def hinge_gradients(
    sides: Sides, margins: Margins, by_row: Tensor, by_column: Tensor, plan: Plan, keep: bool = False
) -> HingeGradients:
    """Gradients of sum_i by_row_i (sum of row i's hinges) + by_column_i (sum of column i's); `keep` dL/dS."""
    plan = plan._replace(schedule="chunked")
    gap = margins.of_anchors - own_scores(sides, plan)
    known = (torch.stack([gap, by_row]), torch.stack([gap, by_column]))
    counted, gradients = Sweep(HINGES, sides, plan), Gradients(sides)
    ids = counted.ids
    count = sides.x.shape[0]
    of_rows, of_columns = torch.empty_like(gap), torch.zeros_like(gap)
    entries = torch.empty(count, count, dtype=torch.float32, device=gap.device) if keep else None
    for rows, source in sources(sides, plan):
        counted.feed(rows, source, known, margins.shift)
        slopes = slopes_of(HINGES, source.x, rows, ids, known, plan, margins.shift, dtype=sides.x.dtype)
        gradients.add(rows, slopes)
        of_rows[rows] = slopes.sum(1, dtype=torch.float32)
        of_columns += slopes.sum(0, dtype=torch.float32)
        if entries is not None:
            entries[rows] = slopes
    row_state, column_state = counted.result()
    of_anchors = by_row * row_state[1] + by_column * column_state[1]
    gradients.dx.addcmul_(of_anchors[:, None], sides.y.float(), value=-1)
    gradients.dy.addcmul_(of_anchors[:, None], sides.x.float(), value=-1)
    return HingeGradients(gradients.dx, gradients.dy, of_anchors, of_rows, of_columns, entries)
