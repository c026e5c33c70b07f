"""Per-sample losses of a whole set on the native core, also of inputs mapped from disk (KERNELS 1, K2)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.hinge import hinge
from pcsr_fast.reference.pairs import PairLosses, losses_of_blocks
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

    def of_block(pick: Tensor | slice, ids: Tensor | None) -> Tensor:
        row, column = hinge(x[pick], y[pick], m, "scalar", "mean", ids)
        return row + column

    return losses_of_blocks(torch.empty(x.shape[0], dtype=m.dtype), batch_size, order, groups, of_block)
