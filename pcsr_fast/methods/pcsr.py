"""PCSR with adaptive pair optimisation (AAAI 2026; METHODS 4): split by confidence and consistency, train each kind its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.apo import PairOptimisation
from pcsr_fast.methods.base import (
    AMBIGUOUS,
    CLEAN,
    REFINABLE,
    Batch,
    FloatArray,
    IdArray,
    Losses,
    NetSplit,
    Partition,
    SplitStatistics,
    Step,
    StepLoss,
    as_tensor,
)
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.consistency import Consistency
from pcsr_fast.methods.labels import Labels
from pcsr_fast.methods.losses import warmup_losses
from pcsr_fast.methods.memory import PredictionBank
from pcsr_fast.methods.replacement import TextReplacement, best_clean_captions, load_state_of, state_of
from pcsr_fast.methods.split import Confidence, Splitter, agreed_parts, low_posterior
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import minmax, prediction_oscillation


class PCSR:
    """The method's state and losses for `num_nets` co-trained nets.

    Args:
        config: switches.
        images: (N,) rows of the pictures that the captions hold.
        num_nets: 1 or 2; with 2, each net is trained on the other's split (co-divide).
        epochs: training epochs after the warm-up.
    """

    needs_split = True

    def __init__(self, config: MethodConfig, images: IdArray, num_nets: int, epochs: int) -> None:
        check(config)
        self.config = config
        self.images = images
        self.epochs = epochs
        num_pairs, classes = len(images), config.head.num_classes
        nets = range(num_nets)
        self.consistency = [Consistency(num_pairs, classes, config.pcs, config.split) for _ in nets]
        self.banks = [PredictionBank(num_pairs, classes) for _ in nets]
        self.replacements = [TextReplacement(config.replace) for _ in nets]
        self.labels = [Labels(config, net) for net in nets]
        self.losses = [PairOptimisation(config, *parts) for parts in zip(self.replacements, self.labels, strict=True)]
        self.splitter = Splitter(config.split, num_nets)
        self.needs_predictions = config.head.enabled
        self.needs_embeddings = config.replace.pool == "clean_set"

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """Labels may be predictions of the nets."""
        for labels in self.labels:
            labels.models = models

    def training_ids(self) -> IdArray:
        """All pairs: the method has to find the wrong ones itself."""
        return np.arange(len(self.images), dtype=np.int64)

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """Warm-up on all pairs (METHODS 4.5, 4.7)."""
        c = self.config
        return warmup_losses(model, batch, c.warmup, c.loss, c.head if c.head.enabled else None)

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """Each net's own split, and for each net the other's as its partition."""
        sure = [self.splitter(net, one.losses) for net, one in enumerate(statistics)]
        agreed = agreed_parts(sure) if self.config.split.rule == "agreement" else None
        own = [
            self._split(net, one, confident, agreed, epoch)
            for net, (one, confident) in enumerate(zip(statistics, sure, strict=True))
        ]
        order = [len(own) - 1 - net for net in range(len(own))]
        return [own[other][0] for other in order], [split for _, split in own]

    def _split(
        self, net: int, statistics: SplitStatistics, sure: Confidence, agreed: npt.NDArray[np.uint8] | None, epoch: int
    ) -> tuple[Partition, NetSplit]:
        c, consistency = self.config, self.consistency[net]
        target = sure.posterior.copy()
        if statistics.image_probabilities is not None:
            p = as_tensor(statistics.image_probabilities)
            text = None if statistics.text_probabilities is None else as_tensor(statistics.text_probabilities)
            if c.po.enabled and c.label.rule == "po":
                target = self._rectified(net, sure.posterior, p)
            consistency.vote(torch.arange(len(p)), p, text, c.pcs.votes_per_epoch)
        pcs = consistency.score()
        warm = c.warmup.epochs
        steady = consistency.refinable(pcs, ~sure.clean, epoch, epoch + warm, self.epochs + warm)
        part = np.where(sure.clean, CLEAN, np.where(steady, REFINABLE, AMBIGUOUS)).astype(np.uint8)
        if agreed is not None:
            part = agreed
        result = Partition(part, target, sure.posterior)
        if self.needs_embeddings:
            noisy, clean = np.flatnonzero(part != CLEAN), np.flatnonzero(part == CLEAN)
            result.replacement, result.similarity = best_clean_captions(statistics, self.images, noisy, clean)
        classes = int((consistency.votes.counts.sum(0) > 0).sum())
        return result, NetSplit(sure.losses, sure.posterior, part, pcs, consistency.threshold, classes, sure.mixture)

    def _rectified(self, net: int, posterior: FloatArray, now: Tensor) -> FloatArray:
        """y = w + (1 - w) w_o t with the oscillation's posterior w_o and t = [w_o > threshold] (METHODS 3.2)."""
        oscillation = prediction_oscillation(now, self.banks[net].probabilities)
        steady, _ = low_posterior(minmax(oscillation).numpy().astype(np.float32), self.config.split)
        steady = np.where(steady > self.config.split.p_threshold, steady, 0).astype(np.float32)
        return (posterior + (1 - posterior) * steady).astype(np.float32)

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """Clean, then ambiguous, then refinable, each from its epoch on (METHODS 4.5)."""
        apo, losses = self.config.apo, self.losses[net]
        kinds: list[tuple[str, StepLoss]] = [("clean", losses.clean)]
        if apo.ambiguous.enabled and epoch >= apo.ambiguous.start_epoch:
            kinds.append(("ambiguous", losses.ambiguous))
        if apo.refinable.enabled and epoch >= apo.refinable.start_epoch:
            kinds.append(("refinable", losses.refinable))
        return [Step(subset, loss, alone=not apo.joint) for subset, loss in kinds]

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Votes of the warm-up, the prediction bank (never written by clean steps), the caption queue."""
        c = self.config
        ids = batch.ids.cpu()
        if subset == "clean":
            if losses.encoded is not None:
                self.replacements[net].remember(batch, losses.encoded, losses.image_probabilities)
            return
        if losses.image_probabilities is None:
            return
        image = losses.image_probabilities.cpu()
        self.banks[net].write(self._bank_rows(subset, batch), image)
        if subset == "warmup" and c.pcs.count_warmup:
            text = None if losses.text_probabilities is None else losses.text_probabilities.cpu()
            self.consistency[net].vote(ids, image, text, 1)

    def _bank_rows(self, subset: str, batch: Batch) -> Tensor:
        local = self.config.po.key == "local" and subset != "warmup"
        return (batch.local if local else batch.ids).cpu()

    def state(self) -> dict[str, Tensor]:
        """Votes, thresholds, banks, queues and running losses of all nets."""
        state = state_of(self.replacements) | self.splitter.state()
        for net, (consistency, bank) in enumerate(zip(self.consistency, self.banks, strict=True)):
            state |= {f"votes.{net}.{k}": v for k, v in consistency.state().items()}
            state |= {f"bank.{net}.{k}": v for k, v in bank.state().items()}
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        load_state_of(self.replacements, state)
        self.splitter.load_state(state)
        for net in range(len(self.banks)):
            for prefix, memory in ((f"votes.{net}.", self.consistency[net]), (f"bank.{net}.", self.banks[net])):
                memory.load_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


def check(config: MethodConfig) -> None:
    """Refuse combinations that cannot work.

    Raises:
        ConfigError: naming the keys and what to set instead.
    """
    replace, head, apo = config.replace, config.head, config.apo
    if config.loss.kind != "auto":
        raise ConfigError(f"loss.kind: {config.loss.kind} is read by other methods; expected auto, and apo.clean.loss")
    if config.loss.margin_mode == "matrix":
        raise ConfigError("loss.margin_mode: matrix is that of ncr; expected anchor, row, col or official")
    if not head.enabled and (config.pcs.enabled or replace.by == "prediction"):
        raise ConfigError(
            "head.enabled: false leaves no predictions; expected pcs.enabled: false and replace.by: similarity with it"
        )
    if not head.enabled and apo.ambiguous.enabled and apo.ambiguous.pair_loss == "none":
        raise ConfigError("apo.ambiguous.pair_loss: none with head.enabled: false leaves no loss; expected a pair loss")
    if replace.pool == "clean_set" and replace.by != "similarity":
        raise ConfigError("replace.pool: clean_set searches by embedding; expected replace.by: similarity with it")
    if (
        apo.refinable.enabled
        and apo.refinable.start_epoch == 0
        and replace.by == "prediction"
        and not (head.train_in_warmup and config.warmup.epochs)
    ):
        raise ConfigError(
            "apo.refinable.start_epoch: 0 would replace texts through an untrained head; expected a later epoch or "
            "head.train_in_warmup: true with warmup.epochs >= 1"
        )
