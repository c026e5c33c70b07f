"""Terms of METHODS 2.2, 4.3 and 4.5 from their definitions, in float64 with autograd, without the package."""

from __future__ import annotations

import math
from collections import Counter

import torch
from torch import Tensor


def soft_margin(y: Tensor, alpha: float = 0.2, kind: str = "exponential") -> Tensor:
    """m(y)."""
    if kind == "exponential":
        return alpha * (10**y - 1) / 9
    return alpha * y if kind == "linear" else alpha * (torch.sin(math.pi * y - math.pi / 2) / 2 + 0.5)


def probabilities(logits: Tensor) -> Tensor:
    """Softmax of each row."""
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def taught(text_logits: Tensor, teacher: str) -> list[int]:
    """The class each caption teaches: its largest logit, where asked for after each class is standardised."""
    columns = text_logits.detach().T.tolist()
    if teacher == "standardised":
        for k, column in enumerate(columns):
            mean = sum(column) / len(column)
            deviation = math.sqrt(sum((v - mean) ** 2 for v in column) / (len(column) - 1))
            columns[k] = [(v - mean) / (deviation + 1e-6) for v in column]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [row.index(max(row)) for row in rows]


def cross_entropy(image_logits: Tensor, classes: list[int]) -> Tensor:
    """Mean of -log p_i at the class taught."""
    p = probabilities(image_logits)
    return sum(-torch.log(p[i, k]) for i, k in enumerate(classes)) / len(classes)


def gce(image_logits: Tensor, classes: list[int], q: float) -> Tensor:
    """Mean of (1 - p_k^q) / q at the class taught."""
    p = probabilities(image_logits)
    return sum((1 - p[i, k] ** q) / q for i, k in enumerate(classes)) / len(classes)


def entropy(logits: Tensor, kind: str) -> Tensor:
    """Mean entropy of the predictions, or entropy of the mean prediction, nats."""
    p = probabilities(logits)
    if kind == "batch_mean":
        p = p.mean(0, keepdim=True)
    return -sum(v * torch.log(v) for row in p for v in row) / len(p)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two vectors, each divided by its length + 1e-8."""
    return a @ b / ((a.norm() + 1e-8) * (b.norm() + 1e-8))


def best(query: Tensor, keys: Tensor) -> tuple[list[int], Tensor]:
    """For each row of `query` the row of `keys` with the largest cosine, and that cosine."""
    index, value = [], []
    for row in query:
        cosines = [cosine(row, key) for key in keys]
        numbers = [float(one.detach()) for one in cosines]
        index.append(numbers.index(max(numbers)))
        value.append(cosines[index[-1]])
    return index, torch.stack(value)


def consistency(votes: Counter[int], score: str, classes: int) -> float:
    """PCS of one pair from its votes by class."""
    counts = [*sorted(votes.values(), reverse=True), 0, 0]
    total = sum(counts)
    if score == "gap":
        return counts[0] - counts[1]
    if score == "neg_entropy":
        return sum(c / total * math.log(c / total) for c in counts if c) if total else -math.log(classes)
    return (counts[0] - (counts[1] if score == "gap_ratio" else 0)) / total if total else 0.0


def oscillation(now: Tensor, bank: Tensor) -> float:
    """KL(now || bank) of one pair."""
    pairs = zip(now.tolist(), bank.tolist(), strict=True)
    return sum(p * (math.log(max(p, 1e-8)) - math.log(max(b, 1e-8))) for p, b in pairs)
