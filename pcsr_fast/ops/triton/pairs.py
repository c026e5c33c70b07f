"""Per-sample losses of a whole set by Triton (KERNELS 1, K2)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, sides
from pcsr_fast.reference.pairs import PairLosses, block_edges, pair_statistics


def _losses(x: Tensor, y: Tensor, margin: float, groups: Tensor | None, chunk: int) -> Tensor:
    """Mean-hinge losses (N,), all other pairs as negatives."""
    from pcsr_fast.kernels.triton.hinge import Margins, hinge_sums
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.sweep import Shift

    count = x.shape[0]
    plan = plan_for("sums", x.dtype, x.device, exact=False)._replace(chunk=chunk)
    margins = Margins(torch.full((count,), margin, device=x.device), Shift())
    row, column = hinge_sums(sides(x, y, groups), margins, plan)
    losses: Tensor = (row + column) / count
    return losses


@on_device
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
    """As the reference, `chunk` images a step where scores are formed in chunks."""
    if batch_size is None:
        losses = _losses(x, y, margin, groups, chunk)
        return PairLosses(losses, pair_statistics(losses))
    losses = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    for first, last in itertools.pairwise(block_edges(x.shape[0], batch_size)):
        pick: Tensor | slice = slice(first, last) if order is None else order[first:last]
        losses[pick] = _losses(x[pick], y[pick], margin, None if groups is None else groups[pick], chunk)
    return PairLosses(losses, pair_statistics(losses))
