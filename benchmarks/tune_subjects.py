"""What `python -m benchmarks tune` tunes: the works of the launch table and the tiles of the heads, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.kernels.triton.tuned import HEADS, PLANS

DTYPES = {"float32": torch.float32, "tf32x3": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Subject:
    """What is tuned: the place of a plan in the file, where to start (a named tuple), and what runs with it."""

    table: str
    name: str
    dtype: str
    start: Any
    run: Callable[[Any], Any]


@contextmanager
def products(name: str) -> Iterator[None]:
    """Plans are chosen inside as for this dtype; "tf32x3" is float32 where torch is allowed to be a little less exact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32x3" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def matrix_subjects(rows: int, width: int, device: torch.device) -> Iterator[Subject]:
    """Every work of the launch table on `rows` pairs of `width` numbers."""
    from pcsr_fast.kernels.triton import contrastive, ranks, search
    from pcsr_fast.kernels.triton.launch import Plan, Sides
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.softmax import Loss
    from pcsr_fast.reference.contrastive_terms import contrastive_settings

    infonce, numbers = Loss(*contrastive_settings("infonce")), torch.arange(rows, device=device)
    margin, upstream = torch.zeros(rows, device=device), torch.ones(rows, device=device)

    def both_ways(sides: Sides, plan: Plan) -> Any:
        losses, statistics = contrastive.contrastive_losses(sides, infonce, plan)
        return losses, contrastive.contrastive_gradients(upstream, sides, statistics, infonce, plan)

    for name, dtype in DTYPES.items():
        x, y = (torch.nn.functional.normalize(torch.randn(rows, width, device=device)).to(dtype) for _ in range(2))
        sides = Sides(x, y, None, None)
        runs: dict[str, Callable[[Plan], Any]] = {
            "search": partial(search.hardest, sides),
            "shifted search": lambda plan, sides=sides: search.hardest(sides, plan, margin, "row"),
            "ranks": lambda plan, sides=sides: ranks.retrieval_ranks(sides, numbers, "pessimistic", plan),
            "sums": partial(both_ways, sides),
        }
        for work, run in runs.items():
            with products(name):
                start = plan_for(work, dtype, device, exact=name == "float32")
            yield Subject(PLANS, work, name, start, run)


def head_subjects(batch: int, width: int, device: torch.device) -> Iterator[Subject]:
    """The tiles of SCAN, and of SGR's kernels one by one, on a batch at the published sizes."""
    from pcsr_fast.kernels.triton import groups, scan, sgr
    from pcsr_fast.kernels.triton.attention_table import plan_for

    regions, length, size, steps, sharpness, chunk = 36, 24, 256, 3, 9.0, 65536
    lengths = torch.full((batch,), length, dtype=torch.int32, device=device)

    def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, device=device), dim=-1).to(dtype)

    for name, dtype in DTYPES.items():
        with products(name):
            plan = plan_for(dtype, device, exact=name == "float32")
        images, words = random(batch, regions, width, dtype=dtype), random(batch, length, width, dtype=dtype)
        narrow, square = random(size, width, dtype=dtype), random(steps, size, size, dtype=dtype)
        vector, vectors = random(size), random(steps, size)
        graph = sgr.Graph(narrow, vector, narrow, vector, square, vectors, square, vectors, vector, 0.5)
        sides = sgr.Sides(images, words, images[:, 0].contiguous(), words[:, 0].contiguous(), lengths)

        def parts(rows: int, first: int) -> Any:
            return groups.grid_parts([length] * batch, batch, rows, first, chunk, device)

        def scanned(tile: Any, sides: Any = sides, parts: Any = parts) -> Tensor:
            scores = torch.zeros(batch, batch, device=device)
            scan.scan_scores(sides.regions, sides.words, lengths, sharpness, parts(tile.rows, 0), tile, scores)
            return scores

        def reasoned(tiles: Any, sides: Any = sides, graph: Any = graph, parts: Any = parts) -> Tensor:
            scores = torch.zeros(batch, batch, device=device)
            sgr.sgr_scores(sides, graph, sharpness, parts(tiles.local.rows, 1), tiles, scores)
            return scores

        yield Subject(HEADS, "scan", name, plan.scan, scanned)
        for kernel, tile in plan.sgr._asdict().items():

            def with_tile(tile: Any, kernel: str = kernel, tiles: Any = plan.sgr, run: Any = reasoned) -> Tensor:
                result: Tensor = run(tiles._replace(**{kernel: tile}))
                return result

            yield Subject(HEADS, f"sgr {kernel}", name, tile, with_tile)
