"""The custom ops behind cross-attention: schema, fake kernel, autograd (METHODS 2.1; KERNELS 1, K4).

Scores are computed without a graph; their gradient computes pairs again, one block after the other, so that memory does
not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.ops._cross_attention_backends import FILTRATION, GRADIENT, PAIRS, SIMILARITY, problem_of
from pcsr_fast.ops._triplet_op import triplet_from_scores_op
from pcsr_fast.ops.cross_attention_forms import Operands, prepare
from pcsr_fast.reference.saf import SafParameters

FIRST = "Tensor regions, Tensor words, Tensor lengths, Tensor[] head"
LAST = "str kind, float sharpness, str precision, int? chunk, str backend"


@torch.library.custom_op(
    "pcsr_fast::cross_attention",
    mutates_args=(),
    schema=f"({FIRST}, {LAST}) -> (Tensor scores, Tensor mean, Tensor variance)",
)
def cross_attention_op(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], *last: Any
) -> tuple[Tensor, Tensor, Tensor]:
    given, backend = problem_of(regions, words, lengths, head, last)
    implementation = given.select(FILTRATION if given.whole_columns else SIMILARITY, backend)
    with torch.autocast(regions.device.type, enabled=False):
        found = implementation(*given)
    none = regions.new_empty(0), regions.new_empty(0)
    return (found, *none) if isinstance(found, Tensor) else tuple(found)


@cross_attention_op.register_fake
def _(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], kind: str, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    statistics = len(words) if kind == "saf" and len(head) < len(SafParameters._fields) else 0
    mean = regions.new_empty(statistics)
    return regions.new_empty(len(regions), len(words)), mean, torch.empty_like(mean)


@torch.library.custom_op(
    "pcsr_fast::cross_attention_gradient",
    mutates_args=(),
    schema=f"(Tensor upstream, {FIRST}, Tensor? rows, Tensor? captions, {LAST}) -> Tensor[]",
)
def gradient_op(
    upstream: Tensor,
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: Sequence[Tensor],
    rows: Tensor | None,
    captions: Tensor | None,
    *last: Any,
) -> list[Tensor]:
    """Gradients of regions, words and every tensor of the head, given that of the scores (B, C): of the pairs listed
    alone, or of all."""
    given, backend = problem_of(regions, words, lengths, head, last)

    def operands_of(*tensors: Tensor) -> tuple[Tensor, ...]:
        made = prepare(tensors[0], tensors[1], problem_of(tensors[0], tensors[1], lengths, tensors[2:], last)[0].head)
        return made.regions, made.words, made.images, made.captions, *made.shared

    with torch.autocast(regions.device.type, enabled=False):
        flat, pull = torch.func.vjp(operands_of, regions, words, *head)[:2]
        operands = Operands(flat[0], flat[1], flat[2], flat[3], flat[4:])
        found = given.select(GRADIENT, backend)(given, operands, upstream, rows, captions)
        whole = pull(
            tuple(torch.zeros_like(made) if one is None else one for made, one in zip(flat, found, strict=True))
        )
    return _apart(whole)


def _apart(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of which no two share memory, as an op must return them."""
    seen: set[int] = set()
    kept = []
    for one in tensors:
        storage = one.untyped_storage().data_ptr()
        kept.append(one.clone() if storage in seen else one)
        seen.add(storage)
    return kept


@gradient_op.register_fake
def _(
    upstream: Tensor, regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], *_: Any
) -> list[Tensor]:
    return [torch.empty_like(one) for one in (regions, words, *head)]


@torch.library.custom_op(
    "pcsr_fast::hardest_of_head",
    mutates_args=(),
    schema=f"({FIRST}, Tensor margin, str margin_mode, Tensor? groups, {LAST}) "
    "-> (Tensor scores, Tensor rows, Tensor captions)",
)
def hardest_of_head_op(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: Sequence[Tensor],
    margin: Tensor,
    margin_mode: str,
    groups: Tensor | None,
    *last: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B, B) of positives and of the hardest negatives of active hinges, -inf at others, and the pairs among them
    that have a gradient: images rows[p] with captions captions[p]. Under bf16 these are scored again exactly."""
    given, backend = problem_of(regions, words, lengths, head, last, "hardest_triplet_of_head")
    S = cross_attention_op(regions, words, lengths, head, *last)[0]
    row, column, row_index, column_index = triplet_from_scores_op(S, margin, margin_mode, "hardest", groups, "")
    # A screened hinge of 0 may be a little above: its pair is scored again all the same.
    screened = given.precision == "bf16"
    by_row, by_column = (row_index >= 0, column_index >= 0) if screened else (row > 0, column > 0)
    here = torch.arange(len(S), device=S.device)
    chosen = torch.zeros_like(S, dtype=torch.bool)
    chosen[here[by_row], row_index[by_row]] = True
    chosen[column_index[by_column], here[by_column]] = True
    chosen.diagonal().logical_or_(by_row | by_column)
    rows, captions = chosen.nonzero(as_tuple=True)
    # Hinges that are 0 still need their pairs' own scores.
    scores = S.masked_fill(~chosen.fill_diagonal_(True), -torch.inf)
    if screened:
        exact = given._replace(precision="exact")
        with torch.autocast(regions.device.type, enabled=False):
            scores = exact.select(PAIRS, backend)(exact, scores, rows, captions)
    return scores, rows.clone(), captions.clone()


@hardest_of_head_op.register_fake
def _(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    pairs = torch.library.get_ctx().new_dynamic_size()
    rows = lengths.new_empty(pairs, dtype=torch.int64)
    return regions.new_empty(len(regions), len(words)), rows, torch.empty_like(rows)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    regions, words, lengths, head, *ctx.last = inputs
    ctx.save_for_backward(regions, words, lengths, *head)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Any, ...]:
    regions, words, lengths, *head = ctx.saved_tensors
    found = gradient_op(upstream, regions, words, lengths, head, None, None, *ctx.last)
    return found[0], found[1], None, found[2:], None, None, None, None, None


def _setup_context_of_hardest(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    regions, words, lengths, head, _, _, _, *ctx.last = inputs
    ctx.save_for_backward(*output[1:], regions, words, lengths, *head)
    ctx.mark_non_differentiable(*output[1:])


def _backward_of_hardest(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Any, ...]:
    rows, captions, regions, words, lengths, *head = ctx.saved_tensors
    kind, sharpness, _, *more = ctx.last
    found = gradient_op(upstream, regions, words, lengths, head, rows, captions, kind, sharpness, "exact", *more)
    return found[0], found[1], None, found[2:], None, None, None, None, None, None, None, None


cross_attention_op.register_autograd(_backward, setup_context=_setup_context)
hardest_of_head_op.register_autograd(_backward_of_hardest, setup_context=_setup_context_of_hardest)
