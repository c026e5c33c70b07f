"""Pseudo-label consistency: votes of one net, their score, and which noisy pairs are refinable (METHODS 4.3, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pcsr_fast.methods.base import FloatArray
from pcsr_fast.methods.config import PcsConfig, SplitConfig
from pcsr_fast.methods.memory import VoteMemory
from pcsr_fast.methods.split import low_posterior
from pcsr_fast.ops import controller_update, minmax, pcs_threshold_quantile, target_share, vote_consistency


class Consistency:
    """Votes and threshold of one net.

    Args:
        num_pairs: N.
        num_classes: K.
        options: scores and thresholds.
        split: mixture settings, for `threshold: gmm`.
    """

    def __init__(self, num_pairs: int, num_classes: int, options: PcsConfig, split: SplitConfig) -> None:
        self.options = options
        self.split = split
        voters = 2 if options.source == "agreement" else 1
        self.votes = VoteMemory(num_pairs, num_classes, options.window * voters)
        self.threshold = 0.0

    def vote(self, ids: Tensor, image: Tensor | None, text: Tensor | None, weight: int) -> None:
        """One vote a pair and source for the pseudo-label of its (B, K) probabilities.

        `agreement` lets both modalities vote, so a pair whose modalities disagree cannot reach a wide gap.
        """
        sources = {"image": (image,), "text": (text,), "agreement": (image, text)}[self.options.source]
        for probabilities in sources:
            if probabilities is None:
                raise ValueError(f"vote: pcs.source is {self.options.source}, its predictions are missing")
            self.votes.add(ids, probabilities.argmax(1), weight)

    def score(self) -> FloatArray:
        """PCS of every pair (N,)."""
        return vote_consistency(self.votes.counts, self.options.score).numpy().astype(np.float32)

    def refinable(
        self, pcs: FloatArray, noisy: npt.NDArray[np.bool_], epoch: int, passed: int, total: int
    ) -> npt.NDArray[np.bool_]:
        """Mask (N,) of the noisy pairs whose PCS is above the threshold; `passed` of `total` epochs are over."""
        options = self.options
        target = target_share(passed, total, options.share_min, options.share_max)
        scores = torch.from_numpy(pcs)
        if options.threshold == "controller":
            # It looks at all pairs, so it moves whether or not any is noisy.
            start = float(scores.mean()) if epoch == 0 else self.threshold
            self.threshold = controller_update(start, scores, target)
        if not options.enabled or not noisy.any():
            return noisy.copy()
        if options.threshold == "quantile":
            self.threshold = pcs_threshold_quantile(scores, torch.from_numpy(noisy), target)
        elif options.threshold == "mean":
            self.threshold = float(pcs[noisy].mean())
        elif options.threshold == "gmm":
            return self._by_mixture(pcs, noisy)
        return noisy & (pcs.astype(np.float64) > self.threshold)

    def _by_mixture(self, pcs: FloatArray, noisy: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        values = minmax(torch.from_numpy(pcs[noisy])).numpy().astype(np.float32)
        steady = noisy.copy()
        steady[noisy] = low_posterior(values, self.split)[0] < 0.5
        self.threshold = float(pcs[steady].min()) if steady.any() else float(pcs[noisy].max())
        return steady

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {**self.votes.state(), "threshold": torch.tensor(self.threshold, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.votes.load_state(state)
        self.threshold = float(state["threshold"])
