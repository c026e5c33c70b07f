"""Contrastive losses on the native core (METHODS 7, 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu.arguments import address, group_ids, kernel, matrix, rows_in_memory, supports
from pcsr_fast.reference.contrastive_terms import KINDS, ContrastiveSettings
from pcsr_fast.reference.reduction import compute_dtype


def _run(
    name: str, x: Tensor, y: Tensor, settings: ContrastiveSettings, groups: Tensor | None, *values: Tensor
) -> None:
    """Call the kernel `name` of the precision of x on embeddings, settings and contiguous inputs and outputs."""
    x, y = rows_in_memory(x), rows_in_memory(y)
    ids, _ = group_ids(groups)
    options = (KINDS.index(settings.kind), *settings[1:])
    run = kernel(name, x.dtype)
    run(matrix(x), matrix(y), address(ids), options, *(address(value) for value in values))


def statistics_rows() -> int:
    """How many numbers a pair `contrastive_loss` leaves for the gradient."""
    return 2 * int(native.load().contrastive_statistics)


def contrastive_loss(
    x: Tensor, y: Tensor, settings: ContrastiveSettings, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Per-sample losses (B,) of x, y (B, D), and statistics for the gradient, in O(B) memory."""
    dtype = compute_dtype(x.dtype)
    losses = torch.empty(x.shape[0], dtype=dtype)
    statistics = torch.empty(statistics_rows(), x.shape[0], dtype=dtype)
    _run("contrastive", x, y, settings, groups, losses, statistics)
    return losses, statistics


def contrastive_gradient(
    upstream: Tensor, x: Tensor, y: Tensor, statistics: Tensor, settings: ContrastiveSettings, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) in the compute dtype, from dL/dloss (B,), in O(B) memory beside them."""
    dtype = compute_dtype(x.dtype)
    dx, dy = torch.empty(x.shape, dtype=dtype), torch.empty(y.shape, dtype=dtype)
    known = (upstream.to(dtype).contiguous(), statistics.contiguous())
    _run("contrastive_gradient", x, y, settings, groups, *known, dx, dy)
    return dx, dy


def supports_gradient(*tensors: Tensor, statistics: Tensor) -> str | None:
    """As `supports`; only after this backend's own forward pass."""
    return supports(*tensors) or (None if statistics.shape[0] else "another backend ran the forward pass")
