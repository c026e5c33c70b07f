"""Per-sample losses of a whole set by Triton (KERNELS 1, K2)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, sides
from pcsr_fast.reference.pairs import PairLosses, losses_of_blocks


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

    def of_block(pick: Tensor | slice, ids: Tensor | None) -> Tensor:
        return _losses(x[pick], y[pick], margin, ids, chunk)

    losses = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    return losses_of_blocks(losses, batch_size, order, groups, of_block)
