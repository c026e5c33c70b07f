"""Loss terms that several methods share, from scores and logits of one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.methods.base import Batch, Encoded, Losses
from pcsr_fast.methods.config import HeadConfig, LossConfig, WarmupConfig
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import entropy, evidential_loss_from_scores, labelled_loss_from_scores, soft_margin
from pcsr_fast.ops.scores import BatchScores, contrastive_loss_of, score_matrix_of, triplet_loss_of


def encode(model: RetrievalModel, batch: Batch) -> Encoded:
    """Embeddings of a batch's pictures and captions."""
    return Encoded(model.encode_images(batch.regions), model.encode_texts(batch.words, batch.lengths))


def detached(encoded: Encoded) -> Encoded:
    """The same embeddings as constants."""
    texts = TextFeatures(encoded.texts.values.detach(), encoded.texts.lengths)
    return Encoded(encoded.images.detach(), texts)


def pooled(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """One vector a picture and a caption (B, d): as they are, or the means of regions and of words."""
    images, texts = encoded.images, encoded.texts
    if images.dim() == 2:
        return images, texts.values
    # Words behind a caption's end are zeros.
    return images.mean(1), texts.values.sum(1) / texts.lengths[:, None]


def positive_groups(batch: Batch, options: LossConfig) -> Tensor | None:
    """Ids of pairs that are no negatives of each other, or None for the diagonal alone."""
    return batch.images if options.positive_mask == "image_id" else None


def soft_triplet(S: BatchScores, target: Tensor, options: LossConfig, official: str, groups: Tensor | None) -> Tensor:
    """Hardest-negative triplet loss (B,) with margins m(y) (METHODS 2.2); `official` is the published margin mode here.

    `target` is (B,), or (B, B) where that mode is `matrix`.
    """
    margin = soft_margin(target, options.margin, options.soft_margin)
    mode = official if options.margin_mode in ("official", "matrix") else options.margin_mode
    return triplet_loss_of(S, margin=margin, margin_mode=mode, groups=groups, reduction="none")


def contrastive_values(
    kind: str,
    S: BatchScores,
    options: LossConfig,
    *,
    temperature: float,
    q: float,
    groups: Tensor | None,
    labels: Tensor | None = None,
) -> Tensor:
    """Loss (B,) of any kind but `triplet`; `labels` (B,) are the truth of soft_infonce, active, evidential, else a weight."""
    if kind == "evidential":
        return evidential_loss_from_scores(
            score_matrix_of(S),
            labels=labels,
            temperature=temperature,
            kl_weight=options.kl_weight,
            groups=groups,
            reduction="none",
        )
    if kind in ("soft_infonce", "active"):
        S = score_matrix_of(S)
        truth = S.new_ones(len(S)) if labels is None else labels
        return labelled_loss_from_scores(S, truth, kind=kind, temperature=temperature, groups=groups, reduction="none")
    margin = options.margin if kind == "tal" else None
    values = contrastive_loss_of(
        S, kind=kind, temperature=temperature, q=q, margin=margin, groups=groups, reduction="none"
    )
    return values if labels is None else labels * values


def pair_loss(
    kind: str, S: BatchScores, target: Tensor, options: LossConfig, *, q: float, official: str, groups: Tensor | None
) -> Tensor:
    """Loss (B,) of pairs with labels `target` (B,): the label sets the margin of a `triplet`, else see `contrastive_values`."""
    if kind == "triplet":
        return soft_triplet(S, target, options, official, groups)
    return contrastive_values(
        kind, S, options, temperature=options.temperature, q=q, groups=groups, labels=target.detach()
    )


def batch_total(kind: str, per_pair: Tensor, options: LossConfig) -> Tensor:
    """The scalar to minimise: triplets as `loss.reduction` says, contrastive losses as means, both as published."""
    return reduced(per_pair, options) if kind == "triplet" else per_pair.mean()


def reduced(per_pair: Tensor, options: LossConfig) -> Tensor:
    """Sum or mean over the batch."""
    return per_pair.sum() if options.reduction == "sum" else per_pair.mean()


def warmup_terms(
    S: BatchScores, groups: Tensor | None, warmup: WarmupConfig, options: LossConfig
) -> tuple[Tensor, Tensor]:
    """The warm-up loss: (scalar to minimise, per-pair values); contrastive losses are means, as published."""
    if warmup.loss in ("triplet_mean", "triplet_select"):
        values = triplet_loss_of(S, margin=options.margin, negatives="mean", groups=groups, reduction="none")
    else:
        kind = "infonce" if warmup.loss == "select" else warmup.loss
        values = contrastive_values(kind, S, options, temperature=warmup.temperature, q=warmup.q, groups=groups)
    if warmup.loss in ("select", "triplet_select"):
        values = values.sort().values[: max(1, int(len(values) * warmup.select_rate))]
    return (reduced(values, options) if warmup.loss.startswith("triplet") else values.mean()), values


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
