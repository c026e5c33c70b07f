"""SCAN similarities, text to image, by the Gram identity: no context vector is formed (METHODS 2.1; KERNELS 1, K4).

c = sum_r a_r v_r        c . t = sum_r a_r (v_r . t)        |c|^2 = a^T G a
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

import triton
import triton.language as tl

from .attention import EPSILON, context_squares, region_weights, word_products, words_of_rows
from .groups import Part, Tile, gram_of, regions_tile, wide


@triton.jit
def scan_kernel(
    regions,
    gram,
    words,
    squares,
    images,
    captions,
    lengths,
    scores,
    R,
    L,
    D,
    C,
    sharpness,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    REGIONS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Scores of one image with a group of captions, each written to its place in (B, C)."""
    group = tl.program_id(0)
    image = tl.load(images + group).to(tl.int64)
    _, word_rows, valid = words_of_rows(captions, lengths, group, L, 0, SLOTS, ROWS)
    products = word_products(words, word_rows, valid, regions, image, R, D, ROWS, REGIONS, BLOCK_K, PRECISION, WIDE)
    weights = region_weights(products, R, sharpness, SLOTS)
    dots = tl.sum(weights * products, axis=1)
    norms = context_squares(weights, gram, image, R, PRECISION, WIDE)
    norms *= tl.load(squares + word_rows, mask=valid, other=0.0)
    cosines = dots / tl.sqrt_rn(tl.maximum(norms, EPSILON * EPSILON))
    CAPTIONS: tl.constexpr = ROWS // SLOTS
    total = tl.sum(tl.reshape(tl.where(valid, cosines, 0.0), (CAPTIONS, SLOTS)), axis=1)
    one = tl.load(captions + group * CAPTIONS + tl.arange(0, CAPTIONS))
    count = tl.load(lengths + one, mask=one >= 0, other=1)
    tl.store(scores + image * C + one, total / count, mask=one >= 0)


def scan_scores(
    regions: Tensor,
    words: Tensor,
    lengths: Tensor,
    sharpness: float,
    parts: Iterable[Part],
    tile: Tile,
    scores: Tensor,
) -> None:
    """Write the scores of the pairs in `parts` to their places in `scores` (B, C) float32.

    regions (B, R, d), words (C, L, d) contiguous, of one dtype that products are made in; lengths (C,) int32. Words
    beyond a caption's length are not read.
    """
    gram = gram_of(regions)
    squares = words.float().square().sum(2)
    for part in parts:
        scan_kernel[(len(part.images),)](
            regions=regions,
            gram=gram,
            words=words,
            squares=squares,
            images=part.images,
            captions=part.captions,
            lengths=lengths,
            scores=scores,
            R=regions.shape[1],
            L=words.shape[1],
            D=words.shape[2],
            C=words.shape[0],
            sharpness=sharpness,
            ROWS=part.rows,
            SLOTS=part.slots,
            REGIONS=regions_tile(regions),
            WIDE=wide(regions),
            **tile.options,
        )
