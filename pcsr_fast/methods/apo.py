"""Adaptive pair optimisation: what clean, refinable and ambiguous pairs are trained with (METHODS 4.5, 4.7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pcsr_fast.methods.base import Batch, Encoded, Losses, Visited
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.labels import Labels
from pcsr_fast.methods.losses import (
    detached,
    encode,
    pair_loss,
    positive_groups,
    pseudo_classification,
    reduced,
    teacher_classes,
)
from pcsr_fast.methods.replacement import Replaced, TextReplacement
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import entropy, gce


class PairOptimisation:
    """Losses of the three kinds of pairs for one net.

    Args:
        config: switches.
        replacement: chooses captions for pictures whose own look wrong.
        labels: of clean pairs.
    """

    def __init__(self, config: MethodConfig, replacement: TextReplacement, labels: Labels) -> None:
        self.config = config
        self.replacement = replacement
        self.labels = labels

    def clean(self, model: RetrievalModel, batch: Batch, visited: Mapping[str, Visited]) -> Losses:
        """Clean pairs: matched as they are, with label y; they also teach the pseudo-classifier."""
        c, options = self.config, self.config.apo.clean
        target = self.labels.clean(model, batch)
        encoded = encode(model, batch)
        S = model.scores(encoded.images, encoded.texts)
        groups = positive_groups(batch, c.loss)
        values = pair_loss(options.loss, S, target, c.loss, q=options.q, official="row", groups=groups)
        losses = Losses(reduced(values, c.loss), values.detach(), encoded=detached(encoded))
        if c.head.enabled:
            extra, losses.image_probabilities, losses.text_probabilities = pseudo_classification(model, encoded, c.head)
            losses.total = losses.total + extra
        return losses

    def refinable(self, model: RetrievalModel, batch: Batch, visited: Mapping[str, Visited]) -> Losses | None:
        """Refinable pairs: the picture learns the caption put in its own one's place; None if none is similar enough."""
        options = self.config.apo.refinable
        images = model.encode_images(batch.regions)
        p = model.image_logits(images).softmax(1) if self.config.head.enabled else None
        replaced = self.replacement(model, batch, images, p, visited["clean"])
        values = self._replaced_loss(model, images, replaced, options.loss, options.q, "col")
        if values is None:
            return None
        kept = None if p is None else p.detach()
        used = replaced.similarity.detach() >= self.config.replace.min_cos
        total = options.weight * reduced(values, self.config.loss)
        return Losses(total, values.detach(), kept, replaced=(batch.images[used], replaced.ids[used]))

    def ambiguous(self, model: RetrievalModel, batch: Batch, visited: Mapping[str, Visited]) -> Losses:
        """Ambiguous pairs: robust losses on the original pair, its own caption being the teacher of its pseudo-class."""
        c, options = self.config, self.config.apo.ambiguous
        # A detached head alone asks nothing of the encoders, so their graph is not built.
        with torch.set_grad_enabled(not c.head.detach or options.pair_loss != "none" or options.replace_text):
            encoded = encode(model, batch)
        total = encoded.images.new_zeros(())
        values, p = total.expand(len(batch)), None
        if c.head.enabled:
            seen = detached(encoded) if c.head.detach else encoded
            logits = model.image_logits(seen.images)
            with torch.no_grad():
                teacher = teacher_classes(model.text_logits(seen.texts), c.head)
            values = gce(logits, teacher, options.q, reduction="none")
            total = values.mean() - c.head.lambda_en * entropy(logits, c.head.entropy)
            p = logits.softmax(1)
        if options.pair_loss != "none":
            values = self._robust_pair_loss(model, batch, encoded)
            total = total + options.pair_weight * reduced(values, c.loss)
        if options.replace_text:
            replaced = self.replacement(model, batch, encoded.images, p, visited["clean"])
            triplet = self._replaced_loss(model, encoded.images, replaced, "triplet", options.q, "row")
            total = total if triplet is None else total + reduced(triplet, c.loss)
        return Losses(total, values.detach(), None if p is None else p.detach())

    def _replaced_loss(
        self, model: RetrievalModel, images: Tensor, new: Replaced, kind: str, q: float, official: str
    ) -> Tensor | None:
        options = self.config.replace
        sure = new.similarity.detach() >= options.min_cos
        if options.below == "drop":
            if int(sure.sum()) < 2:
                return None
            images, new, sure = images[sure], new.select(sure), sure[sure]
        similarity = new.similarity.detach() if options.detach_margin else new.similarity
        target = torch.where(sure, similarity, 0).clamp(0, 1)
        S = model.scores(images, new.texts)
        groups = new.ids if options.mask_equal else None
        return pair_loss(kind, S, target, self.config.loss, q=q, official=official, groups=groups)

    def _robust_pair_loss(self, model: RetrievalModel, batch: Batch, encoded: Encoded) -> Tensor:
        c, options = self.config, self.config.apo.ambiguous
        S = model.scores(encoded.images, encoded.texts)
        # A triplet's margin follows the label; a robust loss is told nothing about its pair.
        target = batch.target if options.pair_loss == "triplet" else torch.ones_like(batch.target)
        groups = positive_groups(batch, c.loss)
        return pair_loss(options.pair_loss, S, target, c.loss, q=options.q, official="row", groups=groups)
