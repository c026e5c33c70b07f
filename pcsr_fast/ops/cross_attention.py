"""Similarity of images with captions by cross-attention: SCAN, SGR, SAF (METHODS 2.1; KERNELS 1, K4).

A backend gives scores. Where a gradient is asked for, they are computed without a graph and the gradient by the batched
form, one block of pairs after the other, so that memory does not grow with the number of pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.ops.cpu import cross_attention as cpu
from pcsr_fast.ops.cross_attention_blocks import Block, Plan, grid_blocks, pair_blocks, recomputed, run_blocks
from pcsr_fast.ops.cross_attention_checks import check_cross_attention
from pcsr_fast.ops.cross_attention_forms import Evaluate, Operands, prepare, uses_batch_statistics
from pcsr_fast.reference import cross_attention as truth
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.saf import FiltrationScores, SafParameters
from pcsr_fast.reference.saf import filtration_similarity as filtration_truth

SIMILARITY, FILTRATION = "cross_attention_similarity", "filtration_similarity"


class Problem(NamedTuple):
    """Checked arguments of one call, in the precision that is computed in."""

    regions: Tensor
    words: Tensor
    lengths: Tensor
    head: HeadParameters
    precision: str = "auto"
    chunk: int | None = None

    def fill(self, value: float) -> Tensor:
        """(B, C) of `value`."""
        return self.regions.new_full((len(self.regions), len(self.words)), value)

    def needs_gradient(self) -> bool:
        """Whether autograd is on and any tensor takes part."""
        tensors = (self.regions, self.words, *self.head)
        return torch.is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in tensors)


def problem(
    op: str,
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    precision: str = "auto",
    chunk: int | None = None,
) -> Problem:
    """The arguments checked, half precision widened to float32."""
    check_cross_attention(op, regions, words, lengths, head, precision, chunk)
    dtype = compute_dtype(regions.dtype)
    fields: list[Any] = [value.to(dtype) if isinstance(value, Tensor) else value for value in head]
    return Problem(regions.to(dtype), words.to(dtype), lengths, type(head)(*fields), precision, chunk)


def _batched(given: Problem) -> tuple[Evaluate, Operands]:
    """The batched form of the head at the precision asked for."""
    evaluate, operands = prepare(given.regions, given.words, given.head)
    if given.precision != "bf16":
        return evaluate, operands

    def in_bfloat16(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(given.regions.device.type, torch.bfloat16):
            return evaluate(*tensors)

    return in_bfloat16, operands


def _grid(given: Problem, operands: Operands) -> list[Block]:
    return list(grid_blocks(operands, given.lengths, given.chunk, uses_batch_statistics(given.head)))


def _torch(*arguments: Any) -> tuple[Tensor, ...]:
    """Scores (B, C) without a graph, and the statistics of SAF in training."""
    given = Problem(*arguments)
    evaluate, operands = _batched(given)
    return run_blocks(evaluate, operands, _grid(given, operands), given.fill(0))


def _reference(*arguments: Any) -> Tensor:
    given = Problem(*arguments)
    regions, words = (at_precision(value, given.precision) for value in given[:2])
    return truth.cross_attention_similarity(regions, words, given.lengths, given.head)


def _reference_filtration(*arguments: Any) -> FiltrationScores:
    given = Problem(*arguments)
    regions, words = (at_precision(value, given.precision) for value in given[:2])
    assert isinstance(given.head, SafParameters)
    return filtration_truth(regions, words, given.lengths, given.head)


# Each runs (regions, words, lengths, head, precision, chunk); `supports` gets the first four and precision by name.
backends.register(SIMILARITY, "cpu", cpu.cross_attention_similarity, cpu.supports)
backends.register(SIMILARITY, "reference", _reference)
backends.register(SIMILARITY, "torch", lambda *arguments: _torch(*arguments)[0])
backends.register(FILTRATION, "reference", _reference_filtration)
backends.register(FILTRATION, "torch", _torch)


def run(op: str, given: Problem, backend: str | None) -> tuple[Tensor, ...]:
    """Scores and statistics by the backend chosen, differentiable; the reference's by ordinary autograd."""
    implementation = backends.select(op, backend, *given[:4], precision=given.precision)

    def forward() -> tuple[Tensor, ...]:
        found = implementation(*given)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    with torch.autocast(given.regions.device.type, enabled=False):
        if implementation in (_reference, _reference_filtration) or not given.needs_gradient():
            return forward()
        evaluate, operands = _batched(given)
        return recomputed(Plan(forward, evaluate, _grid(given, operands)), operands)


def similarity_of_pairs(given: Problem, rows: Tensor, captions: Tensor, scores: Tensor, rescore: bool) -> Tensor:
    """`scores` (B, C), differentiable at the pairs of images rows[p] and captions captions[p] alone.

    `rescore` computes these anew at full precision, which their gradient always has; without it they are taken as they are.
    No pair's score may depend on another pair (SAF in training).
    """
    with torch.autocast(given.regions.device.type, enabled=False):
        evaluate, operands = _batched(given._replace(precision="exact"))
        blocks = list(pair_blocks(operands, given.lengths, rows, captions, given.chunk))

        def forward() -> tuple[Tensor, ...]:
            return run_blocks(evaluate, operands, blocks if rescore else [], scores)

        return recomputed(Plan(forward, evaluate, blocks), operands)[0]


def cross_attention_similarity(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    *,
    precision: str = "auto",
    chunk: int | None = None,
    backend: str | None = None,
) -> Tensor:
    """Scores (B, C) of B images with C captions, differentiable once in every tensor.

    Args:
        regions: (B, R, d) unit vectors, one a region, of one floating dtype and device with everything else.
        words: (C, L, d) unit vectors, one a word; what lies beyond a caption's length is never read.
        lengths: (C,) integers from 1 to L.
        head: `ScanParameters`, `SgrParameters` or `SafParameters` (`pcsr_fast.reference`): weights, and the global vectors
            of images (B, d) and captions (C, d). SAF without given statistics normalises by each caption's own pairs.
        precision: exact: float32, float64 for such inputs. auto: the same, by a backend's quickest products that are as
            good. bf16: matrix products of bfloat16 numbers: "torch" by autocast, slowly where the machine has none;
            "cpu" where it has them (AMX, AVX512-BF16), else float32; "reference" rounds regions and words alone.
        chunk: (image, caption, word) triples worked on at a time, None for what fits into a cache; the result does not
            depend on it but for rounding.
        backend: see `pcsr_fast.backends`. The gradient is the batched form's, but for "reference".

    Returns:
        float64 for float64 inputs, else float32: (-1, 1) for SCAN, (0, 1) for SGR and SAF.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 2.1; KERNELS 1, K4.
    """
    given = problem(SIMILARITY, regions, words, lengths, head, precision, chunk)
    return run(SIMILARITY, given, backend)[0]


def filtration_similarity(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: SafParameters,
    *,
    precision: str = "auto",
    backend: str | None = None,
) -> FiltrationScores:
    """As `cross_attention_similarity` for SAF in training, with the statistics (C,) that its BatchNorm must remember."""
    if not uses_batch_statistics(head):
        raise ValueError(
            f"{FILTRATION}: head: got {type(head).__name__} with statistics, expected SafParameters without"
        )
    given = problem(FILTRATION, regions, words, lengths, head, precision)
    return FiltrationScores(*run(FILTRATION, given, backend))
