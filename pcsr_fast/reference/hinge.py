"""The two hinge matrices of the triplet losses and their margins (METHODS 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.negatives import negative_mask
from pcsr_fast.reference.reduction import compute_dtype

MARGIN_MODES = ("scalar", "anchor", "row", "col", "matrix")
Margin = float | Tensor


def margin_matrices(margin: Margin, margin_mode: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Margins of cs and of ci, each broadcastable to (B, B); one number means the same in every mode.

    anchor: cs uses m_i, ci uses m_j. row: m_i in both. col: m_j in both. matrix: m_ij in both.
    """
    m = torch.as_tensor(margin, dtype=like.dtype, device=like.device)
    if m.ndim == 0 or margin_mode == "matrix":
        return m, m
    by_row, by_column = m[:, None], m[None, :]
    return {"anchor": (by_row, by_column), "row": (by_row, by_row), "col": (by_column, by_column)}[margin_mode]


def hinge_terms(
    S: Tensor, margin: Margin = 0.2, margin_mode: str = "anchor", groups: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """cs and ci (B, B), zero where the pair is no negative:

    cs_ij = [m + S_ij - S_ii]+ (image i anchors)        ci_ij = [m + S_ij - S_jj]+ (caption j anchors)
    """
    S = S.to(compute_dtype(S.dtype))
    masked = ~negative_mask(S, groups)
    d = S.diagonal()
    by_row, by_column = margin_matrices(margin, margin_mode, S)
    cs = (by_row + S - d[:, None]).relu().masked_fill(masked, 0.0)
    ci = (by_column + S - d[None, :]).relu().masked_fill(masked, 0.0)
    return cs, ci
