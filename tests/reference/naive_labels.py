"""Losses with labels once more, pair by pair from METHODS 7, sharing no code with the package; autograd in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence


def _shared(S: Tensor, groups: Tensor | None) -> list[list[int]]:
    """For each row the pair itself, first, and its negatives."""
    ids = list(range(len(S))) if groups is None else groups.tolist()
    return [[i, *(j for j in range(len(S)) if ids[j] != ids[i])] for i in range(len(S))]


def _evidential_row(S: Tensor, i: int, seen: list[int], y: Tensor, tau: float, weight: float) -> Tensor:
    a = torch.stack([torch.exp(torch.tanh(S[i, j]) / tau) + 1 for j in seen])
    truth = torch.cat([y[i : i + 1], y.new_zeros(len(seen) - 1)])
    total = a.sum()
    fit = sum((truth[k] - a[k] / total) ** 2 + a[k] * (total - a[k]) / (total**2 * (total + 1)) for k in range(len(a)))
    if len(seen) == 1:
        return fit
    rest = truth + (1 - truth) * a
    return fit + weight * kl_divergence(Dirichlet(rest), Dirichlet(torch.ones_like(rest)))


def evidential(S: Tensor, y: Tensor, tau: float, weight: float, groups: Tensor | None = None) -> Tensor:
    """DECL's loss (B,)."""
    seen = _shared(S, groups)
    rows = [[_evidential_row(T, i, seen[i], y, tau, weight) for i in range(len(S))] for T in (S, S.T)]
    return torch.stack(rows[0]) + torch.stack(rows[1])


def _shares(S: Tensor, i: int, seen: list[int], tau: float) -> list[Tensor]:
    total = sum(torch.exp(S[i, j] / tau) for j in seen)
    return [torch.exp(S[i, j] / tau) / total for j in seen]


def _soft_infonce_row(S: Tensor, i: int, seen: list[int], y: Tensor, tau: float) -> Tensor:
    own, *others = _shares(S, i, seen, tau)
    likeness = [max(0.0, float(S[i, j].detach())) for j in seen[1:]]
    spread = sum(
        (v / (sum(likeness) + 1e-6) * torch.log(p) for v, p in zip(likeness, others, strict=True)), S.new_zeros(())
    )
    return -(y[i] * torch.log(own) + (1 - y[i]) * spread) / 2


def _active_row(S: Tensor, i: int, seen: list[int], y: Tensor, tau: float) -> Tensor:
    own, *others = _shares(S, i, seen, tau)
    wrong = sum((torch.tan(p) for p in others), S.new_zeros(()))
    return -y[i] * torch.log(own) + 5 * wrong / (wrong + torch.tan(own)) ** (1 - y[i])


def labelled(S: Tensor, y: Tensor, kind: str, tau: float, groups: Tensor | None = None) -> Tensor:
    """CREAM's and CRCL's losses (B,)."""
    row, seen = {"soft_infonce": _soft_infonce_row, "active": _active_row}[kind], _shared(S, groups)
    rows = [torch.stack([row(T, i, seen[i], y, tau) for i in range(len(S))]) for T in (S, S.T)]
    return rows[0] + rows[1]


def softmax_predict(S: Tensor, tau: float, groups: Tensor | None = None) -> Tensor:
    """Mean of p^r_ii and p^c_ii (B,)."""
    seen = _shared(S, groups)
    rows = [torch.stack([_shares(T, i, seen[i], tau)[0] for i in range(len(S))]) for T in (S, S.T)]
    return (rows[0] + rows[1]) / 2


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / ((float(a.norm()) + 1e-8) * (float(b.norm()) + 1e-8))


def bicro(images: Tensor, texts: Tensor, anchor_images: Tensor, anchor_texts: Tensor) -> Tensor:
    """Mean over both directions of min(a/b, b/a) with the nearest anchor."""
    labels = []
    for v, t in zip(images, texts, strict=True):
        total = 0.0
        for (mine, near), (other, across) in (
            ((v, anchor_images), (t, anchor_texts)),
            ((t, anchor_texts), (v, anchor_images)),
        ):
            cosines = [_cosine(mine, anchor) for anchor in near]
            best = cosines.index(max(cosines))
            a, b = cosines[best], _cosine(other, across[best])
            total += min(a / b, b / a) if a > 0 and b > 0 else 0.0
        labels.append(total / 2)
    return torch.tensor(labels, dtype=torch.float64)


def ncr_predict(S: Tensor, margin: float) -> list[float]:
    """NCR's prediction of each pair of a batch (METHODS 2.2) from plain numbers."""
    values, count = S.tolist(), len(S)
    p = []
    for i in range(count):
        hinges = 0.0
        for j in range(count):
            if j != i:
                hinges += max(0.0, margin + values[i][j] - values[i][i]) + max(
                    0.0, margin + values[j][i] - values[i][i]
                )
        p.append(min(margin, max(0.0, margin - hinges / count / 2)))
    top = sorted(p, reverse=True)[: math.floor(count / 10) + 1]
    mean = sum(top) / len(top)
    return [min(1.0, v / mean) if mean else 0.0 for v in p]
