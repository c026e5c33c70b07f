"""SGR similarities: a graph of local and global agreements of every pair (METHODS 2.1; KERNELS 1, K4).

Three stages over a chunk of pairs, whose nodes lie in memory between them: `local_kernel` and `global_kernel` make the
nodes, `reason_kernel` does one step of reasoning, `answer_kernel` the last one, for node 0 alone, and the score.
In one kernel, float32 accumulators (rows, s) of the projection would live beside those of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import triton
import triton.language as tl

from .attention import context_squares, inverse_norm, region_weights, word_products, words_of_rows
from .groups import FEWEST_SLOTS, Part, Tile, gram_of, regions_tile, wide


@triton.jit
def _store_units(product, bias, nodes, node_rows, valid, S):
    """l2norm of each row of a projection plus bias, stored as a node."""
    column = tl.arange(0, product.shape[1])
    values = product + tl.load(bias + column, mask=column < S, other=0.0)[None, :]
    values *= inverse_norm(tl.sum(values * values, axis=1))[:, None]
    places = nodes + node_rows.to(tl.int64)[:, None] * S + column[None, :]
    tl.store(places, values.to(nodes.dtype.element_ty), mask=valid[:, None] & (column < S)[None, :])


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
    R,
    L,
    D,
    S,
    sharpness,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
    REGIONS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Nodes s_w = l2norm(W_loc (c_w - t_w)^2 + b) of one image with a group of captions; c_w unit contexts."""
    group = tl.program_id(0)
    image = tl.load(images + group).to(tl.int64)
    _, word_rows, valid = words_of_rows(captions, lengths, group, L, 1, SLOTS, ROWS)
    products = word_products(words, word_rows, valid, regions, image, R, D, ROWS, REGIONS, BLOCK_K, PRECISION, WIDE)
    weights = region_weights(products, R, sharpness, SLOTS)
    inverse = inverse_norm(context_squares(weights, gram, image, R, PRECISION, WIDE))
    DTYPE: tl.constexpr = tl.float32 if WIDE else regions.dtype.element_ty
    shares = weights.to(DTYPE)
    region, column = tl.arange(0, REGIONS), tl.arange(0, SIZE)
    region_places = regions + (image * R + region)[:, None] * D
    word_places = words + word_rows[:, None] * D
    local = tl.zeros((ROWS, SIZE), tl.float32)
    for k in range(0, D, BLOCK_K):
        inner = k + tl.arange(0, BLOCK_K)
        inside = (region < R)[:, None] & (inner < D)[None, :]
        v = tl.load(region_places + inner[None, :], mask=inside, other=0.0).to(DTYPE)
        t = tl.load(word_places + inner[None, :], mask=valid[:, None] & (inner < D)[None, :], other=0.0)
        apart = tl.dot(shares, v, input_precision=PRECISION) * inverse[:, None] - t.to(tl.float32)
        inside = (column < S)[None, :] & (inner < D)[:, None]
        w = tl.load(weight + column[None, :] * D + inner[:, None], mask=inside, other=0.0).to(DTYPE)
        local = tl.dot((apart * apart).to(DTYPE), w, local, input_precision=PRECISION)
    _store_units(local, bias, nodes, group.to(tl.int64) * ROWS + tl.arange(0, ROWS), valid, S)


