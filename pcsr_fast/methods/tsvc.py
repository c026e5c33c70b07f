"""TSVC (AAAI 2025), a reconstruction from the abstract: three models, labels by variation of mutual information (METHODS 5)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
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
    as_tensor,
)
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.losses import encode, positive_groups, reduced, warmup_losses
from pcsr_fast.methods.split import Splitter
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import adaptive_margin, positive_gaps, variation_label, variation_rates
from pcsr_fast.ops.scores import score_matrix_of, triplet_loss_of

MASTER, ASSISTANT = 0, 1
_CHUNK = 4096
Mask = npt.NDArray[np.bool_]


class TSVC:
    """Tripartite learning with semantic variation consistency: a reconstruction from the abstract, not the authors' method.

    The formulas of the paper are not public; these are METHODS 5's, and no number of theirs is the paper's. Net 0 is the
    Master, net 1 the Assistant. The Coordinator is a running mean of the Master's weights, kept here: it splits the pairs
    into clean and noisy ones. The Assistant labels the noisy ones by how much their mutual information varies from that of
    a clean pair, selects those above a threshold, and is trained on them beside the clean ones. The Master is trained on the
    clean ones, and adopts what the Assistant selected in two splits running: before and after having been trained on it.

    Args:
        config: switches; the groups `warmup`, `loss`, `split` and `tsvc` are read.
        images: (N,) rows of the pictures that the captions hold.
        num_nets: 2.

    Raises:
        ConfigError: another number of nets.
    """

    needs_split = True
    needs_predictions = False
    needs_embeddings = True

    def __init__(self, config: MethodConfig, images: IdArray, num_nets: int) -> None:
        if num_nets != 2:
            raise ConfigError(f"train.num_nets: got {num_nets}, expected 2: tsvc trains a Master and an Assistant")
        self.config = config
        self.images = images
        self.selected: Mask = np.zeros(len(images), dtype=np.bool_)
        self.spread = [0.0, 0.0]
        self.splitter = Splitter(config.split, 1)
        self.models: Sequence[RetrievalModel] = ()

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """Keep the nets, and begin the Coordinator as a copy of the Master."""
        self.models = models
        self.coordinator = copy.deepcopy(models[MASTER]).eval().requires_grad_(False)

    def lookers(self) -> Sequence[RetrievalModel]:
        """The Coordinator, whose losses divide the pairs, and the Assistant, whose embeddings label them."""
        return [self.coordinator, self.models[ASSISTANT]]

    def training_ids(self) -> IdArray:
        """All pairs: the method has to find the wrong ones itself."""
        return np.arange(len(self.images), dtype=np.int64)

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """The same warm-up on all pairs as the baselines'."""
        return warmup_losses(model, batch, self.config.warmup, self.config.loss, None)

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """The Coordinator's clean pairs for both nets, and of the noisy ones those that each is to be trained on."""
        by_coordinator, by_assistant = statistics
        sure = self.splitter(0, by_coordinator.losses)
        target = self._labels(by_assistant, sure.clean)
        informative = ~sure.clean & (target > self.config.tsvc.min_label)
        adopted = informative & self.selected
        self.selected = informative
        parts = [_parts(sure.clean, used) for used in (adopted, informative)]
        splits = [NetSplit(sure.losses, sure.posterior, part, mixture=sure.mixture) for part in parts]
        return [Partition(part, target, sure.posterior) for part in parts], splits

    def _labels(self, statistics: SplitStatistics, clean: Mask) -> FloatArray:
        """Labels (N,): 1 for clean pairs, for a noisy one how little it varies from the clean pair of the closest picture."""
        if statistics.image_embeddings is None or statistics.text_embeddings is None:
            raise ValueError("TSVC: the split pass collected no embeddings; expected needs_embeddings to be respected")
        labels = np.ones(len(clean), dtype=np.float32)
        noisy, anchors = np.flatnonzero(~clean), np.flatnonzero(clean)
        if len(anchors) == 0:
            labels[noisy] = 0
            return labels
        images, texts = (torch.from_numpy(one) for one in (statistics.image_embeddings, statistics.text_embeddings))
        candidates = images[self.images[anchors]].T
        options = self.config.tsvc
        for start in range(0, len(noisy), _CHUNK):
            rows = noisy[start : start + _CHUNK]
            v_b = images[self.images[rows]]
            a = anchors[(v_b @ candidates).argmax(1).numpy()]
            rates = variation_rates(v_b, texts[rows], images[self.images[a]], texts[a], options.mi, options.bins)
            labels[rows] = variation_label(*rates, options.scale).float().numpy()
        return labels

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """Clean pairs, the Master's with a plain margin, then the selected noisy ones with an adaptive one."""
        return [
            Step("clean", lambda model, batch, _: self._loss(net, model, batch, adaptive=net == ASSISTANT)),
            Step("refinable", lambda model, batch, _: self._loss(net, model, batch, adaptive=True)),
        ]

    def _loss(self, net: int, model: RetrievalModel, batch: Batch, *, adaptive: bool) -> Losses:
        """Hardest-negative triplet loss with margin alpha, or with the margins of DASM."""
        options, encoded = self.config.loss, encode(model, batch)
        S, groups = model.scores(encoded.images, encoded.texts), positive_groups(batch, self.config.loss)
        if adaptive:
            with torch.no_grad():
                spread = self._spread(net, positive_gaps(score_matrix_of(S), groups))
            margin = adaptive_margin(batch.target, options.margin, options.soft_margin, *spread)
            values = triplet_loss_of(S, margin=margin, margin_mode="anchor", groups=groups, reduction="none")
        else:
            values = triplet_loss_of(S, margin=options.margin, groups=groups, reduction="none")
        return Losses(reduced(values, options), values.detach(), encoded=encoded)

    def _spread(self, net: int, gaps: Tensor) -> tuple[float, float]:
        """Standard deviation of a batch's gaps, and its running mean, in which it is counted from now on."""
        if len(gaps) < 2:
            return 0.0, 0.0
        now, past = float(gaps.double().std()), self.config.tsvc.spread_ema
        self.spread[net] = past * self.spread[net] + (1 - past) * now if self.spread[net] else now
        return now, self.spread[net]

    @torch.no_grad()
    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """The Coordinator is the Master through the warm-up, then follows it."""
        if net != MASTER:
            return
        past = 0.0 if subset == "warmup" else self.config.tsvc.ema
        mine, masters = self.coordinator.state_dict(), self.models[MASTER].state_dict()
        trained = dict(self.coordinator.named_parameters())
        for name, value in mine.items():
            if name in trained and past:
                value.lerp_(masters[name], 1 - past)
            else:
                value.copy_(masters[name])

    def state(self) -> dict[str, Tensor]:
        """The Coordinator, what the Assistant selected last, and the running spreads and losses."""
        state = {f"coordinator.{name}": value for name, value in self.coordinator.state_dict().items()}
        state["selected"] = as_tensor(self.selected.astype(np.uint8))
        return state | self.splitter.state() | {"spread": torch.tensor(self.spread, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        prefix = "coordinator."
        self.coordinator.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.selected = state["selected"].numpy().astype(np.bool_)
        self.spread = state["spread"].tolist()
        self.splitter.load_state(state)


def _parts(clean: Mask, used: Mask) -> npt.NDArray[np.uint8]:
    return np.where(clean, CLEAN, np.where(used, REFINABLE, AMBIGUOUS)).astype(np.uint8)
