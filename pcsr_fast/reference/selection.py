"""Which hinges of an anchor count, and how much: hardest | mean | sum | topk:k (METHODS 2.2, 7)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.hinge import Margin, margin_matrices
from pcsr_fast.reference.negatives import negative_mask


def parse_negatives(negatives: str) -> tuple[str, int]:
    """("hardest" | "mean" | "sum", 0) or ("topk", k) from the public spelling, k >= 1.

    Raises:
        ValueError: any other spelling.
    """
    name, _, count = negatives.partition(":")
    if name == "topk" and count.isdecimal() and int(count) > 0:
        return "topk", int(count)
    if negatives in ("hardest", "mean", "sum"):
        return negatives, 0
    raise ValueError(f"negatives: got {negatives!r}, expected hardest, mean, sum or topk:k with k >= 1")


def selection_weights(hinge: Tensor, keys: Tensor, allowed: Tensor, negatives: str) -> Tensor:
    """Weight (B, B) of every hinge in its row's reduced value; a row without a negative weighs nothing.

    hardest: 1 at the largest key. mean: 1/B. sum: 1. topk:k : 1/min(k, available) at the k largest hinges.
    `keys` is what the hardest negative is chosen by; among equals the lowest index wins.
    """
    kind, k = parse_negatives(negatives)
    if kind == "mean":
        return allowed.to(hinge.dtype) / hinge.shape[1]
    if kind == "sum":
        return allowed.to(hinge.dtype)
    if kind == "hardest":
        picked = keys.masked_fill(~allowed, -torch.inf).argmax(1, keepdim=True)
    else:
        picked = hinge.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :k]
    chosen = torch.zeros_like(allowed).scatter(1, picked, True) & allowed
    return chosen.to(hinge.dtype) / chosen.sum(1, keepdim=True).clamp(min=1)


def direction_weights(
    S: Tensor, hinges: tuple[Tensor, Tensor], margin: Margin, margin_mode: str, negatives: str, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Selection weights (B, B) of cs, whose rows are reduced, and of ci, whose columns are; constants for autograd.

    `hinges` is (cs, ci) of the scores S, both in S's compute dtype.
    """
    with torch.no_grad():
        cs, ci = hinges
        allowed = negative_mask(S, groups)
        by_row, by_column = margin_matrices(margin, margin_mode, cs)
        # A margin that shifts all keys of an anchor alike is left out: it would only round distinct scores together.
        shifts = by_row.ndim > 0 and margin_mode != "anchor"
        row_keys, column_keys = (S + by_row, S + by_column) if shifts else (S, S)
        rows = selection_weights(cs, row_keys, allowed, negatives)
        return rows, selection_weights(ci.T, column_keys.T, allowed.T, negatives).T
