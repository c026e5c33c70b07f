"""The "torch" backend: search for the hardest negatives without a graph, then gather (KERNELS 1, K1).

From embeddings, scores are formed for a block of images at a time: O(block B) memory instead of several B x B matrices.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.hinge import margin_matrices
from pcsr_fast.reference.negatives import Groups, negative_mask, split_groups
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet import TripletParts

BLOCK = 2048


def _search(
    scores: Callable[[slice], Tensor], like: Tensor, rows: int, columns: int, groups: Groups
) -> HardestNegatives:
    """Largest negative per row and column of scores formed by `scores(block of rows)`; the lowest index on ties."""
    here = torch.arange(max(rows, columns), device=like.device)
    row_ids, column_ids = split_groups(groups) or (here[:rows], here[:columns])
    row_values, row_indices = like.new_empty(rows), here.new_empty(rows)
    column_values, column_indices = like.new_full((columns,), -torch.inf), here.new_full((columns,), -1)
    for first in range(0, rows, BLOCK):
        block = slice(first, min(first + BLOCK, rows))
        S = scores(block)
        S.masked_fill_(~negative_mask(S, (row_ids[block], column_ids)), -torch.inf)
        row_indices[block] = S.argmax(1)
        row_values[block] = S.gather(1, row_indices[block, None])[:, 0]
        index = S.argmax(0)
        values = S.gather(0, index[None, :])[0]
        better = values > column_values
        column_values = torch.where(better, values, column_values)
        column_indices = torch.where(better, index + first, column_indices)
    row_indices.masked_fill_(row_values == -torch.inf, -1)
    return HardestNegatives(row_values, row_indices, column_values, column_indices)


def _parts(
    scores: Callable[[slice], Tensor], own: Tensor, margin: Tensor, margin_mode: str, groups: Tensor | None
) -> TripletParts:
    """Row and column parts of the hardest-negative loss from scores by blocks and the pairs' own scores (B,)."""
    count, m = own.shape[0], margin.to(own.dtype)
    if m.ndim == 0 or margin_mode == "anchor":
        found, gap = _search(scores, own, count, count, groups), m - own
    else:
        shift = margin_matrices(m, margin_mode, own)[0].expand(count, count)
        found, gap = _search(lambda block: scores(block).add_(shift[block]), own, count, count, groups), -own
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, by blocks."""
    x, columns = at_precision(x, precision), at_precision(y, precision).T
    return _search(lambda block: x[block] @ columns, x, x.shape[0], columns.shape[1], groups)


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T, by blocks."""
    x, y = at_precision(x, precision), at_precision(y, precision)
    return _parts(lambda block: x[block] @ y.T, (x * y).sum(1), margin, margin_mode, groups)


def triplet_from_scores(
    scores: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> TripletParts:
    """Both parts of the loss of ready-made scores, copying a block at a time."""
    dtype = compute_dtype(scores.dtype)
    own = scores.diagonal().to(dtype)
    return _parts(lambda block: scores[block].to(dtype, copy=True), own, margin, margin_mode, groups)


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: object) -> str | None:
    """Only the hardest negative can be gathered."""
    return None if negatives == "hardest" else f"negatives={negatives!r}: only 'hardest'"
