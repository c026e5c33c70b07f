"""Attention of words over the regions of an image, in tiles of words x regions (METHODS 2.1; KERNELS 1, K4).

A program takes one image and a group of captions, SLOTS rows of the tile each, so that everything after the first
product is a matter of rows. `WIDE` as in `tiles`: the interpreter's products of bfloat16 are wrong. There every call of a
function costs milliseconds, so that loops are written out.
"""

from __future__ import annotations

import triton
import triton.language as tl

EPSILON = tl.constexpr(1e-8)
LEAKY_SLOPE = tl.constexpr(0.1)


@triton.jit
def inverse_norm(squares):
    """1 / (|x| + 1e-8) from |x|^2; 0 for x = 0. Rounding may leave |x|^2 a little below 0."""
    return tl.where(squares > 0.0, 1.0 / (tl.sqrt_rn(tl.where(squares > 0.0, squares, 1.0)) + EPSILON), 0.0)


@triton.jit
def words_of_rows(captions, lengths, group, L, FIRST: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr):
    """For each row of a tile the caption (-1: none), its row of words (C L), and whether there is such a word.

    Word w of the g-th caption of the group stands in row g SLOTS + FIRST + w.
    """
    rows = tl.arange(0, ROWS)
    caption = tl.load(captions + group * (ROWS // SLOTS) + rows // SLOTS)
    word = rows % SLOTS - FIRST
    count = tl.load(lengths + caption, mask=caption >= 0, other=0)
    return caption, caption.to(tl.int64) * L + word, (word >= 0) & (word < count)


@triton.jit
def word_products(
    words,
    word_rows,
    valid,
    regions,
    image,
    R,
    D,
    ROWS: tl.constexpr,
    REGIONS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """float32 products t_w . v_r of a tile of words with all regions of an image; 0 where there is no word or region."""
    region = tl.arange(0, REGIONS)
    word_places = words + word_rows[:, None] * D
    region_places = regions + (image * R + region)[None, :] * D
    DTYPE: tl.constexpr = tl.float32 if WIDE else regions.dtype.element_ty
    product = tl.zeros((ROWS, REGIONS), tl.float32)
    for k in range(0, D, BLOCK_K):
        inner = k + tl.arange(0, BLOCK_K)
        t = tl.load(word_places + inner[None, :], mask=valid[:, None] & (inner < D)[None, :], other=0.0)
        inside = (region < R)[None, :] & (inner < D)[:, None]
        v = tl.load(region_places + inner[:, None], mask=inside, other=0.0)
        product = tl.dot(t.to(DTYPE), v.to(DTYPE), product, input_precision=PRECISION)
    return product


@triton.jit
def region_weights(products, R, sharpness, SLOTS: tl.constexpr):
    """Weights of the regions for each word from their products: each row sums to 1.

    Every region's leaky products are normalised over the words of a caption, then sharpened, then softmaxed over regions.
    """
    ROWS: tl.constexpr = products.shape[0]
    REGIONS: tl.constexpr = products.shape[1]
    CAPTIONS: tl.constexpr = ROWS // SLOTS
    scores = tl.where(products >= 0.0, products, products * LEAKY_SLOPE)
    squares = tl.sum(tl.reshape(scores * scores, (CAPTIONS, SLOTS, REGIONS)), axis=1)
    rates = tl.broadcast_to((sharpness * inverse_norm(squares))[:, None, :], (CAPTIONS, SLOTS, REGIONS))
    logits = scores * tl.reshape(rates, (ROWS, REGIONS))
    logits = tl.where((tl.arange(0, REGIONS) < R)[None, :], logits, float("-inf"))
    shares = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return shares / tl.sum(shares, axis=1)[:, None]


@triton.jit
def context_squares(weights, gram, image, R, PRECISION: tl.constexpr, WIDE: tl.constexpr):
    """|c_w|^2 = a^T G a of the contexts c_w = sum_r a_r v_r, from the Gram matrix of an image's regions."""
    region, matrix = tl.arange(0, weights.shape[1]), gram + image * R * R
    if gram.dtype.element_ty == tl.float32 and PRECISION == "ieee":
        # A row of G at a time: a product of so many float32 columns at once spills.
        squares = tl.zeros((weights.shape[0],), tl.float32)
        for r in range(0, R):
            row = tl.load(matrix + r * R + region, mask=region < R, other=0.0)
            own = tl.sum(tl.where((region == r)[None, :], weights, 0.0), axis=1)
            squares += own * tl.sum(weights * row[None, :], axis=1)
        return squares
    else:
        DTYPE: tl.constexpr = tl.float32 if WIDE else gram.dtype.element_ty
        inside = (region < R)[:, None] & (region < R)[None, :]
        G = tl.load(matrix + region[:, None] * R + region[None, :], mask=inside, other=0.0).to(DTYPE)
        rounded = weights.to(DTYPE)
        return tl.sum(tl.dot(rounded, G, input_precision=PRECISION) * rounded.to(tl.float32), axis=1)
