"""Set-wide ops without gradients: similarity matrix, pair losses, mixtures (METHODS 2.3; KERNELS 1, K2 and K3)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks
from pcsr_fast.reference import mixture, pairs
from pcsr_fast.reference.labels import unit_rows
from pcsr_fast.reference.mixture_model import Mixture
from pcsr_fast.reference.pairs import PairLosses

backends.register("pair_losses", "reference", pairs.pair_losses)
backends.register("fit_mixture", "reference", mixture.fit_mixture)


def similarity(x: Tensor, y: Tensor, normalize: bool = True) -> Tensor:
    """Cosine (or plain product) matrix (B1, B2) of x (B1, D) and y (B2, D), in their dtype; differentiable.

    Normalising divides each row by its length + 1e-8, in float32 at least. Source: METHODS 8.

    Raises:
        TypeError, ValueError: an argument of the wrong kind.
    """
    _checks.check_embeddings("similarity", x, y, paired=False)
    if normalize:
        return unit_rows(x).to(x.dtype) @ unit_rows(y).to(y.dtype).T
    return x @ y.T


def pair_losses(
    x: Tensor,
    y: Tensor,
    *,
    margin: float = 0.2,
    batch_size: int | None = None,
    order: Tensor | None = None,
    groups: Tensor | None = None,
    chunk: int = 1024,
    backend: str | None = None,
) -> PairLosses:
    """Mean-hinge loss of every pair of a whole set, with the moments the split needs.

    Args:
        x, y: image and caption embeddings (N, D), one floating dtype and device; row i of both is a pair.
        margin: a number.
        batch_size: None takes all other pairs as negatives; else only those of the pair's own block, nearly equal
            blocks of at most this many pairs (at least 2), cut from `order`.
        order: (N,) int64, a permutation (a seeded shuffle); None: as they lie. Only with `batch_size`.
        groups: (N,) integers; pairs with equal ids are no negatives.
        chunk: images a step; bounds memory and changes no result beyond rounding.
        backend: see `pcsr_fast.backends`.

    Returns:
        losses (N,), at least float32, and PairStatistics(minimum, maximum, mean, variance) as 0-d float64 tensors.
        Not differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 2.2 (eval_loss), 2.3; KERNELS 1, K2.
    """
    op = "pair_losses"
    _checks.check_embeddings(op, x, y)
    if groups is not None:
        _checks.check_integers(op, "groups", groups, x.shape[0], x)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise TypeError(f"{op}: margin: got {type(margin).__name__}, expected a number")
    if batch_size is not None and batch_size < 2:
        raise ValueError(f"{op}: batch_size: got {batch_size}, expected at least 2 or None")
    if chunk < 1:
        raise ValueError(f"{op}: chunk: got {chunk}, expected at least 1")
    if order is not None:
        if batch_size is None:
            raise ValueError(f"{op}: order: given without batch_size, where it has no effect; expected both or neither")
        _checks.check_integers(op, "order", order, x.shape[0], x)
        if not torch.equal(order.sort().values, torch.arange(x.shape[0], device=order.device, dtype=order.dtype)):
            raise ValueError(f"{op}: order: expected a permutation of 0 to {x.shape[0] - 1}")
        order = order.to(torch.int64)
    run = backends.select(op, backend, x, y, margin=margin, batch_size=batch_size, groups=groups)
    with torch.autocast(x.device.type, enabled=False):
        losses: PairLosses = run(x, y, margin=margin, batch_size=batch_size, order=order, groups=groups, chunk=chunk)
    return losses


def fit_mixture(
    values: Tensor,
    kind: str = "gaussian",
    *,
    init: str | Tensor = "quantile",
    max_iter: int = 10,
    tol: float = 1e-2,
    reg_covar: float = 5e-4,
    monotone: str = "off",
    backend: str | None = None,
) -> Mixture:
    """Two-component mixture of `values` (any shape, floating), by EM in float64, deterministic.

    Args:
        values: losses, usually through `minmax`; kind="beta" needs them in [0, 1].
        kind: gaussian (scikit-learn's recurrence and stop rule) or beta (by moments, always `max_iter` iterations).
        init: quantile (2-means from the quartiles), kmeans (the best 2-means), floating means (2,), or an integer
            or bool assignment (N,) of 0 and 1. Gaussian only.
        max_iter, tol, reg_covar: EM iterations, change of mean log-likelihood that ends them, variance floor added.
        monotone: off, or clip for a posterior that never rises with the value.
        backend: see `pcsr_fast.backends`.

    Returns:
        Mixture: means, variances, weights (2,) sorted by mean; posterior() of the low one; separation; n_iter.

    Raises:
        TypeError: values are no floating tensor. ValueError: empty, constant, NaN or infinite values, a bad option.
        BackendError: `backend` cannot run it.

    Warns:
        MixtureWarning: one component explains the data.

    Source: METHODS 2.3; KERNELS 1, K3.
    """
    if not isinstance(values, Tensor) or values.dtype not in _checks.FLOATING:
        got = getattr(values, "dtype", type(values).__name__)
        raise TypeError(f"fit_mixture: values: got {got}, expected a floating torch.Tensor")
    run = backends.select("fit_mixture", backend, values, kind=kind, init=init)
    fitted: Mixture = run(values, kind, init=init, max_iter=max_iter, tol=tol, reg_covar=reg_covar, monotone=monotone)
    return fitted
