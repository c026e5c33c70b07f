"""Scores by blocks of pairs, and their gradient by computing each block again: memory O(block), not O(B C L d)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

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

    def add(self, totals: Operands, parts: Sequence[Tensor]) -> None:
        """Add gradients of what `cut` gave to those of the whole."""
        each = 0 if isinstance(self.rows, slice) else 1
        regions, words, images, captions, *shared = parts
        for total, part in ((totals.regions, regions), (totals.images, images)):
            _add_at(total, self.rows, part)
        _add_at(totals.words[:, : self.length], self.captions, words.squeeze(each))
        _add_at(totals.captions, self.captions, captions.squeeze(each))
        for total, part in zip(totals.shared, shared, strict=True):
            total.add_(part)


def _add_at(total: Tensor, index: slice | Tensor, part: Tensor) -> None:
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


def run_blocks(evaluate: Evaluate, operands: Operands, blocks: Iterable[Block], fill: Tensor) -> tuple[Tensor, ...]:
    """Scores of the blocks written into a copy of `fill` (B, C), then statistics (C,) if the form has any."""
    scores, statistics = fill.clone(), [fill.new_empty(fill.shape[1]) for _ in range(2)]
    own: list[Tensor] = []
    for block in blocks:
        part, *own = evaluate(*block.cut(operands), *operands.shared)
        scores[block.rows, block.captions] = part.flatten() if isinstance(block.rows, Tensor) else part
        for whole, value in zip(statistics, own, strict=False):
            whole[block.captions] = value
    return (scores, *statistics[: len(own)])


def gradient_by_blocks(
    evaluate: Evaluate, operands: Operands, blocks: Iterable[Block], upstream: Tensor
) -> tuple[Tensor, ...]:
    """Gradients with respect to the operands, the shared ones last, given that of the scores (B, C)."""
    totals = operands.mapped(torch.zeros_like)
    for block in blocks:
        leaves = [value.detach().requires_grad_() for value in (*block.cut(operands), *operands.shared)]
        with torch.enable_grad():
            scores = evaluate(*leaves)[0]
        given = upstream[block.rows, block.captions].view_as(scores)
        block.add(totals, torch.autograd.grad(scores, leaves, given, materialize_grads=True))
    return totals.flat()
