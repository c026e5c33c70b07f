"""The custom ops behind the triplet losses: schema, fake kernel, autograd (METHODS 2.2; KERNELS 1, K1).

The backward of the hardest negatives gathers and scatters by the saved indices, O(BD), with no second search.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch, lean
from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.ops._triplet_gradient import hardest_gradient_op, triplet_gradient_op, triplet_score_gradient_op
from pcsr_fast.ops.cpu import triplet as cpu
from pcsr_fast.ops.cuda import triplet as cuda
from pcsr_fast.ops.triton import triplet as triton
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.triplet import TripletParts, triplet_parts
from pcsr_fast.reference.triplet_gradient import hardest_margin_gradient

Parts = tuple[Tensor, Tensor, Tensor, Tensor]
OPTIONS = "Tensor margin, str margin_mode, str negatives, Tensor? groups, str backend"
EMBEDDED = OPTIONS.replace("str backend", "str precision, str backend")
RESULT = "(Tensor row, Tensor column, Tensor row_index, Tensor column_index)"


def _reference(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    x, y = at_precision(x, precision), at_precision(y, precision)
    return triplet_parts(x @ y.T, margin, margin_mode, negatives, groups)


backends.register("triplet_loss", "reference", _reference)
backends.register("triplet_loss", "torch", lean.triplet, lean.supports_triplet)
backends.register("triplet_loss", "cpu", cpu.triplet, cpu.supports_triplet)
backends.register("triplet_loss", "cuda", cuda.triplet, cuda.supports_triplet)
backends.register("triplet_loss", "triton", triton.triplet, triton.supports_triplet)
backends.register("triplet_loss_from_scores", "reference", triplet_parts)
backends.register("triplet_loss_from_scores", "torch", lean.triplet_from_scores, lean.supports_triplet)
backends.register("triplet_loss_from_scores", "cpu", cpu.triplet_from_scores, cpu.supports_triplet)
backends.register("triplet_loss_from_scores", "triton", triton.triplet_from_scores, triton.supports_triplet)


@torch.library.custom_op("pcsr_fast::triplet", mutates_args=(), schema=f"(Tensor x, Tensor y, {EMBEDDED}) -> {RESULT}")
def triplet_op(
    x: Tensor,
    y: Tensor,
    margin: Tensor,
    margin_mode: str,
    negatives: str,
    groups: Tensor | None,
    precision: str,
    backend: str,
) -> Parts:
    names = ("margin", "margin_mode", "negatives", "groups", "precision")
    values = (margin, margin_mode, negatives, groups, precision)
    options = dict(zip(names, values, strict=True))
    return tuple(_dispatch.run("triplet_loss", backend, (x, y), options, x, y, *values))


@torch.library.custom_op(
    "pcsr_fast::triplet_from_scores", mutates_args=(), schema=f"(Tensor scores, {OPTIONS}) -> {RESULT}"
)
def triplet_from_scores_op(
    scores: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, backend: str
) -> Parts:
    options = {"margin": margin, "margin_mode": margin_mode, "negatives": negatives, "groups": groups}
    raw = (scores, margin, margin_mode, negatives, groups)
    return tuple(_dispatch.run("triplet_loss_from_scores", backend, (scores,), options, *raw))


def _fake(like: Tensor, negatives: str) -> Parts:
    count = like.shape[0]
    part = like.new_empty((count,), dtype=compute_dtype(like.dtype))
    index = like.new_empty((count if negatives == "hardest" else 0,), dtype=torch.int64)
    return part, torch.empty_like(part), index, torch.empty_like(index)


@triplet_op.register_fake
def _(x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, *_: Any) -> Parts:
    return _fake(x, negatives)


@triplet_from_scores_op.register_fake
def _(scores: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Any, backend: str) -> Parts:
    return _fake(scores, negatives)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Parts) -> None:
    """Of the hardest negatives, where a hinge is active and int32 indices: four bytes a pair and side less."""
    x, y, margin, ctx.margin_mode, ctx.negatives, groups, ctx.precision, ctx.backend = inputs
    kept = _chosen(output, torch.int32) if ctx.negatives == "hardest" else ()
    ctx.save_for_backward(x, y, margin, groups, *kept)
    ctx.mark_non_differentiable(output[2], output[3])
    ctx.set_materialize_grads(False)


def _setup_context_from_scores(ctx: Any, inputs: tuple[Any, ...], output: Parts) -> None:
    scores, margin, ctx.margin_mode, ctx.negatives, groups, ctx.backend = inputs
    ctx.save_for_backward(scores, margin, groups, *output)
    ctx.mark_non_differentiable(output[2], output[3])


def _chosen(parts: Parts, dtype: torch.dtype) -> Parts:
    """Where hinges are active, and indices that can be gathered where there is no negative."""
    row, column, *indices = parts
    row_index, column_index = (index.clamp(min=0).to(dtype) for index in indices)
    return row > 0, column > 0, row_index, column_index


def _given(by_row: Tensor | None, by_column: Tensor | None) -> tuple[Tensor, Tensor]:
    """Upstream gradients, zero of a part that nothing depends on. Torch would make zeros for the indices too."""
    row = torch.zeros_like(by_column) if by_row is None and by_column is not None else by_row
    column = torch.zeros_like(by_row) if by_column is None and by_row is not None else by_column
    assert row is not None  # one is given, or nobody would ask
    assert column is not None
    return row, column


def _backward(ctx: Any, by_row: Tensor | None, by_column: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    x, y, margin, groups, *chosen = ctx.saved_tensors
    row, column = _given(by_row, by_column)
    if ctx.negatives == "hardest":
        of_rows, of_columns, row_index, column_index = chosen
        active = row * of_rows, column * of_columns, row_index, column_index
        dx, dy = hardest_gradient_op(*active[:2], x, y, *active[2:], ctx.backend)
        dm = hardest_margin_gradient(*active, margin, ctx.margin_mode) if ctx.needs_input_grad[2] else None
    else:
        options = (margin, ctx.margin_mode, ctx.negatives, groups, ctx.precision, ctx.backend)
        dx, dy, dm = triplet_gradient_op(row, column, x, y, *options)
    return dx, dy, dm, None, None, None, None, None


def _backward_from_scores(ctx: Any, by_row: Tensor, by_column: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    scores, margin, groups, *parts = ctx.saved_tensors
    if ctx.negatives == "hardest":
        of_rows, of_columns, row_index, column_index = _chosen(tuple(parts), torch.int64)
        row, column = by_row * of_rows, by_column * of_columns
        dS = torch.diag(-(row + column)).scatter_add(1, row_index[:, None], row[:, None])
        dS = dS.scatter_add(0, column_index[None, :], column[None, :])
        dm = hardest_margin_gradient(row, column, row_index, column_index, margin, ctx.margin_mode)
    else:
        options = (margin, ctx.margin_mode, ctx.negatives, groups, ctx.backend)
        dS, dm = triplet_score_gradient_op(by_row, by_column, scores, *options)
    return dS.to(scores.dtype), dm, None, None, None, None


triplet_op.register_autograd(_backward, setup_context=_setup_context)
triplet_from_scores_op.register_autograd(_backward_from_scores, setup_context=_setup_context_from_scores)
