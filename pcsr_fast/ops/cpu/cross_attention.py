"""SGR and SCAN similarities on the native core, forward only (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu import arguments
from pcsr_fast.ops.cpu.arguments import address, matrix
from pcsr_fast.ops.cross_attention_forms import Operands, prepare
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.saf import SafParameters
from pcsr_fast.reference.scan import ScanParameters
from pcsr_fast.reference.sgr import SgrParameters


def supports(*tensors: Any, **options: Any) -> str | None:
    """None where the native core runs the head on these tensors, else the reason."""
    reason = arguments.supports(*tensors, **options)
    if reason is not None:
        return reason
    if any(isinstance(value, SafParameters) for value in tensors):
        return "it has no kernel of SAF"
    if any(isinstance(value, SgrParameters) and len(value.query_weight) == 0 for value in tensors):
        return "it has no kernel of SGR without steps"
    double = any(isinstance(value, Tensor) and value.dtype == torch.float64 for value in tensors)
    return "it computes in float32, the tensors are float64" if double else None


def matrix_rows(value: Tensor) -> Tensor:
    """(..., n) as a contiguous float32 matrix (rows, n)."""
    return value.detach().to(torch.float32).reshape(-1, value.shape[-1]).contiguous()


def problem_arguments(regions: Tensor, words: Tensor, lengths: Tensor) -> tuple[tuple[Any, ...], list[Tensor]]:
    """The arguments both kernels begin with, and the tensors they point into."""
    held = [matrix_rows(regions), matrix_rows(words), lengths.detach().to(torch.int64).contiguous()]
    return (matrix(held[0]), regions.shape[1], matrix(held[1]), words.shape[1], address(held[2])), held


def reasoning_arguments(operands: Operands) -> tuple[Any, list[Tensor]]:
    """What is learnt, as the kernels of SGR take it, and the tensors that it points into; of what `prepare` makes."""
    local, local_bias, glob, glob_bias, edges, tilts, updates, biases, output, output_bias = operands.shared
    graph = torch.cat([edges, updates], dim=1)
    vectors = torch.cat(
        [local_bias[None], glob_bias[None], torch.stack([tilts, biases], 1).flatten(0, 1), output[None]]
    )
    held = [matrix_rows(v) for v in (operands.images, operands.captions, local, glob, graph, vectors)]
    return ([matrix(value) for value in held], float(output_bias)), held


def sgr_scores(
    regions: Tensor, words: Tensor, lengths: Tensor, head: SgrParameters, precision: str = "exact"
) -> Tensor:
    """SGR similarities (B, C) in float32 of regions (B, R, d) and words (C, L, d), of which `lengths` (C,) are valid.

    `precision` is of the matrix products, whose sums and all else are float32. exact: float32. bf16: of numbers rounded
    to bfloat16, where the machine has such products, else float32. auto: of float32 numbers split in two bfloat16, 16
    bits of mantissa, for large problems on machines with AMX, else float32.
    Results depend neither on the number of threads nor on the other images and captions.
    """
    problem, held = problem_arguments(regions, words, lengths)
    double = SgrParameters(*(value.detach().double() for value in head))  # what is folded is rounded once
    weights, held_weights = reasoning_arguments(prepare(regions, words, double))
    out = torch.empty(len(regions), len(words))
    native.load().sgr_f32(problem, weights, precision, address(out))
    del held, held_weights  # alive until here
    return out


def scan_scores(
    regions: Tensor, words: Tensor, lengths: Tensor, head: ScanParameters | None = None, precision: str = "exact"
) -> Tensor:
    """SCAN similarities (B, C) in float32, text to image, by the Gram identity; arguments as `sgr_scores`."""
    problem, held = problem_arguments(regions, words, lengths)
    out = torch.empty(len(regions), len(words))
    sharpness = (head or ScanParameters()).sharpness
    native.load().scan_f32(problem, sharpness, precision, address(out))
    del held  # alive until here
    return out


def cross_attention_similarity(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    precision: str = "exact",
    chunk: int | None = None,
) -> Tensor:
    """As the reference, for `ScanParameters` and `SgrParameters`; `chunk` is its own."""
    if isinstance(head, ScanParameters):
        return scan_scores(regions, words, lengths, head, precision)
    assert isinstance(head, SgrParameters)
    return sgr_scores(regions, words, lengths, head, precision)
