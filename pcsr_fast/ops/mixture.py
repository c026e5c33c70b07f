"""Mixtures of scalar losses as an op: fit and posterior, each a custom op without a gradient (KERNELS 1, K3)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks, _dispatch
from pcsr_fast.ops.cpu import mixture as cpu
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cuda import mixture as cuda
from pcsr_fast.ops.cuda.arguments import supports_values
from pcsr_fast.ops.triton import mixture as triton
from pcsr_fast.reference import mixture as reference
from pcsr_fast.reference.gaussian import MixtureFit
from pcsr_fast.reference.mixture_model import Mixture, check_monotone, low_posterior

FIT = (
    "Tensor values, str kind, str start, Tensor? init, int max_iter, float tol, float reg_covar, int? bins, str backend"
)
POSTERIOR = "Tensor values, str kind, Tensor parameters, float low, float high, str backend"
MOST_BINS = 1 << 24


def _reference_fit(values: Tensor, kind: str, *, bins: int | None, **options: Any) -> MixtureFit:
    """The reference fits all values, whatever `bins` is."""
    return reference.fit_parameters(values, kind, **options)


def _reference_posterior(values: Tensor, kind: str, fit: MixtureFit, low: float, high: float) -> Tensor:
    return low_posterior(fit, values, low, high)


backends.register("fit_mixture", "reference", _reference_fit)
backends.register("fit_mixture", "cpu", cpu.fit_mixture, supports)
backends.register("fit_mixture", "cuda", cuda.fit_mixture, supports_values)
backends.register("fit_mixture", "triton", triton.fit_mixture, triton.supports_values)
backends.register("mixture_posterior", "reference", _reference_posterior)
backends.register("mixture_posterior", "cpu", cpu.posterior, supports)
backends.register("mixture_posterior", "cuda", cuda.posterior, supports_values)
backends.register("mixture_posterior", "triton", triton.posterior, triton.supports_values)


def _packed(fit: MixtureFit | Mixture) -> Tensor:
    """Means, variances, weights, a and b as rows (5, 2); zeros where there are no shapes."""
    none = torch.zeros_like(fit.means)
    return torch.stack([fit.means, fit.variances, fit.weights, *(none if s is None else s for s in (fit.a, fit.b))])


def _unpacked(kind: str, parameters: Tensor, n_iter: float, converged: float, bound: float, gap: float) -> MixtureFit:
    means, variances, weights, a, b = parameters
    fit = MixtureFit(means, variances, weights, int(n_iter), bool(converged), bound, bic_gap=gap)
    return fit._replace(a=a, b=b) if kind == "beta" else fit


@torch.library.custom_op(
    "pcsr_fast::fit_mixture", mutates_args=(), schema=f"({FIT}) -> (Tensor parameters, Tensor outcome)"
)
def fit_op(
    values: Tensor,
    kind: str,
    start: str,
    init: Tensor | None,
    max_iter: int,
    tol: float,
    reg_covar: float,
    bins: int | None,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Parameters as rows (means, variances, weights, a, b) and (n_iter, converged, log-likelihood, BIC gap)."""
    options: dict[str, Any] = {"max_iter": max_iter, "tol": tol, "reg_covar": reg_covar, "bins": bins}
    options["init"] = start if init is None else init
    run = backends.select("fit_mixture", backend, values, kind=kind, **options)
    with torch.autocast(values.device.type, enabled=False):
        fit: MixtureFit = run(values, kind, **options)
    outcome = [float(number) for number in (fit.n_iter, fit.converged, fit.log_likelihood, fit.bic_gap)]
    return _packed(fit), torch.tensor(outcome, dtype=torch.float64)


@fit_op.register_fake
def _(values: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return values.new_empty((5, 2), dtype=torch.float64), torch.empty(4, dtype=torch.float64)


@torch.library.custom_op("pcsr_fast::mixture_posterior", mutates_args=(), schema=f"({POSTERIOR}) -> Tensor")
def posterior_op(values: Tensor, kind: str, parameters: Tensor, low: float, high: float, backend: str) -> Tensor:
    """Probability of the first component of `parameters` (5, 2) for `values` held in [low, high]."""
    fit = _unpacked(kind, parameters, 0, False, torch.nan, torch.nan)
    out: Tensor = _dispatch.run("mixture_posterior", backend, (values,), {"kind": kind}, values, kind, fit, low, high)
    return out


@posterior_op.register_fake
def _(values: Tensor, kind: str, parameters: Tensor, *_: Any) -> Tensor:
    return values.new_empty(values.shape, dtype=torch.float64)


def _evaluate(mixture: Mixture, values: Tensor, low: float, high: float, backend: str) -> Tensor:
    out: Tensor = posterior_op(values.detach(), mixture.kind, _packed(mixture), low, high, backend)
    return out


def fit_mixture(
    values: Tensor,
    kind: str = "gaussian",
    *,
    init: str | Tensor = "quantile",
    max_iter: int = 10,
    tol: float = 1e-2,
    reg_covar: float = 5e-4,
    monotone: str = "off",
    bins: int | None = None,
    backend: str | None = None,
) -> Mixture:
    """Two-component mixture of `values` (any shape, floating), by EM in float64, deterministic; no gradient.

    On a GPU, Gaussians of values that are not float64 take float32 arithmetic with float64 sums: parameters and
    log-likelihood within about 1e-6 (means: of a standard deviation), see `pcsr_fast.ops.device_mixture.fit_mixture`.

    Args:
        values: losses, usually through `minmax`; kind="beta" needs them in [0, 1]. The Mixture keeps them, no copy.
        kind: gaussian (scikit-learn's recurrence and stop rule) or beta (by moments, always `max_iter` iterations).
        init: quantile (2-means from the quartiles), kmeans (the best 2-means), floating means (2,), or an integer
            or bool assignment (N,) of 0 and 1. Gaussian only.
        max_iter, tol, reg_covar: EM iterations, change of mean log-likelihood that ends them, variance floor added.
        monotone: off, or clip for a posterior that never rises with the value.
        bins: 0 runs EM over all values. A number from 2 runs start and EM over a histogram of that many equal bins
            (each at the mean of its values), and the last EM iteration once more over all values; where a bin is wider
            than 1/64 of a component's standard deviation, as 0 does. None: 16,384 above 10 million values, else 0.
            The reference backend takes all values always.
        backend: see `pcsr_fast.backends`; the posterior uses the same.

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
    if not isinstance(init, str | Tensor):
        raise TypeError(f"fit_mixture: init: got {type(init).__name__}, expected a name or a torch.Tensor")
    check_monotone(monotone)
    if bins is not None and (bins < 0 or bins == 1 or bins > MOST_BINS):
        raise ValueError(f"fit_mixture: bins: got {bins}, expected 0, 2 to {MOST_BINS}, or None")
    start, means = ("", init.detach()) if isinstance(init, Tensor) else (init, None)
    named = backend or "auto"
    fitted = fit_op(values.detach(), kind, start, means, max_iter, tol, reg_covar, bins, named)
    fit = _unpacked(kind, fitted[0], *fitted[1].tolist())
    return reference.as_mixture(fit, kind, values, monotone, partial(_evaluate, backend=named))
