"""DECL (METHODS 7): an evidential loss on all pairs, a triplet that grows harder on those the evidence speaks for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import Batch, IdArray, Losses
from pcsr_fast.methods.baseline import Baseline
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.losses import encode, positive_groups, reduced
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import evidential_agreement, evidential_loss_from_scores, triplet_loss_from_scores
from pcsr_fast.ops.scores import score_matrix_of


class DECL(Baseline):
    """Evidential training of `num_nets` nets that know nothing of each other.

    Args:
        config: switches; the groups `warmup`, `loss` and `decl` are read.
        ids: pairs to train on.
        num_nets: nets trained side by side.
    """

    def __init__(self, config: MethodConfig, ids: IdArray, num_nets: int) -> None:
        if config.loss.kind not in ("auto", "evidential"):
            raise ConfigError(f"loss.kind: got {config.loss.kind} with method decl, expected auto or evidential")
        super().__init__(config, ids, "evidential")
        self.steps = [0 for _ in range(num_nets)]

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """Both losses with every pair trusted, or another warm-up where `warmup.loss` names one."""
        if self.config.warmup.loss != "evidential":
            return super().warmup_loss(net, model, batch)
        return self._both(net, model, batch, trusting=True)

    def _loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        return self._both(net, model, batch, trusting=False)

    def _both(self, net: int, model: RetrievalModel, batch: Batch, *, trusting: bool) -> Losses:
        options, decl = self.config.loss, self.config.decl
        encoded = encode(model, batch)
        S, groups = score_matrix_of(model.scores(encoded.images, encoded.texts)), positive_groups(batch, options)
        trusted = torch.ones(len(batch), dtype=torch.bool, device=S.device)
        if not trusting:
            trusted, _ = evidential_agreement(S, temperature=options.temperature, groups=groups)
        values = evidential_loss_from_scores(
            S,
            labels=trusted.to(S.dtype),
            temperature=options.temperature,
            kl_weight=options.kl_weight,
            groups=groups,
            reduction="none",
        )
        count = max(decl.negatives, int(len(batch) - decl.eta * self.steps[net]))
        hinges = triplet_loss_from_scores(
            S.tanh(), margin=options.margin, negatives=f"topk:{count}", groups=groups, reduction="none"
        )
        total = values.mean() + decl.triplet_weight * reduced(hinges * trusted, options)
        return Losses(total, values.detach())

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Count the steps that the number of negatives falls with, those of the warm-up too."""
        self.steps[net] += 1

    def state(self) -> dict[str, Tensor]:
        """Steps of each net."""
        return {"steps": torch.tensor(self.steps, dtype=torch.int64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.steps = state["steps"].tolist()
