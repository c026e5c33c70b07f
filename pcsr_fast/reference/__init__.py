"""The readable truth of every op: plain PyTorch, autograd, any floating dtype, the equation in the docstring."""

from __future__ import annotations

from pcsr_fast.reference.contrastive import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.reference.cross_attention import HeadParameters, cross_attention_similarity
from pcsr_fast.reference.evidential import evidential_agreement, evidential_loss_from_scores
from pcsr_fast.reference.hardest import HardestNegatives, hardest_negatives
from pcsr_fast.reference.hinge import hinge_terms
from pcsr_fast.reference.labelled import labelled_loss_from_scores, softmax_predict
from pcsr_fast.reference.labels import bicro_label, entropy, gce, match_texts, ncr_predict, prediction_oscillation
from pcsr_fast.reference.margins import soft_margin
from pcsr_fast.reference.mixture import MixtureWarning, fit_mixture
from pcsr_fast.reference.mixture_model import Mixture
from pcsr_fast.reference.pairs import PairLosses, PairStatistics, pair_losses
from pcsr_fast.reference.ranks import RetrievalRanks, retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.reference.saf import FiltrationScores, SafParameters, filtration_similarity
from pcsr_fast.reference.scan import ScanParameters, scan_similarity
from pcsr_fast.reference.sgr import SgrParameters, sgr_similarity
from pcsr_fast.reference.triplet import TripletParts, triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.values import minmax
from pcsr_fast.reference.variation import (
    adaptive_margin,
    mutual_information,
    positive_gaps,
    variation_label,
    variation_rates,
)
from pcsr_fast.reference.votes import controller_update, pcs_threshold_quantile, target_share, vote_consistency

__all__ = [
    "FiltrationScores",
    "HardestNegatives",
    "HeadParameters",
    "Mixture",
    "MixtureWarning",
    "PairLosses",
    "PairStatistics",
    "RetrievalRanks",
    "SafParameters",
    "ScanParameters",
    "SgrParameters",
    "TripletParts",
    "adaptive_margin",
    "bicro_label",
    "contrastive_loss",
    "contrastive_loss_from_scores",
    "controller_update",
    "cross_attention_similarity",
    "entropy",
    "evidential_agreement",
    "evidential_loss_from_scores",
    "filtration_similarity",
    "fit_mixture",
    "gce",
    "hardest_negatives",
    "hinge_terms",
    "labelled_loss_from_scores",
    "match_texts",
    "minmax",
    "mutual_information",
    "ncr_predict",
    "pair_losses",
    "pcs_threshold_quantile",
    "positive_gaps",
    "prediction_oscillation",
    "retrieval_ranks",
    "retrieval_ranks_from_scores",
    "scan_similarity",
    "sgr_similarity",
    "soft_margin",
    "softmax_predict",
    "target_share",
    "triplet_loss",
    "triplet_loss_from_scores",
    "variation_label",
    "variation_rates",
    "vote_consistency",
]
