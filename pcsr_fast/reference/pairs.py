"""Per-sample mean-hinge losses of a whole set, the input of the clean / noisy split (METHODS 2.3; KERNELS 1, K2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.reference.negatives import negative_mask
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet import triplet_parts


class PairStatistics(NamedTuple):
    """Smallest, largest, mean and (population) variance of the losses, 0-d float64 tensors."""

    minimum: Tensor
    maximum: Tensor
    mean: Tensor
    variance: Tensor


class PairLosses(NamedTuple):
    """Losses (N,) of every pair, at least float32, and their statistics."""

    losses: Tensor
    statistics: PairStatistics


def pair_statistics(losses: Tensor) -> PairStatistics:
    """Statistics of losses (N,), N >= 1, in float64."""
    values = losses.to(torch.float64)
    variance, mean = torch.var_mean(values, correction=0)
    return PairStatistics(*values.aminmax(), mean, variance)


def block_edges(count: int, batch_size: int | None) -> list[int]:
    """Edges of nearly equal blocks of at most `batch_size`, one more where that spares a block of a single pair."""
    blocks = 1 if batch_size is None else -(-count // batch_size)
    if blocks > 1 and count // blocks < 2:
        blocks = max(1, count // 2)
    return [count * block // blocks for block in range(blocks + 1)]


def losses_of_blocks(
    losses: Tensor,
    batch_size: int | None,
    order: Tensor | None,
    groups: Tensor | None,
    losses_of: Callable[[Tensor | slice, Tensor | None], Tensor],
) -> PairLosses:
    """Fill `losses` (N,) block by block with what `losses_of` gives for a block's pairs and their ids.

    Pairs that lie side by side are named by a slice: nothing of them need be copied.
    """
    for first, last in itertools.pairwise(block_edges(losses.shape[0], batch_size)):
        pick: Tensor | slice = slice(first, last) if order is None or batch_size is None else order[first:last]
        losses[pick] = losses_of(pick, None if groups is None else groups[pick])
    return PairLosses(losses, pair_statistics(losses))


def _whole_set(x: Tensor, y: Tensor, margin: float, groups: Tensor | None, chunk: int) -> Tensor:
    """l_i = mean_j [m + S_ij - d_i]+ + mean_k [m + S_ki - d_i]+ over the whole set, by blocks of `chunk` images."""
    d = (x * y).sum(1)
    row, column = torch.empty_like(d), torch.zeros_like(d)
    ids = torch.arange(x.shape[0], device=x.device) if groups is None else groups
    for first in range(0, x.shape[0], chunk):
        here = slice(first, first + chunk)
        S = x[here] @ y.T
        masked = ~negative_mask(S, (ids[here], ids))
        row[here] = (margin + S - d[here, None]).relu().masked_fill(masked, 0.0).sum(1)
        column += (margin + S - d[None, :]).relu().masked_fill(masked, 0.0).sum(0)
    return (row + column) / x.shape[0]


def pair_losses(
    x: Tensor,
    y: Tensor,
    *,
    margin: float = 0.2,
    batch_size: int | None = None,
    order: Tensor | None = None,
    groups: Tensor | None = None,
    chunk: int = 1024,
) -> PairLosses:
    """Mean-hinge loss l_i of each pair (x_i, y_i) of x, y (N, D), as `triplet_loss(negatives="mean")` gives it.

    `batch_size` None: all other pairs are negatives, exactly, in O(chunk N) memory. Else the negatives are those of the
    pair's own block: `order` (N,) (a permutation, default as they lie) is cut into nearly equal blocks of at most
    `batch_size` (one more where a block would be left with a single pair, whose loss would be 0). `groups` (N,): pairs
    of one id are no negatives.
    Not differentiable.
    """
    with torch.no_grad():
        dtype = compute_dtype(x.dtype)
        if batch_size is None:
            losses = _whole_set(x.to(dtype), y.to(dtype), margin, groups, chunk)
            return PairLosses(losses, pair_statistics(losses))
        losses = torch.empty(x.shape[0], dtype=dtype, device=x.device)
        order = torch.arange(x.shape[0], device=x.device) if order is None else order

        def of_block(pick: Tensor | slice, ids: Tensor | None) -> Tensor:
            parts = triplet_parts(x[pick].to(dtype) @ y[pick].to(dtype).T, margin, "scalar", "mean", ids)
            return parts.row + parts.column

        return losses_of_blocks(losses, batch_size, order, groups, of_block)
