"""SGR and SCAN similarities on the native core, forward only (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops.cpu import arguments
from pcsr_fast.ops.cpu.arguments import address, matrix
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


def _reasoning(head: SgrParameters) -> list[Tensor]:
    """Weights as the kernel takes them: M = W_k^T W_q and u = W_k^T b_q folded, what else Q K^T has cancels (K4)."""
    keys = head.key_weight.detach().double().transpose(1, 2)
    folded = keys @ head.query_weight.detach().double()
    tilts = (keys @ head.query_bias.detach().double().unsqueeze(2)).squeeze(2)
    graph = torch.cat([folded, head.update_weight.detach().double()], dim=1)
    steps = torch.stack([tilts, head.update_bias.detach().double()], dim=1).flatten(0, 1)
    ends = [value.detach().double().unsqueeze(0) for value in (head.local_bias, head.glob_bias, head.output_weight)]
    matrices = (head.images, head.captions, head.local_weight, head.glob_weight, graph)
    return [matrix_rows(value) for value in (*matrices, torch.cat([*ends[:2], steps, ends[2]]))]


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
    weights = _reasoning(head)
    out = torch.empty(len(regions), len(words))
    bias = float(head.output_bias)
    native.load().sgr_f32(problem, ([matrix(value) for value in weights], bias), precision, address(out))
    del held  # alive until here
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
