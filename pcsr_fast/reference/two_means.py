"""Deterministic two-means in one dimension, the start of EM (METHODS 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_LLOYD_STEPS = 300
STARTS = ("quantile", "kmeans")


def best_two_means(x: Tensor) -> Tensor:
    """Assignment (N,) bool of the two-means of least squared error: the best cut of the sorted values.

    Minimising the error is maximising n_0 n_1 (mu_1 - mu_0)^2; equal values are never separated. Lowest cut on ties.
    """
    ordered = (x - x.mean()).sort().values
    head = ordered.cumsum(0)[:-1]
    n0 = torch.arange(1, x.numel(), dtype=x.dtype, device=x.device)
    n1 = x.numel() - n0
    between = n0 * n1 * ((ordered.sum() - head) / n1 - head / n0).square()
    between = between.masked_fill(ordered[1:] == ordered[:-1], -1.0)
    return x - x.mean() > ordered[between.argmax()]


def nearer_to_high(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where x is nearer to high than to low; by distances, as a midpoint of neighbouring floats may round to high."""
    return x - low > high - x


def lloyd_two_means(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Assignment (N,) bool after Lloyd's iteration from the centres low < high, True nearer to high (low on a draw)."""
    assignment = nearer_to_high(x, low, high)
    for _ in range(MAX_LLOYD_STEPS):
        low, high = x[~assignment].mean(), x[assignment].mean()
        following = nearer_to_high(x, low, high)
        if torch.equal(following, assignment):
            break
        assignment = following
    return assignment


def _quartiles(x: Tensor) -> tuple[Tensor, Tensor]:
    """The 25 % and 75 % order statistics, or the extremes where those are equal."""
    ordered = x.sort().values
    last = x.numel() - 1
    low, high = ordered[round(0.25 * last)], ordered[round(0.75 * last)]
    return (low, high) if low < high else (ordered[0], ordered[-1])


def check_init(init: str | Tensor) -> None:
    """ValueError for an unknown name of a start."""
    if isinstance(init, str) and init not in STARTS:
        raise ValueError(f"fit_mixture: init: got {init!r}, expected quantile, kmeans, means or an assignment")


def checked_means(init: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Starting means in rising order, in the type of `low`; `low` and `high` are the extreme values.

    Raises:
        ValueError: not two different numbers, or all values nearer to one of them.
    """
    means = init.to(low).flatten().sort().values
    if means.numel() != 2 or not bool(means[0] < means[1]):
        raise ValueError(f"fit_mixture: init: got means {init.tolist()}, expected two different numbers")
    if bool(nearer_to_high(low, means[0], means[1])) or not bool(nearer_to_high(high, means[0], means[1])):
        raise ValueError(f"fit_mixture: init: means {means.tolist()} leave one component empty")
    return means[0], means[1]


def checked_assignment(init: Tensor, values: Tensor) -> Tensor:
    """Assignment (N,) bool on the device of `values`.

    Raises:
        ValueError: not one 0 or 1 a value, or all the same.
    """
    assignment, count = init.to(values.device).flatten(), values.numel()
    if assignment.numel() != count or not bool(((assignment == 0) | (assignment == 1)).all()):
        raise ValueError(f"fit_mixture: init: got shape {tuple(init.shape)}, expected 0 or 1 for {count} values")
    if bool(assignment.all()) or not bool(assignment.any()):
        raise ValueError("fit_mixture: init: the assignment uses one component, expected both")
    return assignment.bool()


def starting_assignment(x: Tensor, init: str | Tensor) -> Tensor:
    """Assignment (N,) bool, True for the second component, as `fit_mixture` describes `init`; x is not constant.

    Raises:
        ValueError: an unknown name, or a tensor that is neither two starting means nor an assignment to both.
    """
    check_init(init)
    if isinstance(init, Tensor):
        if init.is_floating_point():
            return lloyd_two_means(x, *checked_means(init, x.min(), x.max()))
        return checked_assignment(init, x)
    return best_two_means(x) if init == "kmeans" else lloyd_two_means(x, *_quartiles(x))
