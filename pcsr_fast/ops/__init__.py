"""Public ops: checked arguments, torch.library schema, fake kernel and autograd, a choice of backend."""

from __future__ import annotations

from pcsr_fast.ops.contrastive import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.ops.mixture import fit_mixture
from pcsr_fast.ops.predictions import match_texts, prediction_oscillation, vote_consistency
from pcsr_fast.ops.search import hardest_negatives, retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.ops.statistics import pair_losses, similarity
from pcsr_fast.ops.triplet import triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.labels import entropy, gce, ncr_predict
from pcsr_fast.reference.margins import soft_margin
from pcsr_fast.reference.mixture import MixtureWarning
from pcsr_fast.reference.mixture_model import Mixture
from pcsr_fast.reference.pairs import PairLosses, PairStatistics
from pcsr_fast.reference.ranks import RetrievalRanks
from pcsr_fast.reference.values import minmax
from pcsr_fast.reference.votes import controller_update, pcs_threshold_quantile, target_share

__all__ = [
    "HardestNegatives",
    "Mixture",
    "MixtureWarning",
    "PairLosses",
    "PairStatistics",
    "RetrievalRanks",
    "contrastive_loss",
    "contrastive_loss_from_scores",
    "controller_update",
    "entropy",
    "fit_mixture",
    "gce",
    "hardest_negatives",
    "match_texts",
    "minmax",
    "ncr_predict",
    "pair_losses",
    "pcs_threshold_quantile",
    "prediction_oscillation",
    "retrieval_ranks",
    "retrieval_ranks_from_scores",
    "similarity",
    "soft_margin",
    "target_share",
    "triplet_loss",
    "triplet_loss_from_scores",
    "vote_consistency",
]
