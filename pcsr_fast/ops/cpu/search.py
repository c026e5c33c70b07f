"""Hardest negatives on the native core (KERNELS 1, K1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.arguments import address, group_ids, kernel, matrix, rows_in_memory
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups
from pcsr_fast.reference.reduction import compute_dtype

SHIFTS = {"none": 0, "row": 1, "col": 2, "matrix": 3}


class Search(NamedTuple):
    """What one pass over the scores leaves: the hardest negatives, and each pair's own score (N,) if asked for."""

    found: HardestNegatives
    own: Tensor


def _found(
    name: str,
    matrices: list[Tensor],
    sizes: tuple[int, int],
    dtype: torch.dtype,
    groups: Groups,
    margin: Tensor | None,
    shift: str,
    own: Tensor | None = None,
    *precision: str,
) -> HardestNegatives:
    """What the kernel `name` finds in x and y, or in ready-made scores; `own` takes the pairs' own scores."""
    ids = group_ids(groups)
    margin = None if margin is None else margin.detach().to(dtype).contiguous()
    values = [torch.empty(size, dtype=dtype) for size in sizes]
    indices = [torch.empty(size, dtype=torch.int64) for size in sizes]
    out = (values[0], indices[0], values[1], indices[1], own)
    kernel(name, dtype)(
        *(matrix(value) for value in matrices),
        [address(side) for side in ids],
        SHIFTS[shift],
        address(margin),
        margin.stride(0) if margin is not None and margin.ndim == 2 else 0,
        *precision,
        [address(value) for value in out],
    )
    return HardestNegatives(values[0], indices[0], values[1], indices[1])


def search(
    x: Tensor, y: Tensor, groups: Groups, precision: str, margin: Tensor | None = None, shift: str = "none"
) -> Search:
    """Largest negative of each row and column of x y^T, x (N, D), y (M, D), after a margin is added as `shift` says."""
    dtype, sizes = compute_dtype(x.dtype), (x.shape[0], y.shape[0])
    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    own = torch.empty(sizes[0] if sizes[0] == sizes[1] else 0, dtype=dtype)
    sides = [rows_in_memory(x), rows_in_memory(y)]
    wanted = own if own.numel() else None
    return Search(_found("hardest", sides, sizes, dtype, groups, margin, shift, wanted, precision), own)


def search_scores(S: Tensor, groups: Groups, margin: Tensor | None = None, shift: str = "none") -> Search:
    """The same of ready-made scores S (N, M)."""
    dtype, sizes = compute_dtype(S.dtype), (S.shape[0], S.shape[1])
    found = _found("hardest_of_scores", [rows_in_memory(S)], sizes, dtype, groups, margin, shift)
    return Search(found, S.diagonal().to(dtype))


def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, in O(N + M) memory."""
    return search(x, y, groups, precision).found


def hardest_gradient(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) of the hardest-negative loss from the upstream gradients (B,) of its active hinges."""
    x, y = (rows_in_memory(side.to(compute_dtype(side.dtype))) for side in (x, y))
    upstream = [part.to(x.dtype).contiguous() for part in (by_row, by_column)]
    indices = [side.long().contiguous() for side in (row_index, column_index)]
    dx, dy = (torch.empty(side.shape, dtype=x.dtype) for side in (x, y))
    kernel("hardest_gradient", x.dtype)(
        matrix(x),
        matrix(y),
        [address(part) for part in upstream],
        [address(side) for side in indices],
        [address(dx), address(dy)],
    )
    return dx, dy
