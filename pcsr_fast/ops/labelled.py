"""Losses of pairs that come with labels, with checked arguments (METHODS 7); plain PyTorch on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops import _checks
from pcsr_fast.reference import evidential, labelled


def _check(op: str, S: Tensor, labels: Tensor | None, temperature: float, groups: Tensor | None) -> None:
    _checks.check_square(op, "S", S)
    if labels is not None:
        if not isinstance(labels, Tensor) or labels.dtype not in _checks.FLOATING:
            got = getattr(labels, "dtype", type(labels).__name__)
            raise TypeError(f"{op}: labels: got {got}, expected a floating torch.Tensor")
        if labels.shape != S.shape[:1]:
            raise ValueError(f"{op}: labels: got shape {tuple(labels.shape)}, expected ({len(S)},)")
        _checks.check_device(op, "labels", labels, S)
    if not temperature > 0:
        raise ValueError(f"{op}: temperature: got {temperature}, expected a number > 0")
    if groups is not None:
        _checks.check_integers(op, "groups", groups, len(S), S)


def evidential_loss_from_scores(
    S: Tensor,
    *,
    labels: Tensor | None = None,
    temperature: float = 0.1,
    kl_weight: float = 0.1,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Evidential loss of scores S (B, B), rows images, columns captions; equations in `pcsr_fast.reference.evidential`.

    Args:
        S: floating scores; differentiable.
        labels: (B,) floating labels in [0, 1] of the pairs; None: all 1.
        temperature: tau > 0 of the evidence; kl_weight: lambda >= 0 of the divergence from the uniform opinion.
        groups: (B,) integers; pairs with equal ids are no negatives and leave the sums.
        reduction: mean, sum or none (per-sample (B,)).

    Returns:
        float64 for float64 inputs, else float32.

    Raises:
        TypeError, ValueError: an argument of the wrong kind.

    Source: METHODS 7 (DECL).
    """
    op = "evidential_loss_from_scores"
    _check(op, S, labels, temperature, groups)
    _checks.check_reduction(op, reduction)
    if not kl_weight >= 0:
        raise ValueError(f"{op}: kl_weight: got {kl_weight}, expected a number >= 0")
    with torch.autocast(S.device.type, enabled=False):
        return evidential.evidential_loss_from_scores(
            S, labels=labels, temperature=temperature, kl_weight=kl_weight, groups=groups, reduction=reduction
        )


def evidential_agreement(S: Tensor, *, temperature: float = 0.1, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pairs of S (B, B) that the evidence speaks for, (B,) bool, and their uncertainty in (0, 1], (B,).

    Raises:
        TypeError, ValueError: an argument of the wrong kind.

    Source: METHODS 7 (DECL).
    """
    _check("evidential_agreement", S, None, temperature, groups)
    with torch.autocast(S.device.type, enabled=False):
        return evidential.evidential_agreement(S, temperature=temperature, groups=groups)


def labelled_loss_from_scores(
    S: Tensor,
    labels: Tensor,
    *,
    kind: str,
    temperature: float = 0.05,
    groups: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Contrastive loss of scores S (B, B) with labels; equations in `pcsr_fast.reference.labelled`.

    Args:
        S: floating scores, rows images, columns captions; differentiable.
        labels: (B,) floating labels in [0, 1]; differentiable.
        kind: soft_infonce (what a label lacks goes to the negatives by their likeness) or active (active complementary).
        temperature: tau > 0.
        groups: (B,) integers; pairs with equal ids are no negatives and leave the softmax.
        reduction: mean, sum or none (per-sample (B,)).

    Returns:
        float64 for float64 inputs, else float32.

    Raises:
        TypeError, ValueError: an argument of the wrong kind.

    Source: METHODS 7 (CREAM, CRCL).
    """
    op = "labelled_loss_from_scores"
    _check(op, S, labels, temperature, groups)
    _checks.check_choice(op, "kind", kind, labelled.KINDS)
    _checks.check_reduction(op, reduction)
    with torch.autocast(S.device.type, enabled=False):
        return labelled.labelled_loss_from_scores(
            S, labels, kind=kind, temperature=temperature, groups=groups, reduction=reduction
        )
