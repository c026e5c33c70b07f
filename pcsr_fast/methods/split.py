"""Confidence split: per-sample losses -> two-component mixture -> probability of being clean (METHODS 2.3)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pcsr_fast.errors import UserError
from pcsr_fast.methods.base import FloatArray
from pcsr_fast.methods.config import SplitConfig
from pcsr_fast.ops import MixtureWarning, fit_mixture, minmax


@dataclass
class Confidence:
    """Posterior (N,) of being clean, the clean mask it implies, the normalised losses and the mixture in plain numbers."""

    posterior: FloatArray
    clean: npt.NDArray[np.bool_]
    losses: FloatArray
    mixture: dict[str, object]


def low_posterior(values: FloatArray, options: SplitConfig) -> tuple[FloatArray, dict[str, object]]:
    """Posterior (N,) of the low-mean component for values in [0, 1]; constant values say nothing and give 1."""
    if float(values.max()) == float(values.min()):
        return np.ones_like(values), {}
    with warnings.catch_warnings():
        # One component explaining all is an answer here, and the report shows the separation; it is no reason to stop.
        warnings.simplefilter("ignore", MixtureWarning)
        x = torch.from_numpy(values)
        gaussian = options.mixture == "gaussian"
        mixture = fit_mixture(x, init=options.init) if gaussian else fit_mixture(x, options.mixture)
    posterior = mixture.posterior(monotone=options.monotone)
    summary: dict[str, object] = {
        "means": mixture.means.tolist(),
        "variances": mixture.variances.tolist(),
        "weights": mixture.weights.tolist(),
        "separation": float(mixture.separation),
    }
    return posterior.numpy().astype(np.float32), summary


def confidence(losses: FloatArray, options: SplitConfig) -> Confidence:
    """Split N pairs by their losses.

    Where every posterior is above the threshold, the share `min_noisy_frac` with the smallest is called noisy all the
    same (METHODS 2.3 step 4, G20).

    Raises:
        UserError: a loss is NaN or infinite.
    """
    if not np.isfinite(losses).all():
        row = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise UserError(
            f"split: the loss of pair {row} is {losses[row]}, expected finite numbers (a smaller train.lr?)"
        )
    normalised = minmax(torch.from_numpy(losses)).numpy().astype(np.float32)
    posterior, mixture = low_posterior(normalised, options)
    threshold = options.p_threshold
    if float(posterior.min()) > threshold:
        # Among equal posteriors the larger loss goes first, so that the share is kept to the pair.
        order = np.lexsort((-normalised, posterior))
        clean = np.ones(len(posterior), dtype=bool)
        clean[order[: int(len(posterior) * options.min_noisy_frac)]] = False
    else:
        clean = posterior > threshold
    return Confidence(posterior, clean, normalised, mixture)
