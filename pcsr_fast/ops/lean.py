"""The "torch" backend: search for the hardest negatives without a graph, then gather (KERNELS 1, K1).

Scores are formed for a block of images at a time, so memory is O(block B) instead of several B x B matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups, negative_mask, split_groups
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet import TripletParts

BLOCK = 2048


def search(
    x: Tensor, y: Tensor, groups: Groups = None, by_row: Tensor | None = None, by_column: Tensor | None = None
) -> HardestNegatives:
    """Largest negative of x y^T + by_row[:, None] + by_column[None, :] per row and column, lowest index on ties."""
    pair = split_groups(groups)
    rows, columns = x.shape[0], y.shape[0]
    ids = pair or (torch.arange(rows, device=x.device), torch.arange(columns, device=x.device))
    row_values, row_indices = torch.empty_like(x[:, 0]), torch.empty(rows, dtype=torch.int64, device=x.device)
    column_values = torch.full_like(y[:, 0], -torch.inf)
    column_indices = torch.full((columns,), -1, dtype=torch.int64, device=x.device)
    for first in range(0, rows, BLOCK):
        here = slice(first, first + BLOCK)
        S = x[here] @ y.T
        if by_row is not None:
            S += by_row[here, None]
        if by_column is not None:
            S += by_column[None, :]
        S.masked_fill_(~negative_mask(S, (ids[0][here], ids[1])), -torch.inf)
        row_indices[here] = S.argmax(1)
        row_values[here] = S.gather(1, row_indices[here, None])[:, 0]
        index = S.argmax(0)
        values = S.gather(0, index[None, :])[0]
        better = values > column_values
        column_values = torch.where(better, values, column_values)
        column_indices = torch.where(better, index + first, column_indices)
    return HardestNegatives(
        row_values, row_indices.masked_fill(row_values == -torch.inf, -1), column_values, column_indices
    )


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups) -> HardestNegatives:
    """As the reference, by blocks."""
    dtype = compute_dtype(x.dtype)
    return search(x.to(dtype), y.to(dtype), groups)


def triplet_hardest(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> TripletParts:
    """Row and column parts of the hardest-negative loss; margin 0-d or (B,)."""
    dtype = compute_dtype(x.dtype)
    x, y, m = x.to(dtype), y.to(dtype), margin.to(dtype)
    shifted = m.ndim == 1 and margin_mode != "anchor"
    by_row = m if shifted and margin_mode == "row" else None
    by_column = m if shifted and margin_mode == "col" else None
    found = search(x, y, groups, by_row, by_column)
    # A margin that took part in the search is in the values already.
    gap = -(x * y).sum(1) + (0.0 if shifted else m)
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)


def supports_triplet(
    x: Tensor, y: Tensor, *, margin_mode: str = "anchor", negatives: str = "hardest", **options: object
) -> str | None:
    """Only the hardest negative, and no margin matrix (it would need what this backend avoids)."""
    if negatives != "hardest":
        return f"negatives={negatives!r}: only 'hardest'"
    return "margin_mode='matrix' needs the whole matrix" if margin_mode == "matrix" else None
