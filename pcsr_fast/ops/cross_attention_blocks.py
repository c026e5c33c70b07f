"""Scores by blocks of pairs, and their gradient by computing each block again: memory O(block), not O(B C L d)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.cross_attention_forms import Evaluate, Operands

# Rows (image, caption, word) of a block: vectors of 1024 floats then fit into a core's second cache.
ROWS_ON_CPU, ROWS_ELSEWHERE = 512, 65536
# Words of a block of captions, before images are added.
MOST_WORDS = 128


class Block(NamedTuple):
    """Pairs of captions of `length` words: all of `rows` x `captions` where rows is a slice, else row p with caption p."""

    rows: slice | Tensor
    captions: Tensor
    length: int

    def cut(self, operands: Operands) -> list[Tensor]:
        """The block's part of all operands but the shared ones."""
        regions, words, images, captions, _ = operands
        each = 0 if isinstance(self.rows, slice) else 1
        chosen = [words[self.captions, : self.length], captions[self.captions]]
        return [regions[self.rows], chosen[0].unsqueeze(each), images[self.rows], chosen[1].unsqueeze(each)]

    def add(self, totals: Operands, parts: Sequence[Tensor | None]) -> None:
        """Add gradients of what `cut` gave to those of the whole."""
        each = 0 if isinstance(self.rows, slice) else 1
        regions, words, images, captions, *shared = parts
        for total, part in ((totals.regions, regions), (totals.images, images)):
            _add_at(total, self.rows, part)
        _add_at(totals.words[:, : self.length], self.captions, None if words is None else words.squeeze(each))
        _add_at(totals.captions, self.captions, None if captions is None else captions.squeeze(each))
        for total, part in zip(totals.shared, shared, strict=True):
            if part is not None:
                total.add_(part)


def _add_at(total: Tensor, index: slice | Tensor, part: Tensor | None) -> None:
    if part is None:
        return
    if isinstance(index, slice):
        total[index].add_(part)
    else:
        total.index_add_(0, index, part)


def _chunk(rows: int | None, like: Tensor) -> int:
    return rows or (ROWS_ON_CPU if like.device.type == "cpu" else ROWS_ELSEWHERE)


def _by_length(lengths: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(n, positions with length n), n ascending."""
    for length in torch.unique(lengths).tolist():
        yield length, (lengths == length).nonzero()[:, 0]


def grid_blocks(operands: Operands, lengths: Tensor, chunk: int | None, whole_columns: bool) -> Iterator[Block]:
    """All pairs; `whole_columns` keeps every image in each block."""
    images, rows = len(operands.regions), _chunk(chunk, operands.regions)
    for length, index in _by_length(lengths):
        budget = rows // images if whole_columns else min(rows, MOST_WORDS)
        for captions in torch.split(index, max(1, budget // length)):
            step = images if whole_columns else max(1, rows // (len(captions) * length))
            for first in range(0, images, step):
                yield Block(slice(first, min(first + step, images)), captions, length)


def pair_blocks(
    operands: Operands, lengths: Tensor, rows: Tensor, captions: Tensor, chunk: int | None
) -> Iterator[Block]:
    """The pairs (rows[p], captions[p]) alone."""
    for length, index in _by_length(lengths[captions]):
        for part in torch.split(index, max(1, _chunk(chunk, operands.regions) // length)):
            yield Block(rows[part], captions[part], length)


def run_blocks(evaluate: Evaluate, operands: Operands, blocks: Sequence[Block], fill: Tensor) -> tuple[Tensor, ...]:
    """Scores of the blocks written into a copy of `fill` (B, C), then statistics (C,) if the form has any."""
    scores, statistics = fill.clone(), [fill.new_empty(fill.shape[1]) for _ in range(2)]
    own: list[Tensor] = []
    for block in blocks:
        part, *own = evaluate(*block.cut(operands), *operands.shared)
        scores[block.rows, block.captions] = part.flatten() if isinstance(block.rows, Tensor) else part
        for whole, value in zip(statistics, own, strict=False):
            whole[block.captions] = value
    return (scores, *statistics[: len(own)])


@dataclass(frozen=True)
class Plan:
    """How scores are found without a graph (`forward`), and how their gradient is: block by block of `evaluate`, or by
    `gradient` (operands, upstream gradient (B, C)) of those of the operands that have one, the shared ones last."""

    forward: Callable[[], tuple[Tensor, ...]]
    evaluate: Evaluate
    blocks: Sequence[Block]
    gradient: Callable[[Operands, Tensor], Sequence[Tensor | None]] | None = None


def _operands(tensors: Sequence[Tensor]) -> Operands:
    regions, words, images, captions, *shared = tensors
    return Operands(regions, words, images, captions, tuple(shared))


def _leaves(tensors: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    return [value.detach().requires_grad_(need) for value, need in zip(tensors, needed, strict=True)]


def _gradient_by_blocks(
    plan: Plan, tensors: Sequence[Tensor], needed: Sequence[bool], upstream: Tensor
) -> Sequence[Tensor | None]:
    operands, sums = _operands(tensors), [torch.zeros_like(value) for value in tensors]
    for block in plan.blocks:
        leaves = _leaves([*block.cut(operands), *operands.shared], needed)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        with torch.enable_grad():
            scores = plan.evaluate(*leaves)[0]
        given = upstream[block.rows, block.captions].view_as(scores)
        found = iter(torch.autograd.grad(scores, wanted, given, allow_unused=True))
        block.add(_operands(sums), [next(found) if leaf.requires_grad else None for leaf in leaves])
    return sums


class _Recomputed(torch.autograd.Function):
    """Scores whose graph is not kept."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        ctx.save_for_backward(*tensors)
        outputs = plan.forward()
        ctx.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if plan.gradient is not None:
            sums = plan.gradient(_operands(tensors), upstream)
        else:
            sums = _gradient_by_blocks(plan, tensors, needed, upstream)
        return None, *(total if need else None for total, need in zip(sums, needed, strict=True))


def recomputed(plan: Plan, operands: Operands) -> tuple[Tensor, ...]:
    """The plan's scores and statistics, differentiable once in the operands; the gradient computes each block again."""
    outputs: tuple[Tensor, ...] = _Recomputed.apply(plan, *operands[:4], *operands.shared)  # type: ignore[no-untyped-call]
    return outputs
