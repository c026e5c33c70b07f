"""Contrastive losses with checked arguments; the ops themselves are in `_contrastive_op` (METHODS 7, 8)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pcsr_fast.ops import _checks
from pcsr_fast.ops._contrastive_op import contrastive_from_scores_op, contrastive_op
from pcsr_fast.reference.contrastive_terms import ContrastiveSettings, contrastive_settings
from pcsr_fast.reference.reduction import reduce_losses


def _checked(
    op: str, like: Tensor, settings: tuple[str, float | None, float | None, float | None], groups: Any, reduction: str
) -> ContrastiveSettings:
    _checks.check_reduction(op, reduction)
    if groups is not None:
        _checks.check_integers(op, "groups", groups, like.shape[0], like)
    try:
        return contrastive_settings(*settings)
    except ValueError as error:
        raise ValueError(f"{op}: {error}") from None


def contrastive_loss(
    x: Tensor,
    y: Tensor,
    *,
    kind: str,
    temperature: float | None = None,
    q: float | None = None,
    margin: float | None = None,
    groups: Tensor | None = None,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """Symmetric contrastive loss of S = x y^T over the batch; equations in `pcsr_fast.reference.contrastive`.

    Args:
        x, y: image and caption embeddings (B, D) of one floating dtype and device, used as given; row i is a pair.
        kind: infonce, rce, ccl_log, ccl_tan, ccl_gce, gce_infonce or tal.
        temperature: tau > 0, default .05 (tal .015). For a learned one scale x and pass 1.
        q: exponent in (0, 1], default .5 for ccl_gce, .7 for gce_infonce; margin: of tal, default .1.
        groups: (B,) integers; pairs with equal ids are no negatives and leave the softmax (tal: share the positive).
        reduction: mean, sum or none (per-sample (B,)).
        backend: see `pcsr_fast.backends`.

    Returns:
        float64 for float64 inputs, else float32.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 7.
    """
    _checks.check_embeddings("contrastive_loss", x, y)
    settings = _checked("contrastive_loss", x, (kind, temperature, q, margin), groups, reduction)
    return reduce_losses(contrastive_op(x, y, *settings, groups, backend or "")[0], reduction)


def contrastive_loss_from_scores(
    S: Tensor,
    *,
    kind: str,
    temperature: float | None = None,
    q: float | None = None,
    margin: float | None = None,
    groups: Tensor | None = None,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """`contrastive_loss` of a ready-made score matrix S (B, B), rows images, columns captions; differentiable in S."""
    _checks.check_square("contrastive_loss_from_scores", "S", S)
    settings = _checked("contrastive_loss_from_scores", S, (kind, temperature, q, margin), groups, reduction)
    return reduce_losses(contrastive_from_scores_op(S, *settings, groups, backend or ""), reduction)
