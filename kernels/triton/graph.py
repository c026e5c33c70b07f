"""Steps of SGR's graphs over the nodes of a chunk of pairs (METHODS 2.1; KERNELS 1, K4).

Logits (e_i M + u) . e_j with M = Wq^T Wk, u = Wk^T bq: what else Q K^T has cancels in the softmax over j. A tile of
nodes holds whole pairs; of other pairs in the tile the logits are masked. SCALED: nodes are still to be multiplied by
`scales`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _scale(scales, rows, valid, SCALED: tl.constexpr):
    if SCALED:
        return tl.load(scales + rows, mask=valid, other=0.0)
    else:
        return tl.full(rows.shape, 1.0, tl.float32)


@triton.jit
def _edges(
    nodes,
    scales,
    weight,
    bias,
    asking,
    asks,
    pair_of_asking,
    rows,
    valid,
    pair_of_row,
    S,
    SCALED: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """softmax of the logits of nodes `asking` over the nodes of their pair, `rows`, times these' scales; 0 elsewhere."""
    DTYPE: tl.constexpr = tl.float32 if WIDE else nodes.dtype.element_ty
    own_scale, scale = _scale(scales, asking, asks, SCALED), _scale(scales, rows, valid, SCALED)
    logits = tl.zeros((asking.shape[0], rows.shape[0]), tl.float32)
    for c in range(0, S, BLOCK_K):
        across = c + tl.arange(0, BLOCK_K)
        query = tl.zeros((asking.shape[0], BLOCK_K), tl.float32)
        for k in range(0, S, BLOCK_K):
            inner = k + tl.arange(0, BLOCK_K)
            inside = asks[:, None] & (inner < S)[None, :]
            e = tl.load(nodes + asking[:, None] * S + inner[None, :], mask=inside, other=0.0).to(DTYPE)
            inside = (across < S)[None, :] & (inner < S)[:, None]
            w = tl.load(weight + across[None, :] * S + inner[:, None], mask=inside, other=0.0).to(DTYPE)
            query = tl.dot(e, w, query, input_precision=PRECISION)
        query = query * own_scale[:, None] + tl.load(bias + across, mask=across < S, other=0.0)[None, :]
        inside = valid[None, :] & (across < S)[:, None]
        e = tl.load(nodes + rows[None, :] * S + across[:, None], mask=inside, other=0.0).to(DTYPE)
        logits = tl.dot(query.to(DTYPE), e, logits, input_precision=PRECISION)
    own = (pair_of_asking[:, None] == pair_of_row[None, :]) & valid[None, :]
    logits = tl.where(own, logits * scale[None, :], float("-inf"))
    largest = tl.max(logits, axis=1)
    shares = tl.exp(logits - tl.where(largest == float("-inf"), 0.0, largest)[:, None])
    total = tl.sum(shares, axis=1)
    return shares * scale[None, :] / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit
def _reasoned(
    edges,
    nodes,
    update,
    bias,
    rows,
    valid,
    column,
    S,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Some columns of relu(W_s (P E) + b), P the edges; 0 beyond S."""
    DTYPE: tl.constexpr = tl.float32 if WIDE else nodes.dtype.element_ty
    shares = edges.to(DTYPE)
    product = tl.zeros((edges.shape[0], column.shape[0]), tl.float32)
    for c in range(0, S, BLOCK_K):
        inner = c + tl.arange(0, BLOCK_K)
        inside = valid[:, None] & (inner < S)[None, :]
        e = tl.load(nodes + rows[:, None] * S + inner[None, :], mask=inside, other=0.0).to(DTYPE)
        mixed = tl.dot(shares, e, input_precision=PRECISION).to(DTYPE)
        inside = (column < S)[None, :] & (inner < S)[:, None]
        w = tl.load(update + column[None, :] * S + inner[:, None], mask=inside, other=0.0).to(DTYPE)
        product = tl.dot(mixed, w, product, input_precision=PRECISION)
    return tl.maximum(product + tl.load(bias + column, mask=column < S, other=0.0)[None, :], 0.0)


@triton.jit
def _nodes_of_rows(captions, lengths, pair, PAIRS, row, SLOTS: tl.constexpr):
    """Which rows of a tile hold a node of their pair."""
    caption = tl.load(captions + pair, mask=pair < PAIRS, other=-1)
    count = tl.load(lengths + caption, mask=caption >= 0, other=-1)
    return row % SLOTS <= count


@triton.jit
def reason_kernel(
    nodes,
    scales,
    reasoned,
    edge,
    tilt,
    update,
    bias,
    captions,
    lengths,
    PAIRS,
    S,
    SCALED: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One step of all nodes of ROWS / SLOTS pairs: from `nodes` (PAIRS, SLOTS, S) to `reasoned`, alike."""
    row = tl.arange(0, ROWS)
    pair = tl.program_id(0) * (ROWS // SLOTS) + row // SLOTS
    rows = tl.program_id(0).to(tl.int64) * ROWS + row
    valid = _nodes_of_rows(captions, lengths, pair, PAIRS, row, SLOTS)
    edges = _edges(nodes, scales, edge, tilt, rows, valid, pair, rows, valid, pair, S, SCALED, BLOCK_K, PRECISION, WIDE)
    for part in tl.static_range(PARTS):
        column = part * COLUMNS + tl.arange(0, COLUMNS)
        after = _reasoned(edges, nodes, update, bias, rows, valid, column, S, BLOCK_K, PRECISION, WIDE)
        places = reasoned + rows[:, None] * S + column[None, :]
        tl.store(places, after.to(nodes.dtype.element_ty), mask=valid[:, None] & (column < S)[None, :])


@triton.jit
def answer_kernel(
    nodes,
    scales,
    edge,
    tilt,
    update,
    bias,
    output,
    images,
    captions,
    lengths,
    scores,
    PAIRS,
    C,
    S,
    output_bias,
    EACH: tl.constexpr,
    SCALED: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    ASKING: tl.constexpr,
    COLUMNS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The last step of node 0 of ROWS / SLOTS pairs, and sigmoid(w . E_0 + b) at their places in (B, C)."""
    first_pair = tl.program_id(0) * (ROWS // SLOTS)
    row, ask = tl.arange(0, ROWS), tl.arange(0, ASKING)
    pair, asking = first_pair + row // SLOTS, first_pair + ask
    valid = _nodes_of_rows(captions, lengths, pair, PAIRS, row, SLOTS)
    caption = tl.load(captions + asking, mask=(asking < PAIRS) & (ask < ROWS // SLOTS), other=-1)
    asks = caption >= 0
    rows, roots = tl.program_id(0).to(tl.int64) * ROWS + row, asking.to(tl.int64) * SLOTS
    edges = _edges(
        nodes, scales, edge, tilt, roots, asks, asking, rows, valid, pair, S, SCALED, BLOCK_K, PRECISION, WIDE
    )
    sums = tl.zeros((ASKING,), tl.float32)
    for part in tl.static_range(PARTS):
        column = part * COLUMNS + tl.arange(0, COLUMNS)
        after = _reasoned(edges, nodes, update, bias, rows, valid, column, S, BLOCK_K, PRECISION, WIDE)
        sums += tl.sum(after * tl.load(output + column, mask=column < S, other=0.0)[None, :], axis=1)
    image = tl.load(images + asking // EACH, mask=asks, other=0).to(tl.int64)
    tl.store(scores + image * C + caption, 1.0 / (1.0 + tl.exp(-(sums + output_bias))), mask=asks)
