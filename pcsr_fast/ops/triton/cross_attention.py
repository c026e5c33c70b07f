"""SCAN and SGR similarities by Triton, forward only (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcsr_fast.ops.cross_attention_forms import prepare
from pcsr_fast.ops.triton import arguments
from pcsr_fast.ops.triton.arguments import on_device
from pcsr_fast.reference.attention import SHARPNESS
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.saf import SafParameters
from pcsr_fast.reference.scan import ScanParameters
from pcsr_fast.reference.sgr import SgrParameters

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.groups import Part
    from pcsr_fast.kernels.triton.sgr import Graph

# What one tile holds: regions of an image, words of a caption (and for SGR a node more), the similarity vector.
MOST_REGIONS, MOST_NODES, MOST_SIMILARITY = 64, 128, 256
# Rows (image, caption, word) whose nodes lie in memory at a time: 32 MiB of bfloat16 at 256 numbers each, twice.
ROWS = 65536


def supports(*tensors: Any, **options: Any) -> str | None:
    """None where Triton is there and a tile holds the problem, else the reason; lengths are integers, and not asked."""
    regions, words, _, head = tensors
    if isinstance(head, SafParameters):
        return "it has no kernel of SAF"
    learnt = () if isinstance(head, ScanParameters) else tuple(head)
    return arguments.supports(regions, words, *learnt) or _why_too_large(regions, words, head)


def _why_too_large(regions: Tensor, words: Tensor, head: HeadParameters) -> str | None:
    first = 0
    if isinstance(head, SgrParameters):
        first = 1
        if len(head.query_weight) == 0:
            return "it has no kernel of SGR without steps"
        if head.local_bias.shape[0] > MOST_SIMILARITY:
            return f"similarity vectors of {head.local_bias.shape[0]}, expected at most {MOST_SIMILARITY}"
    if regions.shape[1] > MOST_REGIONS:
        return f"{regions.shape[1]} regions an image, expected at most {MOST_REGIONS}"
    if words.shape[1] + first > MOST_NODES:
        return f"room for {words.shape[1]} words a caption, expected at most {MOST_NODES - first}"
    return None


def _graph(head: SgrParameters, regions: Tensor, words: Tensor, dtype: torch.dtype) -> Graph:
    """What is learnt, folded in float64 and rounded once."""
    from pcsr_fast.kernels.triton.sgr import Graph

    double = SgrParameters(*(value.detach().double() for value in head))
    *tensors, output_bias = prepare(regions, words, double).shared
    matrices = [value.to(dtype if index in (0, 2, 4, 6) else torch.float32) for index, value in enumerate(tensors)]
    return Graph(*(value.contiguous() for value in matrices), float(output_bias))


def _score(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    precision: str,
    chunk: int | None,
    scores: Tensor,
    pairs: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """`scores` (B, C), into which the scores of the pairs (images, captions) are written, or of all."""
    from pcsr_fast.kernels.triton.attention_table import plan_for
    from pcsr_fast.kernels.triton.groups import grid_parts, pair_parts
    from pcsr_fast.kernels.triton.scan import scan_scores
    from pcsr_fast.kernels.triton.sgr import Sides, sgr_scores

    dtype = torch.bfloat16 if precision == "bf16" else regions.dtype
    plan = plan_for(dtype, regions.device, precision == "exact")
    listed, counts = lengths.tolist(), lengths.to(torch.int32)

    def parts(rows: int, first: int) -> Iterable[Part]:
        last = (rows, first, chunk or ROWS, regions.device)
        if pairs is None:
            return grid_parts(listed, len(regions), *last)
        return pair_parts(listed, (pairs[0].tolist(), pairs[1].tolist()), *last)

    v, t = (value.detach().to(dtype).contiguous() for value in (regions, words))
    if isinstance(head, ScanParameters):
        scan_scores(v, t, counts, head.sharpness, parts(plan.scan.rows, 0), plan.scan, scores)
        return scores
    assert isinstance(head, SgrParameters)
    images, captions = (value.detach().to(dtype).contiguous() for value in (head.images, head.captions))
    graph, work = _graph(head, regions, words, dtype), parts(plan.sgr.local.rows, 1)
    sgr_scores(Sides(v, t, images, captions, counts), graph, SHARPNESS, work, plan.sgr, scores)
    return scores


@on_device
def cross_attention_similarity(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    precision: str = "exact",
    chunk: int | None = None,
) -> Tensor:
    """Scores (B, C) in float32 of regions (B, R, d) and words (C, L, d), of which `lengths` (C,) are valid.

    `precision` is of the matrix products, whose sums and all else are float32: exact, float32; bf16, of numbers rounded to
    bfloat16; auto, of float32 numbers as torch.set_float32_matmul_precision allows. `chunk`: (image, caption, word) triples
    whose nodes lie in memory at a time.
    """
    scores = torch.empty(len(regions), len(words), dtype=torch.float32, device=regions.device)
    return _score(regions, words, lengths, head, precision, chunk, scores)


@on_device
def cross_attention_pairs(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    head: HeadParameters,
    precision: str,
    chunk: int | None,
    scores: Tensor,
    pairs: tuple[Tensor, Tensor],
) -> Tensor:
    """A copy of `scores` (B, C) in which the pairs of images pairs[0] with captions pairs[1] are scored anew."""
    return _score(regions, words, lengths, head, precision, chunk, scores.float().contiguous().clone(), pairs)
