"""D2S-VSE (ICCV 2025; METHODS 6): align pictures with dense texts, then distil these into the encodings of sparse captions.

Not a method for noisy correspondence: it trusts its pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import Batch, IdArray, Losses, NetSplit, Partition, SplitStatistics, Step
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.losses import positive_groups, reduced
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.prompt import PromptedTextEncoder
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops.scores import triplet_loss_of


class D2S:
    """Stage 1, the warm-up: L_align(v, t_dense). Stage 2: L_align(v, t') + weight [1 - mean cos(t', d)], t' = t + e.

    d is the dense text as a frozen copy of stage 1's text encoder encodes it; L_align is the triplet loss in which captions
    of one picture are no negatives. Each net is trained by itself.

    Args:
        config: switches; the groups `d2s` and `loss` are read.
        ids: pairs to train on.
        num_nets: nets trained side by side.
    """

    needs_split = False
    needs_predictions = False
    needs_embeddings = False

    def __init__(self, config: MethodConfig, ids: IdArray, num_nets: int) -> None:
        if config.warmup.epochs == 0:
            raise ConfigError("warmup.epochs: 0 leaves d2s without a teacher; expected at least 1 epoch of dense texts")
        self.config = config
        self.ids = ids
        self.teachers: list[PromptedTextEncoder | None] = [None] * num_nets
        # Weights of teachers that a checkpoint brought, until their net comes by.
        self.saved: list[dict[str, Tensor]] = [{} for _ in range(num_nets)]

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """No net asks another one."""

    def training_ids(self) -> IdArray:
        """The pairs given at construction."""
        return self.ids

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """Alignment of pictures with their dense texts."""
        images = model.encode_images(batch.regions)
        values = self._alignment(model, images, model.encode_texts(*_dense(batch)), batch)
        return Losses(self._risen(reduced(values, self.config.loss), batch), values.detach())

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """Never called: there is no split."""
        raise ValueError("D2S: has no partition; expected needs_split to be respected")

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """One step, on every pair."""
        return [Step("clean", lambda model, batch, visited: self._distilled(net, model, batch))]

    def _distilled(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        teacher = self._teacher(net, model)
        images, texts = model.encode_images(batch.regions), model.encode_texts(batch.words, batch.lengths)
        values = self._alignment(model, images, texts, batch)
        with torch.no_grad():
            dense = teacher(*_dense(batch)).values
        total = reduced(values, self.config.loss) + self.config.d2s.weight * self._distance(texts.values, dense)
        return Losses(self._risen(total, batch), values.detach())

    def _teacher(self, net: int, model: RetrievalModel) -> PromptedTextEncoder:
        """The net's teacher, copied from it when the second stage begins."""
        found = self.teachers[net]
        if found is None:
            encoder = model.text_encoder
            if not isinstance(encoder, PromptedTextEncoder):
                raise ValueError("D2S: the net has no prompt learner; expected RetrievalModel(prompted=True)")
            found = encoder.teacher()
            if self.saved[net]:
                found.load_state_dict(self.saved[net])
            encoder.distil()
            self.teachers[net], self.saved[net] = found, {}
        return found

    def _alignment(self, model: RetrievalModel, images: Tensor, texts: TextFeatures, batch: Batch) -> Tensor:
        options = self.config.loss
        negatives = "sum" if batch.epoch < self.config.d2s.all_violations else "hardest"
        groups = positive_groups(batch, options)
        S = model.scores(images, texts)
        return triplet_loss_of(S, margin=options.margin, negatives=negatives, groups=groups, reduction="none")

    def _distance(self, texts: Tensor, dense: Tensor) -> Tensor:
        if self.config.d2s.distill == "l2":
            return F.mse_loss(texts, dense)
        return 1 - (texts * dense).sum(1).mean()

    def _risen(self, loss: Tensor, batch: Batch) -> Tensor:
        rising = self.config.d2s.loss_warmup and batch.epoch == 0
        return loss * batch.share if rising else loss

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Nothing is remembered."""

    def state(self) -> dict[str, Tensor]:
        """The teachers."""
        weights = [one.state_dict() if one else saved for one, saved in zip(self.teachers, self.saved, strict=True)]
        return {f"teacher.{net}.{name}": value for net, one in enumerate(weights) for name, value in one.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        for net in range(len(self.teachers)):
            prefix = f"teacher.{net}."
            self.saved[net] = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            self.teachers[net] = None


def _dense(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.dense_words is None or batch.dense_lengths is None:
        raise ValueError("D2S: the batch carries no dense texts; expected a BatchSource that makes them")
    return batch.dense_words, batch.dense_lengths
