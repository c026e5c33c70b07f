"""Per-sample losses of a whole set on the native core, also of inputs mapped from disk (KERNELS 1, K2)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.hinge import hinge
from pcsr_fast.reference.pairs import PairLosses, block_edges, pair_statistics
from pcsr_fast.reference.reduction import compute_dtype


def pair_losses(
    x: Tensor,
    y: Tensor,
    *,
    margin: float,
    batch_size: int | None,
    order: Tensor | None,
    groups: Tensor | None,
    chunk: int,
) -> PairLosses:
    """As the reference; inputs are read where they lie, a block at a time. `chunk` bounds nothing: little is held."""
    m = torch.tensor(margin, dtype=compute_dtype(x.dtype))
    if batch_size is None:
        row, column = hinge(x, y, m, "scalar", "mean", groups)
        losses = row + column
        return PairLosses(losses, pair_statistics(losses))
    losses = torch.empty(x.shape[0], dtype=m.dtype)
    for first, last in itertools.pairwise(block_edges(x.shape[0], batch_size)):
        pick: Tensor | slice = slice(first, last) if order is None else order[first:last]
        row, column = hinge(x[pick], y[pick], m, "scalar", "mean", None if groups is None else groups[pick])
        losses[pick] = row + column
    return PairLosses(losses, pair_statistics(losses))
