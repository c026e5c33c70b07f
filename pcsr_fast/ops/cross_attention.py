"""Similarity of images with captions by cross-attention: SCAN, SGR, SAF (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops._cross_attention_backends import FILTRATION, SIMILARITY, Problem, flat_arguments
from pcsr_fast.ops._cross_attention_op import cross_attention_op
from pcsr_fast.ops.cross_attention_checks import check_cross_attention, check_word_counts
from pcsr_fast.ops.cross_attention_forms import uses_batch_statistics
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.saf import FiltrationScores, SafParameters


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


def scores_and_statistics(op: str, given: Problem, backend: str | None) -> tuple[Tensor, ...]:
    """Scores (B, C) and, of SAF in training, statistics; by the reference with an ordinary graph."""
    if backends.requested_backend(backend) != "reference":
        first, last = flat_arguments(given, backend)
        found: tuple[Tensor, ...] = cross_attention_op(*first, *last)
        return found
    check_word_counts(op, given.lengths, given.words)
    return given.scores("reference")


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
    return scores_and_statistics(SIMILARITY, given, backend)[0]


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
    return FiltrationScores(*scores_and_statistics(FILTRATION, given, backend))
