"""Hardest negatives and the gradient through them by Triton (KERNELS 1, K1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import rows_in_memory, sides
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups


class Search(NamedTuple):
    """What one pass over the scores leaves: the hardest negatives, and each pair's own score (N,)."""

    found: HardestNegatives
    own: Tensor


def search(
    x: Tensor, y: Tensor, groups: Groups, precision: str, margin: Tensor | None = None, shift: str = "none"
) -> Search:
    """Largest negative of each row and column of x y^T after a margin is added as `shift` says, and own scores."""
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.search import hardest

    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    own = torch.empty(x.shape[0] if x.shape[0] == y.shape[0] else 0, dtype=torch.float32, device=x.device)
    plan = plan_for("search", x.dtype, x.device, exact=precision != "auto")
    margin = None if margin is None else margin.detach().float().contiguous()
    rows, columns = hardest(sides(x, y, groups), plan, margin, shift, own if own.numel() else None)
    return Search(HardestNegatives(*rows, *columns), own)


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, in O(N + M) memory."""
    return search(x, y, groups, precision).found


def hardest_gradient(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) of the hardest-negative loss from the upstream gradients (B,) of its active hinges."""
    from pcsr_fast.kernels.triton.scatter import hardest_gradients

    upstream = [part.float().contiguous() for part in (by_row, by_column)]
    indices = [side.contiguous() for side in (row_index, column_index)]
    dx, dy = hardest_gradients(*upstream, rows_in_memory(x), rows_in_memory(y), *indices)
    return dx, dy
