"""Values that mixtures are fitted to, and what two fits of them must share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast import ops

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