@triton.jit
def global_kernel(
    image_vectors,
    caption_vectors,
    weight,
    bias,
    images,
    captions,
    nodes,
    PAIRS,
    D,
    S,
    EACH: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Node 0 of ROWS pairs, s_0 = l2norm(W_glo (v_glo - t_glo)^2 + b); EACH captions in a group."""
    pair = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    caption = tl.load(captions + pair, mask=pair < PAIRS, other=-1)
    valid = caption >= 0
    image = tl.load(images + pair // EACH, mask=valid, other=0)
    image_places = image_vectors + image.to(tl.int64)[:, None] * D
    caption_places = caption_vectors + caption.to(tl.int64)[:, None] * D
    column = tl.arange(0, SIZE)
    DTYPE: tl.constexpr = tl.float32 if WIDE else weight.dtype.element_ty
    product = tl.zeros((ROWS, SIZE), tl.float32)
    for k in range(0, D, BLOCK_K):
        inner = k + tl.arange(0, BLOCK_K)
        inside = valid[:, None] & (inner < D)[None, :]
        apart = tl.load(image_places + inner[None, :], mask=inside, other=0.0).to(tl.float32)
        apart -= tl.load(caption_places + inner[None, :], mask=inside, other=0.0).to(tl.float32)
        inside = (column < S)[None, :] & (inner < D)[:, None]
        w = tl.load(weight + column[None, :] * D + inner[:, None], mask=inside, other=0.0).to(DTYPE)
        product = tl.dot((apart * apart).to(DTYPE), w, product, input_precision=PRECISION)
    _store_units(product, bias, nodes, pair.to(tl.int64) * SLOTS, valid, S)


@triton.jit
def _edges(
    nodes,
    weight,
    bias,
    asking,
    asks,
    pair_of_asking,
    rows,
    valid,
    pair_of_row,
    S,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """softmax((e_i M + u) . e_j) of the nodes `asking` over the nodes of their pair, `rows`; 0 outside of it."""
    DTYPE: tl.constexpr = tl.float32 if WIDE else nodes.dtype.element_ty
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
        query += tl.load(bias + across, mask=across < S, other=0.0)[None, :]
        inside = valid[None, :] & (across < S)[:, None]
        e = tl.load(nodes + rows[None, :] * S + across[:, None], mask=inside, other=0.0).to(DTYPE)
        logits = tl.dot(query.to(DTYPE), e, logits, input_precision=PRECISION)
    own = (pair_of_asking[:, None] == pair_of_row[None, :]) & valid[None, :]
    logits = tl.where(own, logits, float("-inf"))
    largest = tl.max(logits, axis=1)
    shares = tl.exp(logits - tl.where(largest == float("-inf"), 0.0, largest)[:, None])
    total = tl.sum(shares, axis=1)
    return shares / tl.where(total == 0.0, 1.0, total)[:, None]


@triton.jit
def _reasoned(
    nodes,
    edge,
    tilt,
    update,
    bias,
    asking,
    asks,
    pair_of_asking,
    rows,
    valid,
    pair_of_row,
    S,
    SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """relu(W_s (P E) + b) of the nodes `asking`: (asking, SIZE), 0 beyond S."""
    edges = _edges(
        nodes, edge, tilt, asking, asks, pair_of_asking, rows, valid, pair_of_row, S, BLOCK_K, PRECISION, WIDE
    )
    DTYPE: tl.constexpr = tl.float32 if WIDE else nodes.dtype.element_ty
    shares, column = edges.to(DTYPE), tl.arange(0, SIZE)
    product = tl.zeros((asking.shape[0], SIZE), tl.float32)
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
def _nodes_of_rows(captions, lengths, pair, PAIRS, rows, SLOTS: tl.constexpr):
    """Which rows hold a node of their pair."""
    caption = tl.load(captions + pair, mask=pair < PAIRS, other=-1)
    count = tl.load(lengths + caption, mask=caption >= 0, other=-1)
    return rows % SLOTS <= count


@triton.jit
def reason_kernel(
    nodes,
    reasoned,
    edge,
    tilt,
    update,
    bias,
    captions,
    lengths,
    PAIRS,
    S,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One step of all nodes of ROWS / SLOTS pairs: from `nodes` (PAIRS, SLOTS, S) to `reasoned`, alike."""
    row = tl.arange(0, ROWS)
    pair = tl.program_id(0) * (ROWS // SLOTS) + row // SLOTS
    rows = tl.program_id(0).to(tl.int64) * ROWS + row
    valid = _nodes_of_rows(captions, lengths, pair, PAIRS, row, SLOTS)
    after = _reasoned(
        nodes, edge, tilt, update, bias, rows, valid, pair, rows, valid, pair, S, SIZE, BLOCK_K, PRECISION, WIDE
    )
    column = tl.arange(0, SIZE)
    places = reasoned + rows[:, None] * S + column[None, :]
    tl.store(places, after.to(nodes.dtype.element_ty), mask=valid[:, None] & (column < S)[None, :])


@triton.jit
def answer_kernel(
    nodes,
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
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    ASKING: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The last step of node 0 of ROWS / SLOTS pairs, and sigmoid(w . E_0 + b) at their places in (B, C)."""
    first = tl.program_id(0) * (ROWS // SLOTS)
    row, ask = tl.arange(0, ROWS), tl.arange(0, ASKING)
    pair, asking = first + row // SLOTS, first + ask
    valid = _nodes_of_rows(captions, lengths, pair, PAIRS, row, SLOTS)
    caption = tl.load(captions + asking, mask=(asking < PAIRS) & (ask < ROWS // SLOTS), other=-1)
    asks = caption >= 0
    rows, roots = tl.program_id(0).to(tl.int64) * ROWS + row, asking.to(tl.int64) * SLOTS
    after = _reasoned(
        nodes, edge, tilt, update, bias, roots, asks, asking, rows, valid, pair, S, SIZE, BLOCK_K, PRECISION, WIDE
    )
    column = tl.arange(0, SIZE)
    sums = tl.sum(after * tl.load(output + column, mask=column < S, other=0.0)[None, :], axis=1)
    image = tl.load(images + asking // EACH, mask=asks, other=0).to(tl.int64)
    tl.store(scores + image * C + caption, 1.0 / (1.0 + tl.exp(-(sums + output_bias))), mask=asks)


class Graph(NamedTuple):
    """What is learnt, folded: M = Wq^T Wk, u = Wk^T bq. Matrices in the dtype of products, vectors in float32.

    Matrices (s, d) of `local` and `glob`, (K, s, s) of `edge` = M^T and `update`; vectors (s,), (K, s) of `tilt` = u.
    """

    local: Tensor
    local_bias: Tensor
    glob: Tensor
    glob_bias: Tensor
    edge: Tensor
    tilt: Tensor
    update: Tensor
    update_bias: Tensor
    output: Tensor
    output_bias: float


class Sides(NamedTuple):
    """regions (B, R, d), words (C, L, d), global vectors of images (B, d) and captions (C, d), all contiguous and of one
    dtype, which products are made in; lengths (C,) int32."""

    regions: Tensor
    words: Tensor
    images: Tensor
    captions: Tensor
    lengths: Tensor


class Tiles(NamedTuple):
    """Tiles of the four kernels; a tile of `local`, `reason` and `answer` holds whole captions, however long."""

    local: Tile
    glob: Tile
    reason: Tile
    answer: Tile


def sgr_scores(
    sides: Sides, graph: Graph, sharpness: float, parts: Iterable[Part], tiles: Tiles, scores: Tensor
) -> None:
    """Write the scores of the pairs in `parts` to their places in `scores` (B, C) float32.

    Words beyond a caption's length are not read. Memory: two times the nodes of the largest part.
    """
    gram = gram_of(sides.regions)
    size = graph.tilt.shape[1]
    for part in parts:
        count = part.captions.numel() * part.slots
        nodes, after = torch.empty(2, count, size, dtype=sides.regions.dtype, device=scores.device)
        _make_nodes(sides, gram, graph, sharpness, part, tiles, nodes)
        _answer(sides, graph, part, tiles, (nodes, after), scores)


def _common(graph: Graph, tile: Tile, part: Part) -> dict[str, Any]:
    size = graph.tilt.shape[1]
    wide_size = max(FEWEST_SLOTS, triton.next_power_of_2(size))
    return {"S": size, "SIZE": wide_size, "SLOTS": part.slots, "WIDE": wide(graph.edge)} | tile.options


def _make_nodes(
    sides: Sides, gram: Tensor, graph: Graph, sharpness: float, part: Part, tiles: Tiles, nodes: Tensor
) -> None:
    regions, words = sides.regions, sides.words
    local_kernel[(len(part.images),)](
        regions=regions,
        gram=gram,
        words=words,
        weight=graph.local,
        bias=graph.local_bias,
        images=part.images,
        captions=part.captions,
        lengths=sides.lengths,
        nodes=nodes,
        R=regions.shape[1],
        L=words.shape[1],
        D=words.shape[2],
        sharpness=sharpness,
        ROWS=part.rows,
        REGIONS=regions_tile(regions),
        **_common(graph, tiles.local, part),
    )
    pairs = part.captions.numel()
    global_kernel[(triton.cdiv(pairs, tiles.glob.rows),)](
        image_vectors=sides.images,
        caption_vectors=sides.captions,
        weight=graph.glob,
        bias=graph.glob_bias,
        images=part.images,
        captions=part.captions,
        nodes=nodes,
        PAIRS=pairs,
        D=words.shape[2],
        EACH=part.captions.shape[1],
        ROWS=tiles.glob.rows,
        **_common(graph, tiles.glob, part),
    )


def _answer(
    sides: Sides, graph: Graph, part: Part, tiles: Tiles, buffers: tuple[Tensor, Tensor], scores: Tensor
) -> None:
    nodes, after = buffers
    pairs, last = part.captions.numel(), len(graph.edge) - 1
    shared = {"captions": part.captions, "lengths": sides.lengths, "PAIRS": pairs}

    def weights(step: int) -> dict[str, Tensor]:
        return {
            "edge": graph.edge[step],
            "tilt": graph.tilt[step],
            "update": graph.update[step],
            "bias": graph.update_bias[step],
        }

    rows = max(part.slots, tiles.reason.rows)
    for step in range(last):
        reason_kernel[(triton.cdiv(pairs * part.slots, rows),)](
            nodes=nodes, reasoned=after, ROWS=rows, **weights(step), **shared, **_common(graph, tiles.reason, part)
        )
        nodes, after = after, nodes
    rows = max(part.slots, tiles.answer.rows)
    answer_kernel[(triton.cdiv(pairs * part.slots, rows),)](
        nodes=nodes,
        output=graph.output,
        images=part.images,
        scores=scores,
        C=scores.shape[1],
        output_bias=graph.output_bias,
        EACH=part.captions.shape[1],
        ROWS=rows,
        ASKING=max(FEWEST_SLOTS, rows // part.slots),
        **weights(last),
        **shared,
        **_common(graph, tiles.answer, part),
    )
