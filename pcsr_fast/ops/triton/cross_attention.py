"""SCAN and SGR similarities by Triton, forward only (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast.ops.cross_attention_blocks import pair_blocks, run_blocks
from pcsr_fast.ops.cross_attention_forms import evaluation, prepare
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

MOST_REGIONS = 64
# Rows (image, caption, word) whose nodes lie in memory at a time: 32 MiB of bfloat16 at 256 numbers each, twice.
ROWS = 65536


def supports(*tensors: Any, **options: Any) -> str | None:
    """None where Triton is there and a tile holds an image, else the reason; lengths are integers, and not asked."""
    regions, words, _, head = tensors
    if isinstance(head, SafParameters):
        return "it has no kernel of SAF"
    learnt = () if isinstance(head, ScanParameters) else tuple(head)
    reason = arguments.supports(regions, words, *learnt)
    if reason is not None:
        return reason
    if isinstance(head, SgrParameters) and len(head.query_weight) == 0:
        return "it has no kernel of SGR without steps"
    many = regions.shape[1] > MOST_REGIONS
    return f"{regions.shape[1]} regions an image, expected at most {MOST_REGIONS}" if many else None


def _graph(head: SgrParameters, regions: Tensor, words: Tensor, dtype: torch.dtype) -> Graph:
    """What is learnt, folded in float64 and rounded once."""
    from pcsr_fast.kernels.triton.sgr import Graph

    double = SgrParameters(*(value.detach().double() for value in head))
    *tensors, output_bias = prepare(regions, words, double).shared
    matrices = [value.to(dtype if index in (0, 2, 4, 6) else torch.float32) for index, value in enumerate(tensors)]
    return Graph(*(value.contiguous() for value in matrices), float(output_bias))


class _Work(NamedTuple):
    """Pairs to score: those listed (images, captions), or all of them."""

    regions: Tensor
    lengths: Tensor
    pairs: tuple[Tensor, Tensor] | None
    chunk: int | None

    def parts(self, rows: int, first: int) -> Iterator[Part]:
        """Those of captions that fit into a tile of `rows`, `first` of them before the words."""
        from pcsr_fast.kernels.triton.groups import grid_parts, pair_parts

        lengths, last = self.lengths.tolist(), (rows, first, self.chunk or ROWS, self.regions.device)
        if self.pairs is None:
            yield from grid_parts(lengths, len(self.regions), *last)
        else:
            yield from pair_parts(lengths, (self.pairs[0].tolist(), self.pairs[1].tolist()), *last)

    def others(self, rows: int, first: int) -> tuple[Tensor, Tensor]:
        """The other pairs (images, captions)."""
        long = self.lengths + first > rows
        if self.pairs is None:
            captions = long.nonzero()[:, 0]
            images = torch.arange(len(self.regions), device=captions.device)
            return images.repeat_interleave(len(captions)), captions.repeat(len(images))
        images, captions = self.pairs
        chosen = long[captions]
        return images[chosen], captions[chosen]


def _score(
    regions: Tensor,
    words: Tensor,
    head: HeadParameters,
    precision: str,
    work: _Work,
    scores: Tensor,
) -> Tensor:
    """`scores` (B, C), into which those of the work's pairs are written; of captions longer than a tile by the batched
    form."""
    from pcsr_fast.kernels.triton.attention_table import plan_for
    from pcsr_fast.kernels.triton.scan import scan_scores
    from pcsr_fast.kernels.triton.sgr import Sides, sgr_scores

    dtype = torch.bfloat16 if precision == "bf16" else regions.dtype
    plan, lengths = plan_for(dtype, regions.device, precision == "exact"), work.lengths.to(torch.int32)
    v, t = (value.detach().to(dtype).contiguous() for value in (regions, words))
    if isinstance(head, ScanParameters):
        fits = plan.scan.rows, 0
        scan_scores(v, t, lengths, head.sharpness, work.parts(*fits), plan.scan, scores)
    else:
        assert isinstance(head, SgrParameters)
        fits = plan.sgr.local.rows, 1
        images, captions = (value.detach().to(dtype).contiguous() for value in (head.images, head.captions))
        sides, graph = Sides(v, t, images, captions, lengths), _graph(head, regions, words, dtype)
        sgr_scores(sides, graph, SHARPNESS, work.parts(*fits), plan.sgr, scores)
    images, captions = work.others(*fits)
    if len(images) == 0:
        return scores
    operands = prepare(regions.detach(), words.detach(), head)
    blocks = pair_blocks(operands, work.lengths, images, captions, work.chunk)
    return run_blocks(evaluation(head, precision), operands, blocks, scores)[0]


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
    return _score(regions, words, head, precision, _Work(regions, lengths, None, chunk), scores)


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
    scores = scores.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return _score(regions, words, head, precision, _Work(regions, lengths, pairs, chunk), scores)
