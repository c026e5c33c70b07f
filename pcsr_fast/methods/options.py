"""Switches of NCR's family and of the robust baselines, grouped and named as in METHODS 2 and 7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class LabelConfig:
    """How a pair's label y in [0, 1] is made, which sets its margin or weight.

    Attributes:
        rule: of clean pairs: `po` (prediction oscillation; needs the pseudo-classifier), `posterior` (the mixture's w), `ncr`
            (w + (1 - w) p, p the prediction of the net itself), `mean_predict` (the same with the mean of all nets'
            predictions), or `bicro` (agreement with clean anchors). Of noisy pairs in NCR: the mean prediction under `ncr`
            and `mean_predict`, else as for clean ones.
        predict: p from a batch's mean hinges (`hinge`, NCR) or from its softmax (`softmax`, CREAM).
        min_label: labels of noisy pairs below this become 0 under `bicro`.
    """

    rule: Literal["po", "posterior", "ncr", "mean_predict", "bicro"] = "po"
    predict: Literal["hinge", "softmax"] = "hinge"
    min_label: float = 0.5


@dataclass
class NcrConfig:
    """When NCR trains on what.

    Attributes:
        noisy_start: share of the epochs after the warm-up that pass before noisy pairs are trained on.
        hard_start: the same for pairs that the nets disagree about (`split.rule: agreement`).
    """

    noisy_start: float = 0.5
    hard_start: float = 0.25


@dataclass
class DeclConfig:
    """The triplet that DECL adds to its evidential loss: the mean of a batch's hardest negatives, ever fewer.

    Attributes:
        triplet_weight: its weight, lambda1.
        eta: negatives that are left out more, a step.
        negatives: number of negatives it ends at, mu; it starts at the batch.
    """

    triplet_weight: float = 0.8
    eta: float = 0.025
    negatives: int = 5
