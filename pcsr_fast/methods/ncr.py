"""NCR and its relatives BiCro and CREAM (METHODS 2, 7): co-divided pairs, labels by prediction, soft margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import (
    CLEAN,
    REFINABLE,
    Batch,
    IdArray,
    Losses,
    NetSplit,
    Partition,
    SplitStatistics,
    Step,
    Visited,
)
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.labels import Labels
from pcsr_fast.methods.losses import batch_total, detached, encode, pair_loss, positive_groups, warmup_losses
from pcsr_fast.methods.split import Confidence, Splitter, agreed_parts
from pcsr_fast.models.retrieval import RetrievalModel


class NCR:
    """The family's state and losses for `num_nets` co-trained nets.

    Noisy pairs are called refinable, as they are kept with a label of their own; those that the nets disagree about
    (`split.rule: agreement`) ambiguous.

    Args:
        config: switches.
        num_pairs: N.
        num_nets: 1 or 2; with 2, each net is trained on the other's split (co-divide).
        epochs: training epochs after the warm-up.
        kind: loss of the pairs where `loss.kind` is auto.
    """

    needs_split = True
    needs_predictions = False
    needs_embeddings = False

    def __init__(self, config: MethodConfig, num_pairs: int, num_nets: int, epochs: int, kind: str) -> None:
        self.config = config
        self.kind = kind if config.loss.kind == "auto" else config.loss.kind
        check(config, self.kind)
        self.num_pairs = num_pairs
        self.epochs = epochs
        self.splitter = Splitter(config.split, num_nets)
        self.labels = [Labels(config, net) for net in range(num_nets)]

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """Labels are predictions of the nets."""
        for labels in self.labels:
            labels.models = models

    def training_ids(self) -> IdArray:
        """All pairs: the method has to find the wrong ones itself."""
        return np.arange(self.num_pairs, dtype=np.int64)

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """Warm-up on all pairs."""
        return warmup_losses(model, batch, self.config.warmup, self.config.loss, None)

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """Each net's own split, and for each net the other's as its partition (METHODS 2.3)."""
        own = [self.splitter(net, one.losses) for net, one in enumerate(statistics)]
        if self.config.split.rule == "agreement":
            return self._by_agreement(own)
        parts = [np.where(one.clean, CLEAN, REFINABLE).astype(np.uint8) for one in own]
        splits = [
            NetSplit(one.losses, one.posterior, part, mixture=one.mixture) for one, part in zip(own, parts, strict=True)
        ]
        return [Partition(one.part, one.posterior, one.posterior) for one in reversed(splits)], splits

    def _by_agreement(self, own: list[Confidence]) -> tuple[list[Partition], list[NetSplit]]:
        part = agreed_parts(own)
        mean = np.mean([one.posterior for one in own], axis=0).astype(np.float32)
        partitions = [
            Partition(part, np.where(part == CLEAN, one.posterior, mean), one.posterior) for one in reversed(own)
        ]
        return partitions, [NetSplit(one.losses, one.posterior, part, mixture=one.mixture) for one in own]

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """Clean pairs, those the nets disagree about, noisy ones, each from its epoch on (METHODS 2.4, 7)."""
        options = self.config.ncr
        starts = {"clean": 0.0, "ambiguous": options.hard_start, "refinable": options.noisy_start}
        if self.config.split.rule != "agreement":
            del starts["ambiguous"]
        return [
            Step(subset, partial(self._loss, net, subset))
            for subset, start in starts.items()
            if epoch >= start * self.epochs
        ]

    def _loss(
        self, net: int, subset: str, model: RetrievalModel, batch: Batch, visited: Mapping[str, Visited]
    ) -> Losses:
        labels, options = self.labels[net], self.config.loss
        if subset == "refinable":
            # The public code's labels of noisy pairs have one dimension, which reads as a column's margin there.
            y, official = labels.noisy(batch, visited["clean"].batch), "col"
        else:
            y = labels.clean(model, batch)
            official = "matrix" if options.margin_mode == "matrix" else "row"
        encoded = encode(model, batch)
        S, groups = model.scores(encoded.images, encoded.texts), positive_groups(batch, options)
        values = pair_loss(self.kind, S, y, options, q=options.q, official=official, groups=groups)
        return Losses(batch_total(self.kind, values, options), values.detach(), encoded=detached(encoded))

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Nothing is remembered."""

    def state(self) -> dict[str, Tensor]:
        """Running losses."""
        return self.splitter.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.splitter.load_state(state)


def check(config: MethodConfig, kind: str) -> None:
    """Refuse combinations that cannot work.

    Raises:
        ConfigError: naming the keys and what to set instead.
    """
    rule = config.label.rule
    if rule == "po":
        raise ConfigError(
            "label.rule: po asks the pseudo-classifier, which these methods lack; expected posterior, ncr, mean_predict "
            "or bicro (profile: auto sets the method's own)"
        )
    if config.loss.margin_mode == "matrix" and (kind != "triplet" or rule not in ("ncr", "mean_predict")):
        raise ConfigError(
            f"loss.margin_mode: matrix mixes posteriors and predictions into margins, got loss {kind} with label.rule "
            f"{rule}; expected the triplet with ncr or mean_predict"
        )
