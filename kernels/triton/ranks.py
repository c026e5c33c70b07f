"""Retrieval ranks of both directions, counted tile by tile against thresholds from the same tiles (KERNELS 1, K5).

Counts are added atomically, as integers: their order does not matter. `fused` computes the tiles, `chunked` reads them
from products of cuBLAS, once for the thresholds and once more to count.
"""

from __future__ import annotations

import torch
from torch import Tensor

import triton
import triton.language as tl

from .launch import Plan, Sides, Source, programs, sources
from .search import own_scores
from .tiles import corner_of_tile, number_of_tiles, order_of, packed, score_of, tile_of_scores, unpacked

PESSIMISTIC = tl.constexpr(0)  # a NaN score comes first too
OPTIMISTIC = tl.constexpr(1)
STABLE = tl.constexpr(2)
TIES = {"pessimistic": PESSIMISTIC.value, "optimistic": OPTIMISTIC.value, "stable": STABLE.value}
NOTHING = -(2**63)  # below every packed score


@triton.jit
def best_kernel(own, image_of_text, best, M, BLOCK: tl.constexpr):
    """Best packed (score, caption) of every image among its own captions."""
    texts = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    images = tl.load(image_of_text + texts, mask=texts < M, other=0)
    scores = tl.load(own + texts, mask=texts < M, other=0.0)
    tl.atomic_max(best + images, packed(order_of(scores), texts), mask=texts < M, sem="relaxed")


@triton.jit
def _above(scores, threshold, earlier, TIES: tl.constexpr):
    if TIES == PESSIMISTIC:
        return (scores < threshold) == 0
    elif TIES == OPTIMISTIC:
        return scores > threshold
    else:
        return (scores > threshold) | ((scores == threshold) & earlier)


@triton.jit
def ranks_kernel(
    x,
    y,
    image_of_text,
    best,
    own,
    image_ranks,
    text_ranks,
    N,
    M,
    D,
    x_stride,
    y_stride,
    first_row,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    TIES: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
    LOADED: tl.constexpr,
):
    """Add to the ranks of N images, the first of them image `first_row` of all, and of M captions."""
    tiles = number_of_tiles(N, M, BLOCK_M, BLOCK_N)
    for tile in range(tl.program_id(0).to(tl.int64), tiles, tl.num_programs(0)):
        top, left = corner_of_tile(tile, N, M, GROUP, BLOCK_M, BLOCK_N)
        rows, columns = top + tl.arange(0, BLOCK_M), left + tl.arange(0, BLOCK_N)
        scores = tile_of_scores(x, y, rows, columns, N, M, D, x_stride, y_stride, BLOCK_K, PRECISION, WIDE, LOADED)
        images = (rows + first_row)[:, None]
        own_image = tl.load(image_of_text + columns, mask=columns < M, other=0).to(tl.int32)[None, :]
        foreign = (rows < N)[:, None] & (columns < M)[None, :] & (images != own_image)
        key, place = unpacked(tl.load(best + rows, mask=rows < N, other=0))
        above = foreign & _above(scores, score_of(key)[:, None], columns[None, :] < place.to(tl.int32)[:, None], TIES)
        count = tl.sum(above.to(tl.int32), axis=1).to(tl.int64)
        tl.atomic_add(image_ranks + rows, count, mask=(rows < N) & (count > 0), sem="relaxed")
        threshold = tl.load(own + columns, mask=columns < M, other=0.0)
        above = foreign & _above(scores, threshold[None, :], images < own_image, TIES)
        count = tl.sum(above.to(tl.int32), axis=0).to(tl.int64)
        tl.atomic_add(text_ranks + columns, count, mask=(columns < M) & (count > 0), sem="relaxed")


def _own_scores(sides: Sides, image_of_text: Tensor, plan: Plan) -> Tensor:
    """Score (M,) of every caption with its image, to the bit the one it is compared with others by."""
    if sides.y is None or plan.schedule == "fused":
        return own_scores(sides, plan, image_of_text)
    own = torch.zeros(image_of_text.shape, dtype=torch.float32, device=image_of_text.device)
    for rows, source in sources(sides, plan):
        inside = (image_of_text >= rows.start) & (image_of_text < rows.stop)
        here = (image_of_text - rows.start).clamp(0, source.x.shape[0] - 1)
        own = torch.where(inside, source.x.gather(0, here[None])[0], own)
    return own


def _count(
    plan: Plan,
    source: Source,
    image_of_text: Tensor,
    thresholds: tuple[Tensor, Tensor],
    ranks: tuple[Tensor, Tensor],
    ties: str,
    first_row: int,
) -> None:
    N, M = ranks[0].shape[0], ranks[1].shape[0]
    ranks_kernel[(programs(plan, N, M, source.x.device),)](
        image_of_text=image_of_text,
        best=thresholds[0],
        own=thresholds[1],
        image_ranks=ranks[0],
        text_ranks=ranks[1],
        N=N,
        M=M,
        first_row=first_row,
        **source.operands,
        **plan.tile,
        GROUP=plan.group,
        TIES=TIES[ties],
        **plan.launch,
    )


def retrieval_ranks(sides: Sides, image_of_text: Tensor, ties: str, plan: Plan) -> tuple[Tensor, Tensor]:
    """int64 ranks of images (N,), -1 without a caption, and of captions (M,) whose images (M,) int64 are given."""
    (images, texts), device = sides.shape, sides.x.device
    own = _own_scores(sides, image_of_text, plan)
    best = torch.full((images,), NOTHING, dtype=torch.int64, device=device)
    best_kernel[(triton.cdiv(texts, 1024),)](own, image_of_text, best, texts, BLOCK=1024)
    of_images, of_texts = (torch.zeros(count, dtype=torch.int64, device=device) for count in (images, texts))
    for rows, source in sources(sides, plan):
        _count(plan, source, image_of_text, (best[rows], own), (of_images[rows], of_texts), ties, rows.start)
    return torch.where(best == NOTHING, -1, of_images), of_texts
