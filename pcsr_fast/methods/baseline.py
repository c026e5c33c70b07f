"""Training with one loss, plain or robust, on all pairs or on the true ones (oracle): nobody looks for wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from pcsr_fast.methods.base import Batch, IdArray, Losses, NetSplit, Partition, SplitStatistics, Step
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.losses import batch_total, contrastive_values, encode, positive_groups, warmup_losses
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops.scores import triplet_loss_of


class Baseline:
    """Warm-up, then the same loss on the same pairs to the end.

    Args:
        config: switches; the groups `warmup` and `loss` are read.
        ids: pairs to train on.
        kind: loss after the warm-up where `loss.kind` is auto: "triplet" (hardest negative, constant margin: VSE++) or a
            contrastive loss.
    """

    needs_split = False
    needs_predictions = False
    needs_embeddings = False

    def __init__(self, config: MethodConfig, ids: IdArray, kind: str) -> None:
        self.config = config
        self.ids = np.asarray(ids, dtype=np.int64)
        self.kind = kind if config.loss.kind == "auto" else config.loss.kind

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """No net asks another one."""

    def training_ids(self) -> IdArray:
        """The pairs given at construction."""
        return self.ids

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """The same warm-up as PCSR's, without the pseudo-classifier."""
        return warmup_losses(model, batch, self.config.warmup, self.config.loss, None)

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """Never called: there is no split."""
        raise ValueError("Baseline: has no partition; expected needs_split to be respected")

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """One step, on every pair."""
        return [Step("clean", lambda model, batch, visited: self._loss(net, model, batch))]

    def _loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        options = self.config.loss
        encoded = encode(model, batch)
        S, groups = model.scores(encoded.images, encoded.texts), positive_groups(batch, options)
        if self.kind == "triplet":
            values = triplet_loss_of(S, margin=options.margin, groups=groups, reduction="none")
        else:
            values = contrastive_values(
                self.kind, S, options, temperature=options.temperature, q=options.q, groups=groups
            )
        return Losses(batch_total(self.kind, values, options), values.detach())

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Nothing is remembered."""

    def state(self) -> dict[str, Tensor]:
        """No state."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """No state."""
