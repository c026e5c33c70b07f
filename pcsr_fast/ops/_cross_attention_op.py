"""The custom ops behind cross-attention: schema, fake kernel, autograd (METHODS 2.1; KERNELS 1, K4).

Scores are computed without a graph; their gradient computes pairs again, one block after the other, so that memory does
not grow with the number of pairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey

from pcsr_fast.ops._cross_attention_backends import problem_of
from pcsr_fast.ops._cross_attention_gradients import GRADIENT, PAIRS
from pcsr_fast.ops._triplet_op import triplet_from_scores_op
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
    S, *statistics = given.scores(backend)
    mean, variance = statistics or (regions.new_empty(0), regions.new_empty(0))
    return S, mean, variance


@cross_attention_op.register_fake
def _(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], kind: str, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    statistics = len(words) if kind == "saf" and len(head) < len(SafParameters._fields) else 0
    mean = regions.new_empty(statistics)
    return regions.new_empty(len(regions), len(words)), mean, torch.empty_like(mean)


@contextlib.contextmanager
def _graphs() -> Iterator[None]:
    """Autograd as it is outside of an op, where blocks of pairs find their gradients by it; torch has no public way."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (
        DispatchKey.AutogradCPU,
        DispatchKey.AutogradCUDA,
        DispatchKey.AutogradOther,
        DispatchKey.ADInplaceOrView,
    ):
        excluded = excluded.remove(key)
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded):
        yield


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
    with _graphs():
        return _apart(given.run(GRADIENT, backend, given, upstream, rows, captions))


def _apart(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Whole tensors of which no two share memory, as an op must return them."""
    seen: set[int] = set()
    kept = []
    for one in tensors:
        storage = one.untyped_storage()
        whole = one.is_contiguous() and storage.nbytes() == one.nbytes and storage.data_ptr() not in seen
        kept.append(one if whole else one.clone(memory_format=torch.contiguous_format))
        seen.add(storage.data_ptr())
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
    that have a gradient: images rows[p] with captions captions[p]."""
    given, backend = problem_of(regions, words, lengths, head, last, "hardest_triplet_of_head")
    S = given.scores(backend)[0]
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
    return S.masked_fill(~chosen.fill_diagonal_(True), -torch.inf), rows.clone(), captions.clone()


@hardest_of_head_op.register_fake
def _(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    pairs = torch.library.get_ctx().new_dynamic_size()
    rows = lengths.new_empty(pairs, dtype=torch.int64)
    return regions.new_empty(len(regions), len(words)), rows, torch.empty_like(rows)


@torch.library.custom_op(
    "pcsr_fast::pairs_of_head",
    mutates_args=(),
    schema=f"({FIRST}, Tensor scores, Tensor rows, Tensor captions, {LAST}) -> Tensor",
)
def pairs_of_head_op(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: Sequence[Tensor],
    scores: Tensor,
    rows: Tensor,
    captions: Tensor,
    *last: Any,
) -> Tensor:
    """`scores` (B, C), differentiable at the pairs of images rows[p] and captions captions[p] alone; scored under bf16,
    these are scored again exactly."""
    given, backend = problem_of(regions, words, lengths, head, last)
    if given.precision != "bf16":
        return scores.clone()
    exact = given._replace(precision="exact")
    found: Tensor = exact.run(PAIRS, backend, exact, scores, rows, captions)
    return found


@pairs_of_head_op.register_fake
def _(regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], scores: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(scores)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    regions, words, lengths, head, *ctx.last = inputs
    ctx.save_for_backward(regions, words, lengths, *head)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Any, ...]:
    regions, words, lengths, *head = ctx.saved_tensors
    found = gradient_op(upstream, regions, words, lengths, head, None, None, *ctx.last)
    return found[0], found[1], None, found[2:], None, None, None, None, None


def _setup_context_of_pairs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    regions, words, lengths, head, _, rows, captions, *ctx.last = inputs
    ctx.save_for_backward(rows, captions, regions, words, lengths, *head)


def _backward_of_pairs(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
    rows, captions, regions, words, lengths, *head = ctx.saved_tensors
    kind, sharpness, _, *more = ctx.last
    found = gradient_op(upstream, regions, words, lengths, head, rows, captions, kind, sharpness, "exact", *more)
    return found[0], found[1], None, found[2:], None, None, None, None, None, None, None, None


cross_attention_op.register_autograd(_backward, setup_context=_setup_context)
pairs_of_head_op.register_autograd(_backward_of_pairs, setup_context=_setup_context_of_pairs)
