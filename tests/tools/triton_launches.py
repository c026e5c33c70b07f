"""Launches that stand for every kernel, dtype and schedule, for the compile matrix: what they compute is not looked at."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pcsr_fast.kernels.triton import (
    attention_table,
    contrastive,
    groups,
    hinge,
    mixture,
    ranks,
    scan,
    scatter,
    search,
    sgr,
)
from pcsr_fast.kernels.triton.launch import Plan, Sides
from pcsr_fast.kernels.triton.launch_table import READING, TABLE
from pcsr_fast.kernels.triton.softmax import Loss
from pcsr_fast.kernels.triton.sweep import Shift
from pcsr_fast.reference.contrastive_terms import KINDS, contrastive_settings

ROWS, WIDTH = 256, 768
DTYPES = {"float32": torch.float32, "tf32x3": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _architecture(target: str) -> int | str:
    return int(target.removeprefix("sm_")) if target.startswith("sm_") else "hip"


def _sides(dtype: torch.dtype, grouped: bool = False) -> Sides:
    x, y = (torch.randn(ROWS, WIDTH).to(dtype) for _ in range(2))
    ids = torch.arange(ROWS) if grouped else None
    return Sides(x, y, ids, ids)


def _searches(architecture: int | str) -> Iterator[None]:
    for name, dtype in DTYPES.items():
        for shift in ("none", "row", "col", "matrix") if dtype == torch.bfloat16 else ("none",):
            plan = TABLE[architecture, "search" if shift == "none" else "shifted search"][name]
            margin = torch.zeros((ROWS, ROWS) if shift == "matrix" else ROWS)
            yield search.hardest(_sides(dtype), plan, None if shift == "none" else margin, shift)
        yield search.own_scores(_sides(dtype), TABLE[architecture, "search"][name])
    yield search.hardest(_sides(torch.bfloat16, grouped=True), TABLE[architecture, "grouped search"]["bfloat16"])
    yield search.hardest(_sides(torch.float32), READING)


def _ranks(architecture: int | str) -> Iterator[None]:
    image_of_text = torch.arange(ROWS)
    for name, dtype in DTYPES.items():
        for ties in ranks.TIES if dtype == torch.bfloat16 else ("pessimistic",):
            plan = TABLE[architecture, "ranks"][name]
            yield ranks.retrieval_ranks(_sides(dtype), image_of_text, ties, plan)


def _mixtures() -> Iterator[None]:
    for dtype in (torch.float32, torch.float64):
        values = torch.rand(ROWS * WIDTH).to(dtype)
        state = torch.zeros(mixture.NUMBERS, dtype=torch.float64)
        for kind, stages in (
            ("gaussian", (mixture.START, mixture.ITERATE)),
            ("beta", (mixture.ITERATE, mixture.SINGLE)),
        ):
            passes = mixture.Passes(values, kind, 1e-2, 5e-4)
            for stage in stages:
                assigned = (values > 0.5).to(torch.uint8) if stage is mixture.START else None
                passes.step(state, stage.value, assigned)
            yield mixture.posterior(values, kind, state, (0.0, 1.0))
    yield mixture.two_means(values, values, 300, state[:2])


def _of_scores(architecture: int | str) -> Iterator[None]:
    """Ready-made scores in half precision, whose columns are neighbours or not."""
    scores, plan = torch.randn(ROWS, ROWS).to(torch.bfloat16), TABLE[architecture, "sums"]["float32"]
    for S in (scores, scores.T):
        both = Sides(S, None, None, None)
        search.hardest(both, plan)
        ranks.retrieval_ranks(both, torch.arange(ROWS), "pessimistic", plan)
        margins = hinge.Margins(torch.zeros(ROWS), Shift())
        yield hinge.hinge_score_gradients(both, margins, torch.ones(ROWS), torch.ones(ROWS), plan)


def _contrast(dtype: torch.dtype, kind: str, plan: Plan) -> Iterator[None]:
    """A loss and its gradient; the grouped form of tal, which takes one kernel more."""
    loss, sides = Loss(*contrastive_settings(kind)), _sides(dtype, grouped=kind == "tal")
    _, statistics = contrastive.contrastive_losses(sides, loss, plan)
    yield contrastive.contrastive_gradients(torch.ones(ROWS), sides, statistics, loss, plan)


def _fused_sums(architecture: int | str) -> Iterator[None]:
    margins = hinge.Margins(torch.zeros(ROWS), Shift())
    for name, plan in TABLE[architecture, "fused sums"].items():
        yield hinge.hinge_sums(_sides(DTYPES[name]), margins, plan)
        for kind in ("infonce", "ccl_gce", "tal"):
            loss = Loss(*contrastive_settings(kind))
            yield contrastive.contrastive_losses(_sides(DTYPES[name], grouped=kind == "tal"), loss, plan)


def _sums(architecture: int | str) -> Iterator[None]:
    margins = hinge.Margins(torch.zeros(ROWS), Shift())
    for name, dtype in DTYPES.items():
        plan = TABLE[architecture, "sums"][name]
        yield hinge.hinge_sums(_sides(dtype), margins, plan)
        yield hinge.hinge_gradients(_sides(dtype), margins, torch.ones(ROWS), torch.ones(ROWS), plan)
        for kind in KINDS:
            yield from _contrast(dtype, kind, plan)


def _scattered(dtype: torch.dtype) -> object:
    sides, upstream, chosen = _sides(dtype), torch.ones(ROWS), torch.arange(ROWS, dtype=torch.int32)
    return scatter.hardest_gradients(upstream, upstream, sides.x, sides.y, chosen, chosen)


def few_launches(target: str) -> Iterator[None]:
    """A representative part of `launches` in bfloat16: what the hardest negatives and InfoNCE take, forward and backward."""
    architecture = _architecture(target)
    yield search.hardest(_sides(torch.bfloat16), TABLE[architecture, "search"]["bfloat16"])
    yield _scattered(torch.bfloat16)
    yield from _contrast(torch.bfloat16, "infonce", TABLE[architecture, "sums"]["bfloat16"])


def launches(target: str) -> Iterator[None]:
    """Every kernel as the table launches it on `target`, e.g. sm_90 or gfx942."""
    architecture = _architecture(target)
    yield from _searches(architecture)
    yield from _ranks(architecture)
    yield from _sums(architecture)
    yield from _fused_sums(architecture)
    yield from _of_scores(architecture)
    yield from _mixtures()
    for dtype in dict.fromkeys(DTYPES.values()):
        yield _scattered(dtype)
    yield from _heads(architecture)


def _heads(architecture: int | str) -> Iterator[None]:
    """SCAN and SGR at the sizes as published, for captions of the usual length and for the longest."""
    images, regions, width, size, steps = 2, 36, 1024, 256, 3
    scores = torch.zeros(images, 8)
    for name, dtype in DTYPES.items():
        plan = attention_table.TABLE[architecture][name]
        vectors = torch.zeros(size), torch.zeros(steps, size)
        narrow = [torch.zeros(size, width, dtype=dtype), torch.zeros(steps, size, size, dtype=dtype)]
        maps = (narrow[0], vectors[0]) * 2 + (narrow[1], vectors[1]) * 2
        graph = sgr.Graph(*maps, vectors[0], 0.5)
        for length in (24, 127):
            lengths = torch.full((8,), length, dtype=torch.int32)
            words, both = torch.zeros(8, length, width, dtype=dtype), torch.zeros(8, width, dtype=dtype)
            sides = sgr.Sides(torch.zeros(images, regions, width, dtype=dtype), words, both[:images], both, lengths)
            known = (lengths.tolist(), images)
            parts = groups.grid_parts(*known, plan.scan.rows, 0, 65536, scores.device)
            yield scan.scan_scores(sides.regions, words, lengths, 9.0, parts, plan.scan, scores)
            parts = groups.grid_parts(*known, plan.sgr.local.rows, 1, 65536, scores.device)
            yield sgr.sgr_scores(sides, graph, 9.0, parts, plan.sgr, scores)
