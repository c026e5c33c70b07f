"""Hardest negatives and the gradient through them by Triton (KERNELS 1, K1)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, rows_in_memory, sides
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups


def search(
    x: Tensor,
    y: Tensor,
    groups: Groups,
    exact: bool,
    margin: Tensor | None = None,
    shift: str = "none",
    own: Tensor | None = None,
) -> HardestNegatives:
    """Largest negative of each row and column of x y^T after a float32 margin is added; own (N,) takes x_i.y_i."""
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.search import hardest

    plan = plan_for("search", x.dtype, x.device, exact)
    rows, columns = hardest(sides(x, y, groups), plan, margin, shift, own)
    return HardestNegatives(*rows, *columns)


@on_device
def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, in O(N + M) memory."""
    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    return search(x, y, groups, exact=precision != "auto")


@on_device
def hardest_gradient(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) of the hardest-negative loss from the upstream gradients (B,) of its active hinges."""
    from pcsr_fast.kernels.triton.scatter import hardest_gradients

    upstream = [part.float().contiguous() for part in (by_row, by_column)]
    indices = [side.contiguous() for side in (row_index, column_index)]
    dx, dy = hardest_gradients(*upstream, rows_in_memory(x), rows_in_memory(y), *indices)
    return dx, dy
