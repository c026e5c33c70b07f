"""Values that mixtures are fitted to, and what two fits of them must share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast import ops

HARD = (
    *("separated", "far", "overlapping", "tiny variance", "small mass", "offset", "equal variances", "nested", "spike"),
    *("uniform", "one normal", "tail", "grid", "large", "small"),
)
# What devices promise of fits of float32 values, in the units of `float32_errors`.
FLOAT32 = {"means": 1e-6, "variances": 1e-5, "weights": 1e-6, "log-likelihood": 1e-6, "posterior": 2e-6}
PARAMETERS = ("means", "variances", "weights", "a", "b")


def drawn(seed: int, count: int, shape: str = "bimodal", dtype: torch.dtype = torch.float64) -> Tensor:
    """`count` values in [0, 1], not all equal."""
    rng = np.random.default_rng(seed)
    low, high = rng.normal(0.2, 0.05, count), rng.normal(0.7, 0.12, count)
    values = {
        "bimodal": np.where(rng.random(count) < rng.uniform(0.1, 0.9), low, high),
        "uniform": rng.random(count),
        "tail": rng.lognormal(0, 2, count),
        "outlier": np.append(rng.random(count - 1), 1e5),
        "grid": rng.integers(0, 9, count) / 8,
    }[shape]
    values[:2] = (0.125, 0.5)
    return torch.from_numpy((values - values.min()) / (values.max() - values.min())).to(dtype)


def assert_same_fit(ours: ops.Mixture, truth: ops.Mixture, tolerance: float = 1e-10) -> None:
    """Parameters within `tolerance`, the same end of EM."""
    for name in PARAMETERS:
        got, expected = getattr(ours, name), getattr(truth, name)
        assert (got is None) == (expected is None)
        if got is not None:
            torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    assert (ours.n_iter, ours.converged) == (truth.n_iter, truth.converged)
    bound = {"rel": max(1e-9, tolerance), "abs": tolerance}
    assert ours.log_likelihood == pytest.approx(truth.log_likelihood, **bound)
    assert ours.bic_gap == pytest.approx(truth.bic_gap, rel=1e-7, abs=max(1e-6, 2 * truth.values.numel() * tolerance))


def hard_case(name: str, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """float32 values (`count`,) that are hard on float32 arithmetic, and a start (assignment)."""
    rng = np.random.default_rng(seed)
    z, u = rng.normal(size=count), rng.random(count)
    low = u < 0.6
    values = {
        "separated": np.where(low, 0.2 + 0.01 * z, 0.8 + 0.02 * z),
        "far": np.where(low, 0.2 + 1e-4 * z, 0.8 + 2e-4 * z),
        "overlapping": np.where(low, 0.4 + 0.1 * z, 0.6 + 0.12 * z),
        "tiny variance": np.where(low, 0.3 + 3e-4 * z, 0.7 + 0.1 * z),
        "small mass": np.where(u < max(1e-4, 3 / count), 0.9 + 0.01 * z, 0.3 + 0.05 * z),
        "offset": 1000 + 1e-2 * np.where(low, z, 3 + 0.5 * z),
        "equal variances": np.where(low, 0.3 + 0.1 * z, 0.7 + 0.1 * z),
        "nested": np.where(low, 0.5 + 0.01 * z, 0.5 + 0.1 * z),
        "spike": np.where(low, 0.5 + 1e-4 * z, 0.5 + 0.1 * z),
        "uniform": u,
        "one normal": z,
        "tail": np.exp(2 * z),
        "grid": np.floor(9 * u) / 8,
        "large": 1e6 * np.where(low, 0.4 + 0.1 * z, 0.6 + 0.12 * z),
        "small": 1e-4 * np.where(low, 0.4 + 0.1 * z, 0.6 + 0.12 * z),
    }[name]
    values[:4] += (values.max() - values.min()) * np.array([0, 1, 0, 1])  # both components have some
    made = torch.from_numpy(values).float()
    centre = float(made.median())
    far = (made - centre).abs() > 3e-2 if name in ("nested", "spike") else made > (made.min() + made.max()) / 2
    return made, far


def float32_errors(name: str, seed: int, count: int, max_iter: int) -> dict[str, float]:
    """How far a fit of a hard case by the chosen backend is from float64's: means by their component's deviation, other
    parameters by themselves, log-likelihood and posterior as they are."""
    values, init = hard_case(name, seed, count)
    variance = float(values.double().var())
    options = {"init": init, "max_iter": max_iter, "tol": 0.0, "reg_covar": 1e-6 * variance}
    ours, truth = ops.fit_mixture(values, **options), ops.fit_mixture(values, backend="reference", **options)
    assert (ours.n_iter, ours.converged) == (truth.n_iter, truth.converged)
    ratios = {"variances": ours.variances / truth.variances, "weights": ours.weights / truth.weights}
    return {
        "means": float(((ours.means - truth.means) / truth.variances.sqrt()).abs().max()),
        **{what: float((ratio - 1).abs().max()) for what, ratio in ratios.items()},
        "log-likelihood": abs(ours.log_likelihood - truth.log_likelihood),
        "posterior": float((ours.posterior() - truth.posterior()).abs().max()),
    }


def check_float32(name: str, seed: int, count: int, max_iter: int, slack: float = 1.0) -> None:
    """Errors are within `slack` times what is promised."""
    found = float32_errors(name, seed, count, max_iter)
    assert {what: error for what, error in found.items() if not error < slack * FLOAT32[what]} == {}
