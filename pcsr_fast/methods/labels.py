"""Labels of a batch's pairs that the nets give them as they are now (METHODS 2.2, 2.4, 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pcsr_fast.methods.base import Batch, Encoded
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.losses import encode, pooled, positive_groups
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import bicro_label, ncr_predict, softmax_predict
from pcsr_fast.ops.scores import score_matrix_of, triplet_loss_of


@contextmanager
def looking(model: RetrievalModel) -> Iterator[None]:
    """Evaluation mode without gradients; the mode is put back."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


class Labels:
    """`label.rule` for one net.

    Attributes:
        models: all nets, this one among them; set before the first label is asked for.

    Args:
        config: switches.
        net: number of this net.
    """

    def __init__(self, config: MethodConfig, net: int) -> None:
        self.config = config
        self.net = net
        self.models: Sequence[RetrievalModel] = ()

    def clean(self, model: RetrievalModel, batch: Batch) -> Tensor:
        """Labels (B,) of clean pairs, whose `target` is their posterior; (B, B) under `loss.margin_mode: matrix`."""
        rule, w = self.config.label.rule, batch.target
        if rule in ("po", "posterior"):
            return w
        if rule == "bicro":
            return self._of_clean_by_anchors(batch)
        p = self._predicted(model, batch) if rule == "ncr" else self._mean_predicted(batch)
        if self.config.loss.margin_mode == "matrix":
            return w[:, None] + (1 - w)[:, None] * p[None, :]
        return w + (1 - w) * p

    def noisy(self, batch: Batch, clean: Batch) -> Tensor:
        """Labels (B,) of noisy pairs; `clean` is the clean batch of the same iteration."""
        rule = self.config.label.rule
        if rule == "posterior":
            return batch.target
        if rule == "bicro":
            return self._of_noisy_by_anchors(batch, clean)
        return self._mean_predicted(batch)

    def _predicted(self, model: RetrievalModel, batch: Batch) -> Tensor:
        """What one net makes of a batch: p (B,) in [0, 1], in evaluation mode."""
        with looking(model):
            return self._prediction(model, encode(model, batch), batch).to(batch.target.dtype)

    def _prediction(self, model: RetrievalModel, encoded: Encoded, batch: Batch) -> Tensor:
        options = self.config.loss
        S, groups = model.scores(encoded.images, encoded.texts), positive_groups(batch, options)
        if self.config.label.predict == "softmax":
            return softmax_predict(score_matrix_of(S), options.temperature, groups)
        hinges = triplet_loss_of(S, margin=options.margin, negatives="mean", groups=groups, reduction="none")
        return ncr_predict(hinges, options.margin)

    def _mean_predicted(self, batch: Batch) -> Tensor:
        return torch.stack([self._predicted(model, batch) for model in self.models]).mean(0)

    def _anchors(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The B // 10 + 1 surest pairs of a clean batch, and all its pooled pictures and captions, by the other net."""
        other = self.models[len(self.models) - 1 - self.net]
        with looking(other):
            encoded = encode(other, batch)
            best = self._prediction(other, encoded, batch).topk(len(batch) // 10 + 1).indices
            return best, *pooled(encoded)

    def _of_clean_by_anchors(self, batch: Batch) -> Tensor:
        best, images, texts = self._anchors(batch)
        labels = 0.5 + bicro_label(images, texts, images[best], texts[best]) / 2
        return labels.index_fill(0, best, 1.0).to(batch.target.dtype)

    def _of_noisy_by_anchors(self, batch: Batch, clean: Batch) -> Tensor:
        best, anchor_images, anchor_texts = self._anchors(clean)
        other = self.models[len(self.models) - 1 - self.net]
        with looking(other):
            images, texts = pooled(encode(other, batch))
        labels = bicro_label(images, texts, anchor_images[best], anchor_texts[best])
        return torch.where(labels < self.config.label.min_label, 0.0, labels).to(batch.target.dtype)
