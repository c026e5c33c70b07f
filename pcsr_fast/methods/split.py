"""Confidence split: per-sample losses -> two-component mixture -> probability of being clean (METHODS 2.3)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pcsr_fast.errors import UserError
from pcsr_fast.methods.base import AMBIGUOUS, CLEAN, REFINABLE, FloatArray, as_tensor
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


class Splitter:
    """Confidence split of each net, with the running losses that `split.momentum` keeps.

    Args:
        options: switches.
        num_nets: nets trained side by side.
    """

    def __init__(self, options: SplitConfig, num_nets: int) -> None:
        self.options = options
        self.running: list[FloatArray | None] = [None for _ in range(num_nets)]

    def __call__(self, net: int, losses: FloatArray) -> Confidence:
        """Split N pairs by the losses (N,) that a net gives them in this epoch."""
        return confidence(self._smoothed(net, losses), self.options)

    def _smoothed(self, net: int, losses: FloatArray) -> FloatArray:
        momentum, before = self.options.momentum, self.running[net]
        if momentum == 0:
            return losses
        now = minmax(torch.from_numpy(losses)).numpy().astype(np.float32)
        mixed = now if before is None else (momentum * before + (1 - momentum) * now).astype(np.float32)
        self.running[net] = mixed
        return mixed

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {f"running.{net}": as_tensor(one) for net, one in enumerate(self.running) if one is not None}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        found = [state.get(f"running.{net}") for net in range(len(self.running))]
        self.running = [None if one is None else one.numpy() for one in found]


def agreed_parts(own: Sequence[Confidence]) -> npt.NDArray[np.uint8]:
    """Kinds (N,) by all nets together: clean where all say so, refinable where none does, ambiguous where they differ.

    Source: METHODS 7 (CREAM, which calls the last ones hard).
    """
    clean = np.stack([one.clean for one in own])
    some = np.where(clean.any(0), AMBIGUOUS, REFINABLE)
    return np.where(clean.all(0), CLEAN, some).astype(np.uint8)
