"""What needs few scores of a cross-attention head, with a graph for the pairs that have a gradient alone (KERNELS 1, K4)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks
from pcsr_fast.ops._cross_attention_backends import SIMILARITY, flat_arguments
from pcsr_fast.ops._cross_attention_op import cross_attention_op, hardest_of_head_op, pairs_of_head_op
from pcsr_fast.ops.cross_attention import problem, scores_and_statistics
from pcsr_fast.ops.cross_attention_checks import PRECISIONS, check_word_counts
from pcsr_fast.ops.cross_attention_forms import uses_batch_statistics
from pcsr_fast.ops.triplet import triplet_loss_from_scores
from pcsr_fast.reference.cross_attention import HeadParameters

OP, BEST = "hardest_triplet_of_head", "best_captions_of_head"


def _needs_all_pairs(head: HeadParameters, backend: str | None) -> bool:
    return uses_batch_statistics(head) or backends.requested_backend(backend) == "reference"


def hardest_triplet_of_head(
    head: HeadParameters,
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    *,
    margin: float | Tensor = 0.2,
    margin_mode: str = "anchor",
    groups: Tensor | None = None,
    reduction: str = "mean",
    screen: str | None = None,
    chunk: int | None = None,
    backend: str | None = None,
) -> Tensor:
    """`triplet_loss_from_scores` of a head's scores, hardest negatives, with their gradient at the cost of 3B pairs.

    Of B x B scores the loss has a gradient in B positives and 2B hardest negatives at most. All are scored without a graph,
    those few again with one: the same gradients, in memory and time linear in B. SAF in training is computed with all pairs:
    its BatchNorm takes statistics over them, so that each has a gradient.

    Args:
        head, regions, words, lengths, chunk, backend: as for `cross_attention_similarity`; image i belongs to caption i.
        margin, margin_mode, groups, reduction: as for `triplet_loss`.
        screen: precision that the negatives are chosen at, "exact" (None) or "bf16"; losses and gradients are of exact scores
            of the chosen, which under bf16 may miss a negative harder by less than its rounding.

    Returns:
        float64 for float64 inputs, else float32: a scalar, or (B,) losses for reduction="none".

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.
    """
    _checks.check_choice(OP, "screen", screen or "exact", PRECISIONS)
    given = problem(OP, regions, words, lengths, head, screen or "auto", chunk)
    if len(regions) != len(words):
        raise ValueError(f"{OP}: words: got {len(words)} captions with {len(regions)} images, expected one a image")
    _checks.check_reduction(OP, reduction)
    m = _checks.margin_tensor(OP, margin, margin_mode, regions[:, 0])
    if groups is not None:
        _checks.check_integers(OP, "groups", groups, len(regions), regions)
    if _needs_all_pairs(head, backend):
        S = scores_and_statistics(SIMILARITY, given._replace(precision="auto"), backend)[0]
    else:
        first, last = flat_arguments(given, backend)
        with torch.no_grad():
            pairs = hardest_of_head_op(*first, m, margin_mode, groups, *last)
        S = pairs_of_head_op(*first, *pairs, *last)
    return triplet_loss_from_scores(S, margin=m, margin_mode=margin_mode, groups=groups, reduction=reduction)


def best_captions_of_head(
    head: HeadParameters,
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    *,
    screen: str | None = None,
    chunk: int | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """The caption (B,) int64 that each of B images scores highest, lowest among equals, and that score (B,).

    All B x C pairs are scored without a graph, the B chosen ones again with one; SAF in training as for
    `hardest_triplet_of_head`, like `screen`. Arguments, dtypes and errors are those of `cross_attention_similarity`.
    """
    _checks.check_choice(BEST, "screen", screen or "exact", PRECISIONS)
    given = problem(BEST, regions, words, lengths, head, screen or "auto", chunk)
    check_word_counts(BEST, lengths, words)
    if _needs_all_pairs(head, backend):
        S = scores_and_statistics(SIMILARITY, given._replace(precision="auto"), backend)[0]
        index = S.argmax(1)
    else:
        first, last = flat_arguments(given, backend)
        with torch.no_grad():
            S = cross_attention_op(*first, *last)[0]
        index = S.argmax(1)
        S = pairs_of_head_op(*first, S, torch.arange(len(S), device=S.device), index, *last)
    return index, S.gather(1, index[:, None]).squeeze(1)
