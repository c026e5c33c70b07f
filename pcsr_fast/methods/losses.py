"""Loss terms that several methods share, from scores and logits of one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.methods.base import Batch, Encoded, Losses
from pcsr_fast.methods.config import HeadConfig, LossConfig, WarmupConfig
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import entropy, soft_margin
from pcsr_fast.ops.scores import BatchScores, contrastive_loss_of, triplet_loss_of


def encode(model: RetrievalModel, batch: Batch) -> Encoded:
    """Embeddings of a batch's pictures and captions."""
    return Encoded(model.encode_images(batch.regions), model.encode_texts(batch.words, batch.lengths))


def detached(encoded: Encoded) -> Encoded:
    """The same embeddings as constants."""
    texts = TextFeatures(encoded.texts.values.detach(), encoded.texts.lengths)
    return Encoded(encoded.images.detach(), texts)


def positive_groups(batch: Batch, options: LossConfig) -> Tensor | None:
    """Ids of pairs that are no negatives of each other, or None for the diagonal alone."""
    return batch.images if options.positive_mask == "image_id" else None


def soft_triplet(S: BatchScores, target: Tensor, options: LossConfig, official: str, groups: Tensor | None) -> Tensor:
    """Hardest-negative triplet loss (B,) with margins m(y) (METHODS 2.2); `official` is the published margin mode here."""
    margin = soft_margin(target, options.margin, options.soft_margin)
    mode = official if options.margin_mode == "official" else options.margin_mode
    return triplet_loss_of(S, margin=margin, margin_mode=mode, groups=groups, reduction="none")


def pair_loss(
    kind: str, S: BatchScores, target: Tensor, options: LossConfig, *, q: float, official: str, groups: Tensor | None
) -> Tensor:
    """Loss (B,) of pairs with labels `target` (B,): the label sets the margin of a `triplet`, the weight of any other."""
    if kind == "triplet":
        return soft_triplet(S, target, options, official, groups)
    values = contrastive_loss_of(S, kind=kind, temperature=options.temperature, q=q, groups=groups, reduction="none")
    return target.detach() * values


def reduced(per_pair: Tensor, options: LossConfig) -> Tensor:
    """Sum or mean over the batch."""
    return per_pair.sum() if options.reduction == "sum" else per_pair.mean()


def warmup_terms(
    S: BatchScores, groups: Tensor | None, warmup: WarmupConfig, options: LossConfig
) -> tuple[Tensor, Tensor]:
    """The warm-up loss: (scalar to minimise, per-pair values); contrastive losses are means, as published."""
    if warmup.loss == "triplet_mean":
        values = triplet_loss_of(S, margin=options.margin, negatives="mean", groups=groups, reduction="none")
        return reduced(values, options), values
    kind = "infonce" if warmup.loss == "select" else warmup.loss
    values = contrastive_loss_of(
        S, kind=kind, temperature=warmup.temperature, q=warmup.q, groups=groups, reduction="none"
    )
    if warmup.loss == "select":
        keep = max(1, int(len(values) * warmup.select_rate))
        values = values.sort().values[:keep]
    return values.mean(), values


def teacher_classes(text_logits: Tensor, head: HeadConfig) -> Tensor:
    """Pseudo-classes (B,) that captions teach their pictures.

    With the plain argmax, a class that is slightly ahead for every caption is taught to every picture and takes all;
    standardising each class over the batch leaves what tells captions apart.
    """
    logits = text_logits.detach()
    if head.teacher == "standardised" and len(logits) > 1:
        logits = (logits - logits.mean(0)) / (logits.std(0) + 1e-6)
    return logits.argmax(1)


def pseudo_classification(model: RetrievalModel, encoded: Encoded, head: HeadConfig) -> tuple[Tensor, Tensor, Tensor]:
    """CE(p, argmax q) - lambda_en H(p), with the probabilities of images p and texts q (METHODS 3.1, 4.5)."""
    if head.detach:
        encoded = detached(encoded)
    image_logits = model.image_logits(encoded.images)
    text_logits = model.text_logits(encoded.texts)
    loss = F.cross_entropy(image_logits, teacher_classes(text_logits, head))
    loss = loss - head.lambda_en * entropy(image_logits, head.entropy)
    return loss, image_logits.detach().softmax(1), text_logits.detach().softmax(1)


def warmup_losses(
    model: RetrievalModel, batch: Batch, warmup: WarmupConfig, options: LossConfig, head: HeadConfig | None
) -> Losses:
    """A whole warm-up step; `head` adds the pseudo-classification terms, or only its predictions when it is not trained."""
    encoded = encode(model, batch)
    S = model.scores(encoded.images, encoded.texts)
    total, values = warmup_terms(S, positive_groups(batch, options), warmup, options)
    if head is None:
        return Losses(total, values.detach(), encoded=encoded)
    if head.train_in_warmup:
        extra, image_p, text_p = pseudo_classification(model, encoded, head)
        return Losses(total + extra, values.detach(), image_p, text_p, encoded)
    with torch.no_grad():
        _, image_p, text_p = pseudo_classification(model, encoded, head)
    return Losses(total, values.detach(), image_p, text_p, encoded)


def select_texts(texts: TextFeatures, index: Tensor, width: int) -> TextFeatures:
    """Published form of text replacement (METHODS 4.6 #8): the chosen word sequences, as padded in their batch, squeezed or
    padded to `width` words, while their lengths stay those of the chosen captions (at most `width`)."""
    values = texts.values[index]
    longest = values.shape[1]
    if longest > width:
        values = F.interpolate(values.transpose(1, 2), size=width, mode="linear").transpose(1, 2)
    else:
        left = (width - longest) // 2
        values = F.pad(values, (0, 0, left, width - longest - left))
    return TextFeatures(values, texts.lengths[index].clamp(max=width))
