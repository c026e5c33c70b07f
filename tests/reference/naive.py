"""The losses once more, pair by pair from their definitions, sharing no code with the package; autograd in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def _margin(margin: Tensor, mode: str, anchor: int, image: int, caption: int) -> Tensor:
    if margin.ndim == 0:
        return margin
    if mode == "matrix":
        return margin[image, caption]
    return margin[{"anchor": anchor, "row": image, "col": caption}[mode]]


def _ids(groups: Tensor | None, count: int) -> list[int]:
    return list(range(count)) if groups is None else groups.tolist()


def triplet(S: Tensor, margin: Tensor, mode: str, negatives: str, groups: Tensor | None = None) -> Tensor:
    """Per-sample losses (B,), METHODS 2.2."""
    count, losses = S.shape[0], []
    ids = _ids(groups, count)
    for anchor in range(count):
        total = S.new_zeros(())
        for by_row in (True, False):
            hinges = []
            for other in range(count):
                if ids[other] == ids[anchor]:
                    continue
                image, caption = (anchor, other) if by_row else (other, anchor)
                m = _margin(margin, mode, anchor, image, caption)
                hinges.append((m + S[image, caption] - S[anchor, anchor]).clamp(min=0))
            if not hinges:
                continue
            values = torch.stack(hinges)
            if negatives == "hardest":
                total = total + values.max()
            elif negatives == "mean":
                total = total + values.sum() / count
            elif negatives == "sum":
                total = total + values.sum()
            else:
                k = int(negatives.removeprefix("topk:"))
                total = total + values.sort(descending=True).values[:k].mean()
        losses.append(total)
    return torch.stack(losses)


def _contrastive_direction(S: Tensor, i: int, ids: list[int], kind: str, tau: float, q: float, m: float) -> Tensor:
    others = [j for j in range(S.shape[0]) if ids[j] != ids[i]]
    if kind == "tal":
        if not others:
            return S.new_zeros(())
        mates = [j for j in range(S.shape[0]) if ids[j] == ids[i]]
        weight = [torch.exp(S[i, j].detach() / tau) for j in mates]
        positive = sum(w * S[i, j] for w, j in zip(weight, mates, strict=True)) / sum(weight)
        return (m - positive + tau * torch.log(sum(torch.exp(S[i, j] / tau) for j in others))).clamp(min=0)
    total = torch.exp(S[i, i] / tau) + sum(torch.exp(S[i, j] / tau) for j in others)
    own, p = torch.exp(S[i, i] / tau) / total, [torch.exp(S[i, j] / tau) / total for j in others]
    zero = S.new_zeros(())
    if kind == "infonce":
        return -own.log()
    if kind == "rce":
        return -own.log() - sum(p, zero) * torch.log(torch.tensor(1e-7, dtype=S.dtype))
    if kind == "gce_infonce":
        return (1 - own**q) / q
    term = {
        "ccl_log": lambda v: -torch.log(1 - v),
        "ccl_tan": torch.tan,
        "ccl_gce": lambda v: (1 - (1 - v) ** q) / q,
    }[kind]
    return sum((term(v) for v in p), zero)


def contrastive(S: Tensor, kind: str, tau: float, q: float, m: float, groups: Tensor | None = None) -> Tensor:
    """Per-sample losses (B,), METHODS 7, both directions."""
    ids = _ids(groups, S.shape[0])
    losses = [
        _contrastive_direction(S, i, ids, kind, tau, q, m) + _contrastive_direction(S.T, i, ids, kind, tau, q, m)
        for i in range(S.shape[0])
    ]
    halved = kind in ("infonce", "rce", "gce_infonce")
    return torch.stack(losses) * (0.5 if halved else 1.0)
