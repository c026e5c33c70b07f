"""Public ops: checked arguments, torch.library schema, fake kernel and autograd, a choice of backend."""

from __future__ import annotations

from pcsr_fast.ops.contrastive import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.ops.cross_attention import cross_attention_similarity, filtration_similarity
from pcsr_fast.ops.labelled import evidential_agreement, evidential_loss_from_scores, labelled_loss_from_scores
from pcsr_fast.ops.mixture import fit_mixture
from pcsr_fast.ops.predictions import match_texts, prediction_oscillation, vote_consistency
from pcsr_fast.ops.search import hardest_negatives, retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.ops.sparse_head import best_captions_of_head, hardest_triplet_of_head
from pcsr_fast.ops.statistics import pair_losses, similarity
from pcsr_fast.ops.triplet import triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.labelled import softmax_predict
from pcsr_fast.reference.labels import bicro_label, entropy, gce, ncr_predict
from pcsr_fast.reference.margins import soft_margin
from pcsr_fast.reference.mixture import MixtureWarning
from pcsr_fast.reference.mixture_model import Mixture
from pcsr_fast.reference.pairs import PairLosses, PairStatistics
from pcsr_fast.reference.ranks import RetrievalRanks
from pcsr_fast.reference.saf import FiltrationScores, SafParameters
from pcsr_fast.reference.scan import ScanParameters
from pcsr_fast.reference.sgr import SgrParameters
from pcsr_fast.reference.values import minmax
from pcsr_fast.reference.variation import (
    adaptive_margin,
    mutual_information,
    positive_gaps,
    variation_label,
    variation_rates,
)
from pcsr_fast.reference.votes import controller_update, pcs_threshold_quantile, target_share

__all__ = [
    "FiltrationScores",
    "HardestNegatives",
    "Mixture",
    "MixtureWarning",
    "PairLosses",
    "PairStatistics",
    "RetrievalRanks",
    "SafParameters",
    "ScanParameters",
    "SgrParameters",
    "adaptive_margin",
    "best_captions_of_head",
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
    "hardest_triplet_of_head",
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
    "similarity",
    "soft_margin",
    "softmax_predict",
    "target_share",
    "triplet_loss",
    "triplet_loss_from_scores",
    "variation_label",
    "variation_rates",
    "vote_consistency",
]
