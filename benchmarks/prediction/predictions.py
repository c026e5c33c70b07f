"""Ops at the sizes that the project set itself targets for: `python -m benchmarks predict`. Nobody has measured these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.comparison import RESULTS
from benchmarks.prediction.device import H100
from benchmarks.prediction.phases import (
    ARCHITECTURE,
    HALF,
    Phase,
    Prediction,
    Rows,
    attention_phase,
    library_product,
    mixture_phases,
    read_rows,
    reading_phase,
    resources,
    scatter_phases,
    search_phase,
)
from benchmarks.tables import duration, table
from pcsr_fast.floors import estimate
from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.kernels.triton.launch_table import TABLE, reading_plan

COMPILED = RESULTS / "gpu" / "triton_compile.jsonl"
PEAKS = {"peak_flops": H100.peak("wgmma half"), "peak_bandwidth": 3.35e12}
PAIRS, WIDTH = 65_536, 768
VALUES, ITERATIONS = 100_000_000, 100
BATCH, REGIONS, WORDS, SLOTS, JOINT, SIMILARITY, STEPS = 128, 36, 15, 16, 1024, 256, 3


def _floor(op: str, *shapes: tuple[int, ...], dtype: torch.dtype = torch.bfloat16, backward: bool = False) -> float:
    return estimate(op, shapes, dtype, backward=backward, **PEAKS).seconds


def _plan(work: str) -> Plan:
    return TABLE[ARCHITECTURE, work]["bfloat16"]


def _search(rows: Rows, images: int, texts: int, width: int) -> Phase:
    plan = _plan("search")
    found = resources(rows, "search_kernel", "bf16", BLOCK_M=plan.block_m, BLOCK_N=plan.block_n, SHIFT=0, LOADED=False)
    return search_phase(found, "wgmma half", (plan.block_m, plan.block_n), images, texts, width)


def _triplet(rows: Rows) -> Prediction:
    scatter = resources(rows, "scatter_kernel", "bf16")
    phases = [_search(rows, PAIRS, PAIRS, WIDTH), *scatter_phases(scatter, PAIRS, WIDTH, 1024)]
    floor = _floor("triplet_loss", (PAIRS, WIDTH), (PAIRS, WIDTH), backward=True)
    return Prediction("triplet_loss, hardest, forward + backward", f"{PAIRS} x {WIDTH} bf16", "triton", floor, phases, 12e-3)


def _contrastive(rows: Rows) -> Prediction:
    plan, kind = _plan("sums"), 1
    gather = resources(rows, "gather_kernel", KIND=kind, LOADED=True)
    slopes = resources(rows, "slopes_kernel", "bf16", KIND=kind)
    products = {"rows": PAIRS, "columns": PAIRS, "width": WIDTH, "chunk": plan.chunk}
    phases = [
        library_product("scores, forward and again backward", **products, times=2, written=4),
        reading_phase("softmaxes of rows and columns", gather, plan, PAIRS, PAIRS, 2, 4),
        reading_phase("slopes", slopes, plan, PAIRS, PAIRS, 1, 6),
        library_product("gradients of both sides", **products, times=2, written=HALF),
    ]
    floor = _floor("contrastive_loss", (PAIRS, WIDTH), (PAIRS, WIDTH), backward=True)
    return Prediction("contrastive_loss, infonce, forward + backward", f"{PAIRS} x {WIDTH} bf16", "triton", floor, phases)


def _mixture(rows: Rows) -> Prediction:
    from pcsr_fast.kernels.triton.mixture import BLOCK, PARTS

    sums, step = resources(rows, "sums_kernel", "fp32", KIND=0, STAGE=1), resources(rows, "step_kernel", KIND=0, STAGE=1)
    phases = list(mixture_phases(sums, step, PARTS, VALUES, BLOCK, ITERATIONS))
    # The floor of `estimate` is of ten iterations.
    floor = ITERATIONS / 10 * _floor("fit_mixture", (VALUES,), dtype=torch.float32)
    return Prediction(f"fit_mixture, gaussian, {ITERATIONS} iterations", f"{VALUES:,} values", "triton", floor, phases, 15e-3)


def _ranks(rows: Rows) -> Prediction:
    images, texts, width = 5000, 25_000, 1024
    plan = _plan("search")
    found = resources(rows, "ranks_kernel", "bf16", LOADED=False)
    phase = search_phase(found, "wgmma half", (plan.block_m, plan.block_n), images, texts, width)
    floor = _floor("retrieval_ranks", (images, width), (texts, width))
    return Prediction("retrieval_ranks", f"{images} x {texts} x {width} bf16", "triton", floor, [phase._replace_kernel("ranks")])
