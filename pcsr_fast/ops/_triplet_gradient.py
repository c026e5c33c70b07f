"""The gradients of the triplet losses as ops of their own, so that a compiled backward can call a kernel.

Those of the hardest negatives gather and scatter by the saved indices, O(BD), with no second search (KERNELS 1, K1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch
from pcsr_fast.ops.cpu import hinge, search
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cpu.triplet import supports_triplet
from pcsr_fast.ops.cuda import arguments as cuda_arguments
from pcsr_fast.ops.cuda import search as cuda_search
from pcsr_fast.ops.triton import arguments as triton_arguments
from pcsr_fast.ops.triton import hinge as triton_hinge
from pcsr_fast.ops.triton import search as triton_search
from pcsr_fast.ops.triton import triplet as triton
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet_gradient import score_gradients

Pair = tuple[Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]


def _gathered(by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor) -> Pair:
    """dL/dx and dL/dy of the hardest-negative loss by torch's gather and scatter."""
    x, y = (side.to(compute_dtype(side.dtype)) for side in (x, y))
    row, column, row_index, column_index = by_row[:, None], by_column[:, None], row_index.long(), column_index.long()
    dx = (row * (y[row_index] - y) - column * y).index_add(0, column_index, column * y)
    dy = (column * (x[column_index] - x) - row * x).index_add(0, row_index, row * x)
    return dx, dy


def _reference_gradient(
    by_row: Tensor,
    by_column: Tensor,
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx, dL/dy and dL/dmargin by way of the score matrix."""
    x, y = (side.to(compute_dtype(side.dtype)) for side in (x, y))
    dS, dm = score_gradients(by_row, by_column, x @ y.T, margin, margin_mode, negatives, groups)
    return dS @ y, dS.T @ x, dm


backends.register("hardest_gradient", "reference", _gathered)
backends.register("hardest_gradient", "cpu", search.hardest_gradient, supports)
backends.register("hardest_gradient", "cuda", cuda_search.hardest_gradient, cuda_arguments.supports)
backends.register("hardest_gradient", "triton", triton_search.hardest_gradient, triton_arguments.supports)
backends.register("triplet_gradient", "reference", _reference_gradient)
backends.register("triplet_gradient", "cpu", hinge.hinge_gradient, supports_triplet)
backends.register("triplet_gradient", "triton", triton_hinge.hinge_gradient, triton.supports_triplet)
backends.register("triplet_score_gradient", "reference", score_gradients)
backends.register("triplet_score_gradient", "cpu", hinge.hinge_score_gradient, supports_triplet)
backends.register("triplet_score_gradient", "triton", triton_hinge.hinge_score_gradient, triton.supports_triplet)


def _able(op: str, backend: str) -> str:
    """The backend asked for, or a choice among all where that one has no gradient of its own."""
    name = backends.requested_backend(backend)
    return name if name in backends.implemented(op) else "auto"


@torch.library.custom_op(
    "pcsr_fast::hardest_gradient",
    mutates_args=(),
    schema="(Tensor by_row, Tensor by_column, Tensor x, Tensor y, Tensor row_index, Tensor column_index, str backend)"
    " -> (Tensor dx, Tensor dy)",
)
def hardest_gradient_op(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor, backend: str
) -> Pair:
    op, raw = "hardest_gradient", (by_row, by_column, x, y, row_index, column_index)
    dx, dy = _dispatch.run(op, _able(op, backend), (x, y), {}, *raw)
    return dx.to(x.dtype), dy.to(y.dtype)


@torch.library.custom_op(
    "pcsr_fast::triplet_gradient",
    mutates_args=(),
    schema="(Tensor by_row, Tensor by_column, Tensor x, Tensor y, Tensor margin, str margin_mode, str negatives,"
    " Tensor? groups, str precision, str backend) -> (Tensor dx, Tensor dy, Tensor dm)",
)
def triplet_gradient_op(
    by_row: Tensor,
    by_column: Tensor,
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
    precision: str,
    backend: str,
) -> Three:
    op, sides = "triplet_gradient", tuple(side.bfloat16() if precision == "bf16" else side for side in (x, y))
    raw = (by_row, by_column, *sides, margin, margin_mode, negatives, groups)
    dx, dy, dm = _dispatch.run(op, _able(op, backend), sides, {"negatives": negatives}, *raw)
    return dx.to(x.dtype), dy.to(y.dtype), dm.to(margin.dtype)


@torch.library.custom_op(
    "pcsr_fast::triplet_score_gradient",
    mutates_args=(),
    schema="(Tensor by_row, Tensor by_column, Tensor scores, Tensor margin, str margin_mode, str negatives,"
    " Tensor? groups, str backend) -> (Tensor dS, Tensor dm)",
)
def triplet_score_gradient_op(
    by_row: Tensor,
    by_column: Tensor,
    scores: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
    backend: str,
) -> Pair:
    op, raw = "triplet_score_gradient", (by_row, by_column, scores, margin, margin_mode, negatives, groups)
    dS, dm = _dispatch.run(op, _able(op, backend), (scores,), {"negatives": negatives}, *raw)
    return dS.to(scores.dtype), dm.to(margin.dtype)


@triplet_score_gradient_op.register_fake
def _(by_row: Tensor, by_column: Tensor, scores: Tensor, margin: Tensor, *_: Any) -> Pair:
    return scores.new_empty(scores.shape), torch.empty_like(margin)


@hardest_gradient_op.register_fake
def _(by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, *_: Any) -> Pair:
    return torch.empty_like(x), torch.empty_like(y)


@triplet_gradient_op.register_fake
def _(by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, margin: Tensor, *_: Any) -> Three:
    return torch.empty_like(x), torch.empty_like(y), torch.empty_like(margin)
