"""Switches of the methods, grouped and named as in METHODS 4.6, 4.7 and 9."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pcsr_fast.methods.options import DeclConfig, LabelConfig, NcrConfig
from pcsr_fast.methods.tsvc_config import TsvcConfig


@dataclass
class WarmupConfig:
    """Training on all pairs before the first split.

    Attributes:
        epochs: number of warm-up epochs.
        loss: `infonce` (as published), `gce_infonce` (robust), `rce` (L2RM), `ccl_log` (RCL), `tal` (RDE), `evidential`
            (DECL), `triplet_mean` (mean of the negatives, NCR), or one of these on the share `select_rate` of the batch with
            the smallest losses: `select` (InfoNCE, PCSR's code) and `triplet_select` (mean of the negatives, BiCro).
        temperature: temperature of the contrastive losses.
        q: exponent of `gce_infonce`: towards 0 it is InfoNCE, at 1 it is bounded like the mean absolute error.
        select_rate: share of a batch that `select` and `triplet_select` keep.
    """

    epochs: int = 5
    loss: Literal[
        "infonce", "gce_infonce", "rce", "ccl_log", "tal", "evidential", "triplet_mean", "select", "triplet_select"
    ] = "infonce"
    temperature: float = 0.05
    q: float = 0.7
    select_rate: float = 0.5


LossKind = Literal[
    "auto", "triplet", "infonce", "gce_infonce", "rce", "ccl_log", "ccl_tan", "ccl_gce", "tal", "evidential", "soft_infonce",
    "active",
]  # fmt: skip


@dataclass
class LossConfig:
    """The loss of a batch's pairs.

    Attributes:
        kind: loss after the warm-up of the baselines and of NCR's family: `auto` is the method's own (`triplet`, hardest
            negative: triplet, oracle, ncr, bicro; `infonce`; `ccl_log`: rcl; `evidential`: decl; `tal`: rde;
            `soft_infonce`: cream), or any of these, `gce_infonce`, `rce`, `ccl_tan`, `ccl_gce` or `active` (CRCL). PCSR
            and PC2 name their losses under `apo`.
        margin: alpha, the margin of a pair with label 1.
        soft_margin: how a label y in [0, 1] becomes a margin: `exponential`, `linear` or `sin`.
        margin_mode: `anchor`, `row`, `col`, `official` (row for clean and ambiguous, col for replaced text), or `matrix`
            (NCR's public code: a margin for each cell, of the row's posterior and the column's prediction).
        positive_mask: which pairs of a batch are never negatives: `diag` (the pair itself) or `image_id` (also other
            captions that hold the same image).
        reduction: of triplet losses, `sum` over the batch, as published, or `mean`; in the baselines and NCR's family
            contrastive losses are means.
        temperature: temperature of contrastive losses in the triplet's place, of `label.predict` and of `split.loss`.
        q: exponent of `gce_infonce` and `ccl_gce` as `kind`.
        kl_weight: lambda2 of `evidential`, the weight of the divergence from the uniform opinion.
    """

    kind: LossKind = "auto"
    margin: float = 0.2
    soft_margin: Literal["exponential", "linear", "sin"] = "exponential"
    margin_mode: Literal["anchor", "row", "col", "official", "matrix"] = "anchor"
    positive_mask: Literal["diag", "image_id"] = "image_id"
    reduction: Literal["sum", "mean"] = "sum"
    temperature: float = 0.05
    q: float = 0.7
    kl_weight: float = 0.1


@dataclass
class SplitConfig:
    """Confidence split: per-sample losses and a two-component mixture (METHODS 2.3).

    Attributes:
        rule: `mixture`, each net's own; or `agreement` of two nets' mixtures (CREAM): clean where both say so, ambiguous
            where they differ, refinable where both say noisy. With one net these are the same.
        loss: what a pair's loss is: `triplet_mean` (mean hinge over a batch's negatives, NCR) or `infonce` (CREAM).
        mixture: `gaussian` or `beta`.
        init: start of the Gaussian mixture: `quantile` (deterministic) or `kmeans` (as scikit-learn); the beta mixture
            has one fixed start.
        p_threshold: a pair is clean when its posterior is above this.
        min_noisy_frac: this share is always called noisy, even if every posterior is high.
        loader: order of the pairs in the split pass: `shuffled` (seeded) or `sequential`.
        batch_size: pairs a batch of the split pass, whose captions and images are the negatives; 0 means train.batch_size.
        passes: shuffled passes whose losses are averaged.
        momentum: weight of the earlier epochs in a running mean of the normalised losses; 0 uses this epoch alone.
        monotone: `clip` makes the posterior fall with the loss; `off` leaves the mixture as it is.
    """

    rule: Literal["mixture", "agreement"] = "mixture"
    loss: Literal["triplet_mean", "infonce"] = "triplet_mean"
    mixture: Literal["gaussian", "beta"] = "gaussian"
    init: Literal["quantile", "kmeans"] = "quantile"
    p_threshold: float = 0.5
    min_noisy_frac: float = 0.01
    loader: Literal["shuffled", "sequential"] = "shuffled"
    batch_size: int = 0
    passes: int = 1
    momentum: float = 0.0
    monotone: Literal["off", "clip"] = "off"


@dataclass
class HeadConfig:
    """Pseudo-classifier.

    Attributes:
        enabled: whether the pseudo-classification terms are trained on clean pairs.
        num_classes: pseudo-classes K.
        hidden: hidden units.
        entropy: `batch_mean` (entropy of the mean prediction, against collapse) or `per_sample` (as published).
        lambda_en: weight of the entropy term.
        train_in_warmup: whether the warm-up trains the head.
        text_pool: how a caption is brought to the head's size: `interp_valid` or `pad_batch_max` (as published).
        teacher: how a caption's logits become the class its picture is taught: their `argmax` (as published, which
            lets one class take all), or the argmax after each class is `standardised` over the batch.
        detach: whether the head learns from the embeddings without changing them (as published, it changes them).
    """

    enabled: bool = True
    num_classes: int = 256
    hidden: int = 256
    entropy: Literal["batch_mean", "per_sample"] = "batch_mean"
    lambda_en: float = 1.0
    train_in_warmup: bool = True
    text_pool: Literal["interp_valid", "pad_batch_max"] = "interp_valid"
    teacher: Literal["standardised", "argmax"] = "standardised"
    detach: bool = True


@dataclass
class PcsConfig:
    """Pseudo-label consistency score: which noisy pairs are refinable (METHODS 4.3, 4.4).

    Attributes:
        enabled: off calls every noisy pair refinable (PC2).
        score: `gap`, `gap_ratio`, `majority` or `neg_entropy` of the votes.
        window: split passes that are remembered; 0 remembers all.
        source: who votes: the `image`, the `text`, or both (`agreement`).
        threshold: `quantile` of the noisy pairs, `controller` (as published), `mean`, or `gmm`.
        share_min: refinable share at the start of training.
        share_max: refinable share at its end.
        count_warmup: whether predictions of warm-up steps vote.
        votes_per_epoch: weight of a split pass's vote.
    """

    enabled: bool = True
    score: Literal["gap", "gap_ratio", "majority", "neg_entropy"] = "gap_ratio"
    window: int = 0
    source: Literal["image", "text", "agreement"] = "image"
    threshold: Literal["quantile", "controller", "mean", "gmm"] = "quantile"
    share_min: float = 0.4
    share_max: float = 0.9
    count_warmup: bool = False
    votes_per_epoch: int = 1


@dataclass
class PoConfig:
    """Prediction oscillation: rectifies the labels of clean pairs (METHODS 3.2).

    Attributes:
        enabled: off uses the mixture's posterior alone.
        key: bank index: `global` pair id, or `local` position in the subset (the published defect).
    """

    enabled: bool = True
    key: Literal["global", "local"] = "global"


@dataclass
class ReplaceConfig:
    """Text replacement for refinable pairs.

    Attributes:
        by: what is compared: pseudo-class `prediction` (as published) or the model's own image-text `similarity`.
        pool: candidates: the clean `batch`, a `queue` of recent clean captions, the whole `clean_set` (by similarity,
            with `vse` only), or `auto`: the clean set where that is possible, else the batch.
        queue_size: captions in the queue.
        min_cos: smallest similarity at which a caption is put in another's place.
        below: what happens under it: `drop` the pair, or `margin0` (as published).
        detach_margin: whether the margin is a constant of the step.
        resample: `gather` takes the caption as it is; `official` squeezes it to the replaced one's length (SGRAF only).
        reuse_clean_emb: take the clean step's embeddings instead of encoding again.
        mask_equal: whether pairs that got the same caption are no negatives of each other.
    """

    by: Literal["prediction", "similarity"] = "prediction"
    pool: Literal["auto", "batch", "queue", "clean_set"] = "batch"
    queue_size: int = 4096
    min_cos: float = 0.5
    below: Literal["drop", "margin0"] = "drop"
    detach_margin: bool = True
    resample: Literal["gather", "official"] = "gather"
    reuse_clean_emb: bool = False
    mask_equal: bool = True


PairLoss = Literal["triplet", "infonce", "gce_infonce", "ccl_log"]


@dataclass
class CleanConfig:
    """Clean pairs.

    Attributes:
        loss: `triplet` (hardest negative with a soft margin, as published), or a contrastive loss weighted with the label.
        q: exponent of `gce_infonce`.
    """

    loss: PairLoss = "triplet"
    q: float = 0.7


@dataclass
class RefinableConfig:
    """Refinable pairs.

    Attributes:
        enabled: whether they are trained on.
        start_epoch: first epoch with a refinable step.
        loss: loss of the picture with its replaced text: `triplet` (as published), or a contrastive loss weighted with
            the similarity that vouches for the replacement.
        q: exponent of `gce_infonce`.
        weight: weight of this loss.
    """

    enabled: bool = True
    start_epoch: int = 25
    loss: PairLoss = "triplet"
    q: float = 0.7
    weight: float = 1.0


@dataclass
class AmbiguousConfig:
    """Ambiguous pairs.

    Attributes:
        enabled: whether they are trained on.
        start_epoch: first epoch with an ambiguous step.
        replace_text: also replace their text (as published; the paper's abstract says otherwise).
        q: exponent of the generalised cross entropy, on pseudo-classes and in `gce_infonce`.
        pair_loss: robust loss on the original pair: `none`, `ccl_log`, `gce_infonce` or `triplet` (margin by the label).
        pair_weight: weight of the robust pair loss.
    """

    enabled: bool = True
    start_epoch: int = 40
    replace_text: bool = False
    q: float = 0.7
    pair_loss: Literal["none", "ccl_log", "gce_infonce", "triplet"] = "none"
    pair_weight: float = 1.0


@dataclass
class ApoConfig:
    """Adaptive pair optimisation: what each kind of pair is trained with.

    Attributes:
        joint: whether the optimiser steps once an iteration on the sum of all kinds' losses; as published it steps after
            each, so that Adam gives noisy kinds as long a step as clean ones.
    """

    joint: bool = False
    clean: CleanConfig = field(default_factory=CleanConfig)
    refinable: RefinableConfig = field(default_factory=RefinableConfig)
    ambiguous: AmbiguousConfig = field(default_factory=AmbiguousConfig)


@dataclass
class D2SConfig:
    """Dense-to-sparse distillation; the warm-up is the stage of dense texts (METHODS 6).

    Attributes:
        distill: how a caption is drawn to its picture's dense text: 1 - `cosine`, or `l2` (squared distance of the unit
            vectors).
        weight: of that term beside the triplet loss; 0 leaves the alignment alone.
        all_violations: epochs of each stage whose triplet loss sums over all negatives, before the hardest one alone.
        loss_warmup: whether the loss rises linearly from 0 over the first epoch of each stage.
        dense_file: JSON lines of {"image": name, "text": dense text} for every training picture; without it the dense
            text is all captions that hold the picture, joined.
    """

    distill: Literal["cosine", "l2"] = "cosine"
    weight: float = 1.0
    all_violations: int = 1
    loss_warmup: bool = True
    dense_file: str | None = None


@dataclass
class MethodConfig:
    """All groups that a method may read."""

    warmup: WarmupConfig = field(default_factory=WarmupConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    pcs: PcsConfig = field(default_factory=PcsConfig)
    po: PoConfig = field(default_factory=PoConfig)
    replace: ReplaceConfig = field(default_factory=ReplaceConfig)
    apo: ApoConfig = field(default_factory=ApoConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    ncr: NcrConfig = field(default_factory=NcrConfig)
    decl: DeclConfig = field(default_factory=DeclConfig)
    d2s: D2SConfig = field(default_factory=D2SConfig)
    tsvc: TsvcConfig = field(default_factory=TsvcConfig)
