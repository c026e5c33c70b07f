"""Nodes of SGR's graphs: local and global agreements of every pair, up to their length (METHODS 2.1; KERNELS 1, K4).

A node is l2norm(W x + b). Where a tile does not hold all its columns, W x + b is stored, some columns at a time, and
1 / |W x + b| beside it, which the first step of the graph multiplies by.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .attention import context_squares, inverse_norm, region_weights, word_products, words_of_rows


@triton.jit
def _store(values, bias, nodes, rows, valid, column, S, PARTS: tl.constexpr):
    """Add the bias to some columns of rows, store them, as nodes if they are all, and return their squares' sums."""
    values += tl.load(bias + column, mask=column < S, other=0.0)[None, :]
    squares = tl.sum(values * values, axis=1)
    if PARTS == 1:
        values *= inverse_norm(squares)[:, None]
    places = nodes + rows[:, None] * S + column[None, :]
    tl.store(places, values.to(nodes.dtype.element_ty), mask=valid[:, None] & (column < S)[None, :])
    return squares


@triton.jit
def local_kernel(
    regions,
    gram,
    words,
    weight,
    bias,
    images,
    captions,
    lengths,
    nodes,
    scales,
    R,
    L,
    D,
    S,
    sharpness,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    REGIONS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Nodes W_loc (c_w - t_w)^2 + b of one image with a group of captions; c_w unit contexts."""
    group = tl.program_id(0)
    image = tl.load(images + group).to(tl.int64)
    _, word_rows, valid = words_of_rows(captions, lengths, group, L, 1, SLOTS, ROWS)
    products = word_products(words, word_rows, valid, regions, image, R, D, ROWS, REGIONS, BLOCK_K, PRECISION, WIDE)
    weights = region_weights(products, R, sharpness, SLOTS)
    inverse = inverse_norm(context_squares(weights, gram, image, R, PRECISION, WIDE))
    DTYPE: tl.constexpr = tl.float32 if WIDE else regions.dtype.element_ty
    shares, region = weights.to(DTYPE), tl.arange(0, REGIONS)
    region_places = regions + (image * R + region)[:, None] * D
    word_places = words + word_rows[:, None] * D
    rows = group.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    squares = tl.zeros((ROWS,), tl.float32)
    for part in tl.static_range(PARTS):
        column = part * COLUMNS + tl.arange(0, COLUMNS)
        local = tl.zeros((ROWS, COLUMNS), tl.float32)
        for k in range(0, D, BLOCK_K):
            inner = k + tl.arange(0, BLOCK_K)
            inside = (region < R)[:, None] & (inner < D)[None, :]
            v = tl.load(region_places + inner[None, :], mask=inside, other=0.0).to(DTYPE)
            t = tl.load(word_places + inner[None, :], mask=valid[:, None] & (inner < D)[None, :], other=0.0)
            apart = tl.dot(shares, v, input_precision=PRECISION) * inverse[:, None] - t.to(tl.float32)
            inside = (column < S)[None, :] & (inner < D)[:, None]
            w = tl.load(weight + column[None, :] * D + inner[:, None], mask=inside, other=0.0).to(DTYPE)
            local = tl.dot((apart * apart).to(DTYPE), w, local, input_precision=PRECISION)
        squares += _store(local, bias, nodes, rows, valid, column, S, PARTS)
    if PARTS > 1:
        tl.store(scales + rows, inverse_norm(squares), mask=valid)


@triton.jit
def global_kernel(
    image_vectors,
    caption_vectors,
    weight,
    bias,
    images,
    captions,
    nodes,
    scales,
    PAIRS,
    D,
    S,
    EACH: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Node 0 of ROWS pairs, W_glo (v_glo - t_glo)^2 + b; EACH captions in a group."""
    pair = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    caption = tl.load(captions + pair, mask=pair < PAIRS, other=-1)
    valid = caption >= 0
    image = tl.load(images + pair // EACH, mask=valid, other=0)
    image_places = image_vectors + image.to(tl.int64)[:, None] * D
    caption_places = caption_vectors + caption.to(tl.int64)[:, None] * D
    DTYPE: tl.constexpr = tl.float32 if WIDE else weight.dtype.element_ty
    rows = pair.to(tl.int64) * SLOTS
    squares = tl.zeros((ROWS,), tl.float32)
    for part in tl.static_range(PARTS):
        column = part * COLUMNS + tl.arange(0, COLUMNS)
        product = tl.zeros((ROWS, COLUMNS), tl.float32)
        for k in range(0, D, BLOCK_K):
            inner = k + tl.arange(0, BLOCK_K)
            inside = valid[:, None] & (inner < D)[None, :]
            apart = tl.load(image_places + inner[None, :], mask=inside, other=0.0).to(tl.float32)
            apart -= tl.load(caption_places + inner[None, :], mask=inside, other=0.0).to(tl.float32)
            inside = (column < S)[None, :] & (inner < D)[:, None]
            w = tl.load(weight + column[None, :] * D + inner[:, None], mask=inside, other=0.0).to(DTYPE)
            product = tl.dot((apart * apart).to(DTYPE), w, product, input_precision=PRECISION)
        squares += _store(product, bias, nodes, rows, valid, column, S, PARTS)
    if PARTS > 1:
        tl.store(scales + rows, inverse_norm(squares), mask=valid)
