"""SGR similarities: a graph of local and global agreements of every pair (METHODS 2.1; KERNELS 1, K4).

Four kernels over a chunk of pairs, whose nodes lie in memory between them: local and global nodes, a step of the graph,
the last step for node 0 alone with the score. One kernel alone would hold the float32 accumulators of a projection and
those of the graph at once, which spills, and could not have a tile for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import triton

from .graph import answer_kernel, reason_kernel
from .groups import FEWEST_SLOTS, Part, Tile, gram_of, regions_tile, wide
from .nodes import global_kernel, local_kernel


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
    """Tiles of the four kernels. `glob` takes the columns of `local`; `reason` and `answer` grow to hold a pair whole."""

    local: Tile
    glob: Tile
    reason: Tile
    answer: Tile


class Nodes(NamedTuple):
    """Nodes (pairs, slots, s) of a part, and what they are to be multiplied by (pairs, slots), None for nothing."""

    values: Tensor
    scales: Tensor | None

    @property
    def operands(self) -> dict[str, Any]:
        """What kernels of the graph take."""
        scales = self.values if self.scales is None else self.scales
        return {"nodes": self.values, "scales": scales, "SCALED": self.scales is not None}


def sgr_scores(
    sides: Sides, graph: Graph, sharpness: float, parts: Iterable[Part], tiles: Tiles, scores: Tensor
) -> None:
    """Write the scores of the pairs in `parts` to their places in `scores` (B, C) float32.

    Words beyond a caption's length are not read. Memory: two times the nodes of the largest part.
    """
    gram = gram_of(sides.regions)
    for part in parts:
        nodes = _make_nodes(sides, gram, graph, sharpness, part, tiles)
        _answer(sides, graph, part, tiles, nodes, scores)


def _common(graph: Graph, tile: Tile, part: Part) -> dict[str, Any]:
    size = graph.tilt.shape[1]
    columns = max(FEWEST_SLOTS, min(tile.columns, triton.next_power_of_2(size)))
    parts = {"COLUMNS": columns, "PARTS": triton.cdiv(size, columns)}
    return {"S": size, "SLOTS": part.slots, "WIDE": wide(graph.edge)} | parts | tile.options


def _make_nodes(sides: Sides, gram: Tensor, graph: Graph, sharpness: float, part: Part, tiles: Tiles) -> Nodes:
    regions, words, pairs = sides.regions, sides.words, part.captions.numel()
    values = regions.new_empty(pairs, part.slots, graph.tilt.shape[1])
    scales = torch.empty(pairs, part.slots, dtype=torch.float32, device=regions.device)
    shared = {"images": part.images, "captions": part.captions, "nodes": values, "scales": scales, "D": words.shape[2]}
    local_kernel[(len(part.images),)](
        regions=regions,
        gram=gram,
        words=words,
        weight=graph.local,
        bias=graph.local_bias,
        lengths=sides.lengths,
        R=regions.shape[1],
        L=words.shape[1],
        sharpness=sharpness,
        ROWS=part.rows,
        REGIONS=regions_tile(regions),
        **shared,
        **_common(graph, tiles.local, part),
    )
    global_kernel[(triton.cdiv(pairs, tiles.glob.rows),)](
        image_vectors=sides.images,
        caption_vectors=sides.captions,
        weight=graph.glob,
        bias=graph.glob_bias,
        PAIRS=pairs,
        EACH=part.captions.shape[1],
        ROWS=tiles.glob.rows,
        **shared,
        **_common(graph, tiles.glob._replace(columns=tiles.local.columns), part),
    )
    return Nodes(values, scales if graph.tilt.shape[1] > tiles.local.columns else None)


def _answer(sides: Sides, graph: Graph, part: Part, tiles: Tiles, nodes: Nodes, scores: Tensor) -> None:
    pairs, last = part.captions.numel(), len(graph.edge) - 1
    shared = {"captions": part.captions, "lengths": sides.lengths, "PAIRS": pairs}

    def weights(step: int) -> dict[str, Tensor]:
        names = {"edge": graph.edge, "tilt": graph.tilt, "update": graph.update, "bias": graph.update_bias}
        return {name: value[step] for name, value in names.items()}

    rows, spare = max(part.slots, tiles.reason.rows), torch.empty_like(nodes.values)
    for step in range(last):
        reason_kernel[(triton.cdiv(pairs * part.slots, rows),)](
            reasoned=spare,
            ROWS=rows,
            **nodes.operands,
            **weights(step),
            **shared,
            **_common(graph, tiles.reason, part),
        )
        nodes, spare = Nodes(spare, None), nodes.values
    rows = max(part.slots, tiles.answer.rows)
    answer_kernel[(triton.cdiv(pairs * part.slots, rows),)](
        output=graph.output,
        images=part.images,
        scores=scores,
        C=scores.shape[1],
        output_bias=graph.output_bias,
        EACH=part.captions.shape[1],
        ROWS=rows,
        ASKING=max(FEWEST_SLOTS, rows // part.slots),
        **nodes.operands,
        **weights(last),
        **shared,
        **_common(graph, tiles.answer, part),
    )
