"""The custom ops behind the contrastive losses: schema, fake kernel, analytic gradient (METHODS 7, 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch
from pcsr_fast.ops.cpu import contrastive as cpu
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.triton import arguments as triton_arguments
from pcsr_fast.ops.triton import contrastive as triton
from pcsr_fast.reference.contrastive import contrastive_loss as reference_loss
from pcsr_fast.reference.contrastive import contrastive_loss_from_scores as reference_loss_from_scores
from pcsr_fast.reference.contrastive_gradient import contrastive_score_gradient
from pcsr_fast.reference.contrastive_terms import ContrastiveSettings
from pcsr_fast.reference.reduction import compute_dtype

Pair = tuple[Tensor, Tensor]
OPTIONS = "str kind, float temperature, float q, float margin, Tensor? groups, str backend"


def _from_embeddings(x: Tensor, y: Tensor, settings: ContrastiveSettings, groups: Tensor | None) -> Pair:
    """Per-sample losses, and no statistics for the gradient."""
    losses = reference_loss(x, y, **settings._asdict(), groups=groups, reduction="none")
    return losses, losses.new_empty((0, x.shape[0]))


def _from_scores(scores: Tensor, settings: ContrastiveSettings, groups: Tensor | None) -> Tensor:
    return reference_loss_from_scores(scores, **settings._asdict(), groups=groups, reduction="none")


def _gradient(
    upstream: Tensor, x: Tensor, y: Tensor, statistics: Tensor, settings: ContrastiveSettings, groups: Tensor | None
) -> Pair:
    """dL/dx and dL/dy by way of the score matrix."""
    dtype = compute_dtype(x.dtype)
    x, y = x.to(dtype), y.to(dtype)
    dS = contrastive_score_gradient(upstream, x @ y.T, settings, groups)
    return dS @ y, dS.T @ x


backends.register("contrastive_loss", "reference", _from_embeddings)
backends.register("contrastive_loss", "cpu", cpu.contrastive_loss, supports)
backends.register("contrastive_loss", "triton", triton.contrastive_loss, triton_arguments.supports)
backends.register("contrastive_gradient", "reference", _gradient)
backends.register("contrastive_gradient", "cpu", cpu.contrastive_gradient, cpu.supports_gradient)
backends.register("contrastive_gradient", "triton", triton.contrastive_gradient, triton.supports_gradient)
backends.register("contrastive_loss_from_scores", "reference", _from_scores)
backends.register(
    "contrastive_loss_from_scores", "triton", triton.contrastive_loss_from_scores, triton_arguments.supports
)


@torch.library.custom_op(
    "pcsr_fast::contrastive",
    mutates_args=(),
    schema=f"(Tensor x, Tensor y, {OPTIONS}) -> (Tensor losses, Tensor statistics)",
)
def contrastive_op(
    x: Tensor,
    y: Tensor,
    kind: str,
    temperature: float,
    q: float,
    margin: float,
    groups: Tensor | None,
    backend: str,
) -> Pair:
    settings = ContrastiveSettings(kind, temperature, q, margin)
    options = {**settings._asdict(), "groups": groups}
    losses, statistics = _dispatch.run("contrastive_loss", backend, (x, y), options, x, y, settings, groups)
    return losses, statistics


@torch.library.custom_op(
    "pcsr_fast::contrastive_gradient",
    mutates_args=(),
    schema=f"(Tensor upstream, Tensor x, Tensor y, Tensor statistics, {OPTIONS}) -> (Tensor dx, Tensor dy)",
)
def contrastive_gradient_op(
    upstream: Tensor,
    x: Tensor,
    y: Tensor,
    statistics: Tensor,
    kind: str,
    temperature: float,
    q: float,
    margin: float,
    groups: Tensor | None,
    backend: str,
) -> Pair:
    raw = (upstream, x, y, statistics, ContrastiveSettings(kind, temperature, q, margin), groups)
    dx, dy = _dispatch.run("contrastive_gradient", backend, (x, y), {"statistics": statistics}, *raw)
    return dx.to(x.dtype), dy.to(y.dtype)


@torch.library.custom_op(
    "pcsr_fast::contrastive_from_scores", mutates_args=(), schema=f"(Tensor scores, {OPTIONS}) -> Tensor"
)
def contrastive_from_scores_op(
    scores: Tensor, kind: str, temperature: float, q: float, margin: float, groups: Tensor | None, backend: str
) -> Tensor:
    settings = ContrastiveSettings(kind, temperature, q, margin)
    options = {**settings._asdict(), "groups": groups}
    op = "contrastive_loss_from_scores"
    loss: Tensor = _dispatch.run(op, backend, (scores,), options, scores, settings, groups)
    return loss


def _statistics_rows(run: Callable[..., Any]) -> int:
    """How many numbers a pair `run` leaves for the gradient."""
    if run is triton.contrastive_loss:
        return triton.STATISTICS_ROWS
    return cpu.statistics_rows() if run is cpu.contrastive_loss else 0


@contrastive_op.register_fake
def _(
    x: Tensor, y: Tensor, kind: str, temperature: float, q: float, margin: float, groups: Tensor | None, backend: str
) -> Pair:
    options = {**ContrastiveSettings(kind, temperature, q, margin)._asdict(), "groups": groups}
    run = backends.select("contrastive_loss", backend, x, y, **options)
    losses = x.new_empty((x.shape[0],), dtype=compute_dtype(x.dtype))
    return losses, losses.new_empty((_statistics_rows(run), x.shape[0]))


@contrastive_gradient_op.register_fake
def _(upstream: Tensor, x: Tensor, y: Tensor, *_: Any) -> Pair:
    return x.new_empty(x.shape), y.new_empty(y.shape)


@contrastive_from_scores_op.register_fake
def _(scores: Tensor, *_: Any) -> Tensor:
    return scores.new_empty((scores.shape[0],), dtype=compute_dtype(scores.dtype))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Pair) -> None:
    x, y, *ctx.settings, groups, ctx.backend = inputs
    ctx.save_for_backward(x, y, output[1], groups)
    ctx.mark_non_differentiable(output[1])


def _setup_context_from_scores(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scores, *settings, groups, _ = inputs
    ctx.settings = ContrastiveSettings(*settings)
    ctx.save_for_backward(scores, groups)


def _backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    x, y, statistics, groups = ctx.saved_tensors
    dx, dy = contrastive_gradient_op(upstream, x, y, statistics, *ctx.settings, groups, ctx.backend)
    return dx, dy, None, None, None, None, None, None


def _backward_from_scores(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    scores, groups = ctx.saved_tensors
    dS = contrastive_score_gradient(upstream, scores.to(compute_dtype(scores.dtype)), ctx.settings, groups)
    return dS.to(scores.dtype), None, None, None, None, None, None


contrastive_op.register_autograd(_backward, setup_context=_setup_context)
contrastive_from_scores_op.register_autograd(_backward_from_scores, setup_context=_setup_context_from_scores)
