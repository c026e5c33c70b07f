"""SGR and SCAN similarities of some pairs and their gradients on the native core, in float32 (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu.arguments import address
from pcsr_fast.ops.cpu.cross_attention import problem_arguments, reasoning_arguments
from pcsr_fast.ops.cross_attention_forms import Operands
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.scan import ScanParameters


class Pairs(NamedTuple):
    """Pairs p of images rows[p] and captions captions[p]."""

    rows: Tensor
    captions: Tensor


def _pairs(pairs: Pairs, upstream: Tensor | None) -> tuple[Any, list[Tensor]]:
    held = [value.to(torch.int64).contiguous() for value in pairs]
    if upstream is not None:
        held.append(upstream.to(torch.float32).contiguous())
    return (*(address(value) for value in held), *([0] if upstream is None else []), len(held[0])), held


def sgr_pairs(operands: Operands, lengths: Tensor, pairs: Pairs) -> Tensor:
    """Scores (P,) of the pairs."""
    problem, held = problem_arguments(operands.regions, operands.words, lengths)
    weights, held_weights = reasoning_arguments(operands)
    some, held_pairs = _pairs(pairs, None)
    out = torch.empty(len(pairs.rows))
    native.load().sgr_pairs_f32(problem, weights, some, address(out))
    del held, held_weights, held_pairs  # alive until here
    return out


def sgr_gradient(operands: Operands, lengths: Tensor, pairs: Pairs, upstream: Tensor) -> list[Tensor | None]:
    """Gradients of sum_p upstream[p] score[p] with respect to the operands, in their order, the shared ones last."""
    problem, held = problem_arguments(operands.regions, operands.words, lengths)
    weights, held_weights = reasoning_arguments(operands)
    some, held_pairs = _pairs(pairs, upstream)
    size, steps = len(operands.shared[1]), len(operands.shared[4])
    own = [torch.empty(value.shape) for value in (*operands[:4], operands.shared[0], operands.shared[2])]
    graph, vectors, bias = torch.empty(steps, 2, size, size), torch.empty(3 + 2 * steps, size), torch.empty(())
    out = [address(value) for value in (*own, graph, vectors, bias)]
    native.load().sgr_gradient_f32(problem, weights, some, out)
    del held, held_weights, held_pairs  # alive until here
    each = vectors[2:-1].view(steps, 2, size)
    shared = (
        own[4],
        vectors[0],
        own[5],
        vectors[1],
        graph[:, 0],
        each[:, 0],
        graph[:, 1],
        each[:, 1],
        vectors[-1],
        bias,
    )
    return [*own[:4], *shared]


def scan_pairs(operands: Operands, lengths: Tensor, pairs: Pairs, sharpness: float) -> Tensor:
    """As `sgr_pairs`; of the operands only regions and words are read."""
    problem, held = problem_arguments(operands.regions, operands.words, lengths)
    some, held_pairs = _pairs(pairs, None)
    out = torch.empty(len(pairs.rows))
    native.load().scan_pairs_f32(problem, sharpness, some, address(out))
    del held, held_pairs  # alive until here
    return out


def scan_gradient(
    operands: Operands, lengths: Tensor, pairs: Pairs, upstream: Tensor, sharpness: float
) -> list[Tensor | None]:
    """As `sgr_gradient`; that of the regions' products with each other is part of the regions' own."""
    problem, held = problem_arguments(operands.regions, operands.words, lengths)
    some, held_pairs = _pairs(pairs, upstream)
    own = [torch.empty(value.shape) for value in operands[:2]]
    native.load().scan_gradient_f32(problem, sharpness, some, *(address(value) for value in own))
    del held, held_pairs  # alive until here
    return [*own, None, None]


def scores(head: HeadParameters, operands: Operands, lengths: Tensor, pairs: Pairs) -> Tensor:
    """Scores (P,) of the pairs; `operands` as `prepare` makes them of the head."""
    if isinstance(head, ScanParameters):
        return scan_pairs(operands, lengths, pairs, head.sharpness)
    return sgr_pairs(operands, lengths, pairs)


def gradient(
    head: HeadParameters, operands: Operands, lengths: Tensor, pairs: Pairs, upstream: Tensor
) -> list[Tensor | None]:
    """Gradients of sum_p upstream[p] score[p] with respect to the operands, in their order, the shared ones last.

    None is for what is made of another operand, whose gradient then is the whole.
    """
    if isinstance(head, ScanParameters):
        return scan_gradient(operands, lengths, pairs, upstream, head.sharpness)
    return sgr_gradient(operands, lengths, pairs, upstream)
