"""Sums and means of hinges over all negatives by CUDA kernels (METHODS 2.2; KERNELS 1, K2)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.native_cuda import call
from pcsr_fast.ops.cpu.arguments import address, group_ids
from pcsr_fast.ops.cpu.search import SHIFTS
from pcsr_fast.ops.cuda.arguments import sides
from pcsr_fast.reference.pairs import PairLosses, losses_of_blocks


def hinge_sums(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, groups: Tensor | None, precision: str, factor: float
) -> tuple[Tensor, Tensor]:
    """Row part and column part (B,) of the sum of hinges of x y^T, times `factor`."""
    count, product, ids = x.shape[0], sides(x, y, precision), group_ids(groups)[0]
    m = margin.detach().float().contiguous()
    shift = SHIFTS["none" if m.ndim == 0 or margin_mode in ("scalar", "anchor") else margin_mode]
    step = count if m.ndim == 2 else m.ndim
    largest = torch.zeros(3, dtype=torch.int32, device=x.device)
    unit = torch.empty(1, dtype=torch.float64, device=x.device)
    own = torch.empty(count, dtype=torch.float32, device=x.device)
    sums = torch.zeros(2, count, dtype=torch.int64, device=x.device)
    out = [torch.empty(count, dtype=torch.float32, device=x.device) for _ in range(2)]
    call(
        "hinge_sums",
        x.device,
        product.x,
        product.y,
        product.arithmetic,
        address(ids),
        (address(m), m.numel(), step, shift),
        factor,
        [address(value) for value in (largest, unit, own, sums[0], sums[1])],
        [address(value) for value in out],
    )
    return out[0], out[1]


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
    """As the reference, in O(N) memory: `chunk` bounds nothing."""
    m = torch.full((), margin, dtype=torch.float32, device=x.device)

    def of_block(pick: Tensor | slice, ids: Tensor | None) -> Tensor:
        left, right = x[pick], y[pick]
        row, column = hinge_sums(left, right, m, "scalar", ids, "exact", 1 / left.shape[0])
        return row + column

    losses = torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
    return losses_of_blocks(losses, batch_size, order, groups, of_block)
