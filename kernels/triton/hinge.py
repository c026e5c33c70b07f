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


class HingeSlopes(NamedTuple):
    """What all hinges of an anchor get, (N,); dL/dS without the diagonal summed over rows and columns, and itself where
    it was asked for."""

    of_anchors: Tensor
    of_rows: Tensor
    of_columns: Tensor
    of_entries: Tensor | None


def hinge_gradients(
    sides: Sides, margins: Margins, by_row: Tensor, by_column: Tensor, plan: Plan, keep: bool = False
) -> tuple[Tensor, Tensor, HingeSlopes]:
    """dL/dx, dL/dy of sum_i by_row_i (sum of row i's hinges) + by_column_i (sum of column i's); `keep` dL/dS."""
    gradients = Gradients(sides)
    slopes = _slopes(sides, margins, (by_row, by_column), plan._replace(schedule="chunked"), keep, gradients)
    gradients.dx.addcmul_(slopes.of_anchors[:, None], sides.y.float(), value=-1)
    gradients.dy.addcmul_(slopes.of_anchors[:, None], sides.x.float(), value=-1)
    return gradients.dx, gradients.dy, slopes


def hinge_score_gradients(
    sides: Sides, margins: Margins, by_row: Tensor, by_column: Tensor, plan: Plan
) -> tuple[Tensor, HingeSlopes]:
    """dL/dS (N, N) float32 of the same where scores are there, and what makes it."""
    slopes = _slopes(sides, margins, (by_row, by_column), plan, True, None)
    return slopes.of_entries - slopes.of_anchors.diag(), slopes


def _slopes(
    sides: Sides,
    margins: Margins,
    upstream: tuple[Tensor, Tensor],
    plan: Plan,
    keep: bool,
    gradients: Gradients | None,
) -> HingeSlopes:
    """The slopes of all blocks of scores, which are added to `gradients`; ready-made scores stay as they are."""
    gap = margins.of_anchors - own_scores(sides, plan)
    known = tuple(torch.stack([gap, weights]) for weights in upstream)
    counted, count = Sweep(HINGES, sides, plan), gap.shape[0]
    of_rows, of_columns = torch.empty_like(gap), torch.zeros_like(gap)
    entries = torch.empty(count, count, dtype=torch.float32, device=gap.device) if keep else None
    for rows, source in sources(sides, plan):
        counted.feed(rows, source, known, margins.shift)
        options = {"dtype": torch.float32 if gradients is None else sides.x.dtype, "spare": gradients is not None}
        slopes = slopes_of(HINGES, source.x, rows, counted.ids, known, plan, margins.shift, **options)
        if gradients is not None:
            gradients.add(rows, slopes)
        of_rows[rows] = slopes.sum(1, dtype=torch.float32)
        of_columns += slopes.sum(0, dtype=torch.float32)
        if entries is not None:
            entries[rows] = slopes
    row_state, column_state = counted.result()
    of_anchors = upstream[0] * row_state[1] + upstream[1] * column_state[1]
    return HingeSlopes(of_anchors, of_rows, of_columns, entries)
