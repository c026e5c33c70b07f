"""Backends of the gradient of cross-attention, and of scores of some pairs (METHODS 2.1; KERNELS 1, K4).

A gradient is a list: of regions, of words, then of every tensor of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops._cross_attention_backends import SIMILARITY, Problem
from pcsr_fast.ops.cpu import cross_attention as cpu
from pcsr_fast.ops.cpu import cross_attention_pairs as cpu_pairs
from pcsr_fast.ops.cross_attention_blocks import gradient_by_blocks, grid_blocks, pair_blocks, run_blocks
from pcsr_fast.ops.cross_attention_forms import Operands, evaluation, prepare
from pcsr_fast.ops.triton import cross_attention as triton

PAIRS, GRADIENT = "cross_attention_pairs", "cross_attention_gradient"


def _leaves(given: Problem) -> tuple[Problem, list[Tensor]]:
    """The same problem of tensors that ask for their gradient, and those."""
    regions, words = (value.detach().requires_grad_() for value in given[:2])
    fields: list[Any] = [one.detach().requires_grad_() if isinstance(one, Tensor) else one for one in given.head]
    asked = given._replace(regions=regions, words=words, head=type(given.head)(*fields))
    return asked, [regions, words, *(one for one in fields if isinstance(one, Tensor))]


def _through_operands(given: Problem, of_operands: Callable[[Operands], Sequence[Tensor | None]]) -> Sequence[Tensor]:
    """The gradient, from that with respect to the operands, the shared ones last; None: part of another one's."""
    asked, leaves = _leaves(given)
    with torch.enable_grad():
        operands = prepare(asked.regions, asked.words, asked.head)
    found = of_operands(operands.mapped(Tensor.detach))
    pairs = zip(operands.flat(), found, strict=True)
    kept = [(made, one) for made, one in pairs if one is not None and made.requires_grad]
    made, outer = zip(*kept, strict=True)
    return torch.autograd.grad(made, leaves, outer, materialize_grads=True)


def _reference_pairs(given: Problem, scores: Tensor, rows: Tensor, captions: Tensor) -> Tensor:
    S = given.run(SIMILARITY, "reference", *given)
    return scores.index_put((rows, captions), S[rows, captions])


def _reference_gradient(
    given: Problem, upstream: Tensor, rows: Tensor | None, captions: Tensor | None
) -> Sequence[Tensor]:
    asked, leaves = _leaves(given)
    with torch.enable_grad():
        S = asked.scores("reference")[0]
    if rows is not None and captions is not None:
        upstream = torch.zeros_like(upstream).index_put((rows, captions), upstream[rows, captions])
    return torch.autograd.grad(S, leaves, upstream, materialize_grads=True)


def _torch_pairs(given: Problem, scores: Tensor, rows: Tensor, captions: Tensor) -> Tensor:
    operands = prepare(given.regions, given.words, given.head)
    blocks = pair_blocks(operands, given.lengths, rows, captions, given.chunk)
    return run_blocks(evaluation(given.head, given.precision), operands, blocks, scores)[0]


def _torch_gradient(given: Problem, upstream: Tensor, rows: Tensor | None, captions: Tensor | None) -> Sequence[Tensor]:
    def of_operands(operands: Operands) -> tuple[Tensor, ...]:
        if rows is None or captions is None:
            blocks = grid_blocks(operands, given.lengths, given.chunk, given.whole_columns)
        else:
            blocks = pair_blocks(operands, given.lengths, rows, captions, given.chunk)
        return gradient_by_blocks(evaluation(given.head, given.precision), operands, blocks, upstream)

    return _through_operands(given, of_operands)


def _cpu_pairs(given: Problem, scores: Tensor, rows: Tensor, captions: Tensor) -> Tensor:
    operands = prepare(given.regions, given.words, given.head)
    found = cpu_pairs.scores(given.head, operands, given.lengths, cpu_pairs.Pairs(rows, captions))
    return scores.index_put((rows, captions), found)


def _triton_pairs(given: Problem, scores: Tensor, rows: Tensor, captions: Tensor) -> Tensor:
    return triton.cross_attention_pairs(*given, scores, (rows, captions))


def _cpu_gradient(given: Problem, upstream: Tensor, rows: Tensor | None, captions: Tensor | None) -> Sequence[Tensor]:
    """That of exact scores, whatever precision they were asked at."""
    if rows is None or captions is None:
        rows, captions = upstream.nonzero(as_tuple=True)
    pairs, outer = cpu_pairs.Pairs(rows, captions), upstream[rows, captions]
    return _through_operands(
        given, lambda operands: cpu_pairs.gradient(given.head, operands, given.lengths, pairs, outer)
    )


# (problem, scores (B, C), rows, captions) -> a copy with the pairs (rows[p], captions[p]) scored anew.
backends.register(PAIRS, "cpu", _cpu_pairs, cpu.supports)
backends.register(PAIRS, "reference", _reference_pairs)
backends.register(PAIRS, "torch", _torch_pairs)
backends.register(PAIRS, "triton", _triton_pairs, triton.supports)
# (problem, gradient of the scores (B, C), rows, captions of the pairs that have one, None for all) -> gradient.
backends.register(GRADIENT, "cpu", _cpu_gradient, cpu.supports)
backends.register(GRADIENT, "reference", _reference_gradient)
backends.register(GRADIENT, "torch", _torch_gradient)
# Few pairs have a gradient: the batched form computes them again with a graph.
backends.register(GRADIENT, "triton", _torch_gradient, triton.supports)
