"""What the pseudo-classifier's predictions say: oscillation, text replacement, consistency (METHODS 3.2, 4.3-4.5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks, _dispatch
from pcsr_fast.reference import labels, votes
from pcsr_fast.reference.labels import LOG_FLOOR, unit_rows
from pcsr_fast.reference.reduction import compute_dtype


def _best_match(p_noisy: Tensor, p_clean: Tensor) -> Tensor:
    return labels.match_texts(p_noisy, p_clean)[0]


backends.register("prediction_oscillation", "reference", labels.prediction_oscillation)
backends.register("match_texts", "reference", _best_match)
backends.register("vote_consistency", "reference", votes.vote_consistency)


@torch.library.custom_op(
    "pcsr_fast::prediction_oscillation", mutates_args=(), schema="(Tensor now, Tensor bank, str backend) -> Tensor"
)
def _oscillation(now: Tensor, bank: Tensor, backend: str) -> Tensor:
    value: Tensor = _dispatch.run("prediction_oscillation", backend, (now, bank), {}, now, bank)
    return value


@_oscillation.register_fake
def _(now: Tensor, bank: Tensor, backend: str) -> Tensor:
    return now.new_empty((now.shape[0],), dtype=compute_dtype(now.dtype))


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    now, bank = (p.to(compute_dtype(ctx.saved_tensors[0].dtype)) for p in ctx.saved_tensors)
    floor_now, floor_bank = now.clamp(min=LOG_FLOOR), bank.clamp(min=LOG_FLOOR)
    # At and below the floor the log is constant, so only the factor `now` in front of it carries a gradient.
    dnow = floor_now.log() - floor_bank.log() + (now >= LOG_FLOOR)
    dbank = -(now / floor_bank) * (bank >= LOG_FLOOR)
    up = upstream[:, None]
    return (up * dnow).to(ctx.saved_tensors[0].dtype), (up * dbank).to(ctx.saved_tensors[1].dtype), None


_oscillation.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op(
    "pcsr_fast::match_texts", mutates_args=(), schema="(Tensor p_noisy, Tensor p_clean, str backend) -> Tensor"
)
def _match_texts(p_noisy: Tensor, p_clean: Tensor, backend: str) -> Tensor:
    index: Tensor = _dispatch.run("match_texts", backend, (p_noisy, p_clean), {}, p_noisy, p_clean)
    return index


@_match_texts.register_fake
def _(p_noisy: Tensor, p_clean: Tensor, backend: str) -> Tensor:
    return p_noisy.new_empty((p_noisy.shape[0],), dtype=torch.int64)


def prediction_oscillation(now: Tensor, bank: Tensor, *, backend: str | None = None) -> Tensor:
    """KL(now || bank) in nats (B,), at least float32, of predictions now and bank (B, K); differentiable in both.

    `bank` may be of another floating dtype (a half-precision memory); logs are floored at 1e-8.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 3.2, 4.4 (o_i).
    """
    op = "prediction_oscillation"
    _checks.check_matrix(op, "now", now)
    _checks.check_matrix(op, "bank", bank)
    _checks.check_device(op, "bank", bank, now)
    if bank.shape != now.shape:
        raise ValueError(f"{op}: bank: got shape {tuple(bank.shape)}, expected {tuple(now.shape)} as now has")
    result: Tensor = _oscillation(now, bank, backend or "")
    return result


def match_texts(p_noisy: Tensor, p_clean: Tensor, *, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """For each prediction p_noisy (Bn, K) the most similar one of p_clean (Bc, K), by cosine.

    Returns the index (Bn,) int64, lowest among equals, and the cosine (Bn,), at least float32, differentiable in both.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 4.5 (text replacement).
    """
    op = "match_texts"
    _checks.check_matrix(op, "p_noisy", p_noisy)
    _checks.check_matrix(op, "p_clean", p_clean)
    _checks.check_same_kind(op, "p_clean", p_clean, "p_noisy", p_noisy)
    if p_noisy.shape[1] != p_clean.shape[1]:
        expected = f"{p_noisy.shape[1]} columns as p_noisy has"
        raise ValueError(f"{op}: p_clean: got shape {tuple(p_clean.shape)}, expected {expected}")
    index = _match_texts(p_noisy.detach(), p_clean.detach(), backend or "")
    return index, (unit_rows(p_noisy) * unit_rows(p_clean[index])).sum(1)


def vote_consistency(counts: Tensor, score: str = "gap", *, backend: str | None = None) -> Tensor:
    """Pseudo-label Consistency Score (N,) float64 of vote counts (N, K) integers; larger is steadier.

    `score`: gap (c1 - c2), gap_ratio (over the votes), majority (c1 over the votes) or neg_entropy (nats). No votes:
    the lowest value.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 4.3, 9 G1.
    """
    op = "vote_consistency"
    _checks.check_choice(op, "score", score, votes.SCORES)
    if not isinstance(counts, Tensor) or counts.dtype not in _checks.INTEGERS:
        raise TypeError(f"{op}: counts: got {getattr(counts, 'dtype', type(counts).__name__)}, expected integers")
    if counts.ndim != 2 or counts.shape[1] == 0:
        raise ValueError(f"{op}: counts: got shape {tuple(counts.shape)}, expected (N, K) with K >= 1")
    value: Tensor = backends.select(op, backend, counts, score=score)(counts, score)
    return value
