"""The hardest negative of every image and every caption (METHODS 8; KERNELS 1, K1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.reference.negatives import Groups, negative_mask
from pcsr_fast.reference.reduction import compute_dtype


class HardestNegatives(NamedTuple):
    """Largest negative score of each row (N,) and column (M,) with its index int64; -inf and -1 where there is none."""

    row_values: Tensor
    row_indices: Tensor
    column_values: Tensor
    column_indices: Tensor


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups = None) -> HardestNegatives:
    """Search S = x y^T, x (N, D), y (M, D): max over captions of another id per image, and the other way round.

    `groups`: (N,) ids of both sides, or a pair ((N,), (M,)); None masks the diagonal and needs N = M.
    Equal scores: the lowest index. Not differentiable.
    """
    with torch.no_grad():
        dtype = compute_dtype(x.dtype)
        S = x.to(dtype) @ y.to(dtype).T
        S = S.masked_fill(~negative_mask(S, groups), -torch.inf)
        row_indices, column_indices = S.argmax(1), S.argmax(0)
        row_values = S.gather(1, row_indices[:, None])[:, 0]
        column_values = S.gather(0, column_indices[None, :])[0]
        return HardestNegatives(
            row_values,
            row_indices.masked_fill(row_values == -torch.inf, -1),
            column_values,
            column_indices.masked_fill(column_values == -torch.inf, -1),
        )
