"""The custom ops behind the contrastive losses: schema, fake kernel, analytic gradient (METHODS 7, 8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch
from pcsr_fast.reference.contrastive import contrastive_loss as reference_loss
from pcsr_fast.reference.contrastive import contrastive_loss_from_scores as reference_loss_from_scores
from pcsr_fast.reference.contrastive_gradient import contrastive_score_gradient
from pcsr_fast.reference.contrastive_terms import ContrastiveSettings
from pcsr_fast.reference.reduction import compute_dtype

OPTIONS = "str kind, float temperature, float q, float margin, Tensor? groups, str backend"


def _from_embeddings(x: Tensor, y: Tensor, settings: ContrastiveSettings, groups: Tensor | None) -> Tensor:
    return reference_loss(x, y, **settings._asdict(), groups=groups, reduction="none")


def _from_scores(scores: Tensor, settings: ContrastiveSettings, groups: Tensor | None) -> Tensor:
    return reference_loss_from_scores(scores, **settings._asdict(), groups=groups, reduction="none")


backends.register("contrastive_loss", "reference", _from_embeddings)
backends.register("contrastive_loss_from_scores", "reference", _from_scores)


@torch.library.custom_op("pcsr_fast::contrastive", mutates_args=(), schema=f"(Tensor x, Tensor y, {OPTIONS}) -> Tensor")
def contrastive_op(
    x: Tensor,
    y: Tensor,
    kind: str,
    temperature: float,
    q: float,
    margin: float,
    groups: Tensor | None,
    backend: str,
) -> Tensor:
    settings = ContrastiveSettings(kind, temperature, q, margin)
    options = {**settings._asdict(), "groups": groups}
    loss: Tensor = _dispatch.run("contrastive_loss", backend, (x, y), options, x, y, settings, groups)
    return loss


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


@contrastive_op.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty((x.shape[0],), dtype=compute_dtype(x.dtype))


@contrastive_from_scores_op.register_fake
def _(scores: Tensor, *_: Any) -> Tensor:
    return scores.new_empty((scores.shape[0],), dtype=compute_dtype(scores.dtype))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *scored, kind, temperature, q, margin, groups, _ = inputs
    ctx.settings = ContrastiveSettings(kind, temperature, q, margin)
    ctx.save_for_backward(*scored, groups)


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    x, y, groups = ctx.saved_tensors
    dtype = compute_dtype(x.dtype)
    wide_x, wide_y = x.to(dtype), y.to(dtype)
    dS = contrastive_score_gradient(upstream, wide_x @ wide_y.T, ctx.settings, groups)
    return (dS @ wide_y).to(x.dtype), (dS.T @ wide_x).to(y.dtype), None, None, None, None, None, None


def _backward_from_scores(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    scores, groups = ctx.saved_tensors
    dS = contrastive_score_gradient(upstream, scores.to(compute_dtype(scores.dtype)), ctx.settings, groups)
    return dS.to(scores.dtype), None, None, None, None, None, None


contrastive_op.register_autograd(_backward, setup_context=_setup_context)
contrastive_from_scores_op.register_autograd(_backward_from_scores, setup_context=_setup_context)
