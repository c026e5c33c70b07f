"""Hardest negatives and the gradient of their loss by CUDA kernels (KERNELS 1, K1)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.native_cuda import call
from pcsr_fast.ops.cpu.arguments import address, group_ids
from pcsr_fast.ops.cpu.search import SHIFTS, Search
from pcsr_fast.ops.cuda.arguments import TYPES, matrix, rows_in_memory, sides
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups


def search(
    x: Tensor, y: Tensor, groups: Groups, precision: str, margin: Tensor | None = None, shift: str = "none"
) -> Search:
    """Largest negative of each row and column of x y^T, x (N, D), y (M, D), after a margin is added as `shift` says."""
    sizes, product, ids = (x.shape[0], y.shape[0]), sides(x, y, precision), group_ids(groups)
    m = None if margin is None else margin.detach().float().contiguous()
    keys = [torch.zeros(size, dtype=torch.int64, device=x.device) for size in sizes]
    values = [torch.empty(size, dtype=torch.float32, device=x.device) for size in sizes]
    indices = [torch.empty(size, dtype=torch.int64, device=x.device) for size in sizes]
    own = torch.empty(sizes[0] if sizes[0] == sizes[1] else 0, dtype=torch.float32, device=x.device)
    call(
        "hardest",
        x.device,
        product.x,
        product.y,
        product.arithmetic,
        [address(side) for side in ids],
        SHIFTS[shift],
        address(m),
        m.stride(0) if m is not None and m.ndim == 2 else 0,
        [address(side) for side in keys],
        address(own) if own.numel() else 0,
        [address(side) for side in (values[0], indices[0], values[1], indices[1])],
    )
    return Search(HardestNegatives(values[0], indices[0], values[1], indices[1]), own)


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, in O(N + M) memory."""
    return search(x, y, groups, precision).found


def _side_gradient(embeddings: Tensor, weights: Tensor, negatives: Tensor, others: Tensor, scattered: Tensor) -> Tensor:
    """Gradient of one side: gathered by its `negatives`, and scattered to it by those of the other side, all int32."""
    ascending, sources = scattered.sort(stable=True)
    out = torch.empty(embeddings.shape, dtype=embeddings.dtype, device=embeddings.device)
    plan = [address(part) for part in (weights, negatives, others, ascending, sources)]
    call("side_gradient", embeddings.device, matrix(embeddings), TYPES[embeddings.dtype], plan, address(out))
    return out


def hardest_gradient(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) of the hardest-negative loss from the upstream gradients (B,) of its active hinges."""
    x, y = rows_in_memory(x), rows_in_memory(y)
    row, column = by_row.float().contiguous(), by_column.float().contiguous()
    row_index, column_index = row_index.int().contiguous(), column_index.int().contiguous()
    return (
        _side_gradient(y, row, row_index, column, column_index),
        _side_gradient(x, column, column_index, row, row_index),
    )
