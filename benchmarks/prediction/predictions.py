"""Ops at the sizes that the project set itself targets for: `python -m benchmarks predict`. Nobody has measured these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.prediction.device import H100
from benchmarks.prediction.loop import launches_a_caption, loop_seconds
from benchmarks.prediction.phases import (
    ARCHITECTURE,
    HALF,
    Phase,
    Prediction,
    Resources,
    Rows,
    attention_phase,
    cuda_resources,
    library_product,
    mixture_phases,
    read_rows,
    reading_phase,
    resources,
    scatter_phase,
    search_phase,
    small_phase,
    sort_phase,
)
from benchmarks.tables import duration, table
from pcsr_fast.floors import EM_ITERATIONS, estimate
from pcsr_fast.kernels.triton.attention_table import TABLE as HEADS
from pcsr_fast.kernels.triton.groups import Tile
from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.kernels.triton.launch_table import TABLE

COMPILED = "benchmarks/results/gpu/triton_compile.jsonl", "benchmarks/results/gpu/cuda_compile.jsonl"
CUDA_TILE, CLUSTER = (128, 128), 2
# Launches of a triplet loss forward and backward, as tests count them: the library's own and torch's, but those of sorts. The
# number of sorts, and bytes of a key.
TRIPLET_LAUNCHES = {"triton": 28, "cuda": 25}
TRIPLET_SORTS = 2, 4
PEAKS = {"peak_flops": H100.peak("wgmma half"), "peak_bandwidth": 3.35e12}
PAIRS, WIDTH = 65_536, 768
VALUES, ITERATIONS = 100_000_000, 100
LOOP_RATIO = 20  # how many times as fast as the published loop the project wants SGR
BATCH, REGIONS, WORDS, JOINT, SIMILARITY, STEPS = 128, 36, 15, 1024, 256, 3
SLOTS, REGION_TILE = 16, 64  # rows of a tile that a caption of 15 words takes, columns that 36 regions take


class Tables(NamedTuple):
    """What compilers say of the kernels of both backends."""

    triton: Rows
    cuda: Rows

    @classmethod
    def read(cls, root: Path) -> Tables:
        """As they are committed in a checkout."""
        return cls(*(read_rows(root / name) for name in COMPILED))


def _floor(op: str, *shapes: tuple[int, ...], dtype: torch.dtype = torch.bfloat16, backward: bool = False) -> float:
    return estimate(op, shapes, dtype, backward=backward, **PEAKS).seconds


def _plan(work: str) -> Plan:
    return TABLE[ARCHITECTURE, work]["bfloat16"]


def _search(rows: Rows, images: int, texts: int, width: int) -> Phase:
    plan = _plan("search")
    tile = {"BLOCK_M": plan.block_m, "BLOCK_N": plan.block_n}
    found = resources(rows, "search_kernel", "bf16", **tile, SHIFT=0, LOADED=False, OWN=True)
    return search_phase(
        "hardest negatives, fused", found, "wgmma half", (plan.block_m, plan.block_n), images, texts, width
    )


def _triplet(backend: str, search: Phase, scatter: Resources, block: int) -> Prediction:
    """K1, forward and backward: a search, then a gradient by blocks of `block` columns."""
    gradients = scatter_phase(scatter, PAIRS, WIDTH, block)
    rest = TRIPLET_LAUNCHES[backend] - search.launches - gradients.launches
    phases = [
        search,
        sort_phase("stable sorts of the chosen", *TRIPLET_SORTS, PAIRS),
        gradients,
        small_phase("arithmetic of pairs", rest, PAIRS),
    ]
    floor = _floor("triplet_loss", (PAIRS, WIDTH), (PAIRS, WIDTH), backward=True)
    name, size = "triplet_loss, hardest, forward + backward", f"{PAIRS} x {WIDTH} bf16"
    return Prediction(name, size, backend, floor, phases, 12e-3)


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
    return Prediction(
        "contrastive_loss, infonce, forward + backward", f"{PAIRS} x {WIDTH} bf16", "triton", floor, phases
    )


def _mixture(backend: str, sums: Resources, step: Resources, parts: int, in_flight: int) -> Prediction:
    """K3; in_flight: bytes that a thread has asked for before it needs the first of them."""
    phases = list(mixture_phases(backend, sums, step, parts, VALUES, in_flight, ITERATIONS))
    more = (ITERATIONS - EM_ITERATIONS) * 4 * VALUES  # bytes that `estimate` does not count
    floor = _floor("fit_mixture", (VALUES,), dtype=torch.float32) + more / PEAKS["peak_bandwidth"]
    name, size = f"fit_mixture, gaussian, {ITERATIONS} iterations", f"{VALUES:,} values"
    return Prediction(name, size, backend, floor, phases, 15e-3)


def _ranks(backend: str, found: Resources, unit: str, tile: tuple[int, int]) -> Prediction:
    """K5."""
    images, texts, width = 5000, 25_000, 1024
    phase = search_phase("counts of both directions", found, unit, tile, images, texts, width)
    floor = _floor("retrieval_ranks", (images, width), (texts, width))
    return Prediction("retrieval_ranks", f"{images} x {texts} x {width} bf16", backend, floor, [phase])


def _of_triton(rows: Rows) -> Iterator[Prediction]:
    from pcsr_fast.kernels.triton.mixture import FLOAT32_PARTS

    search = _search(rows, PAIRS, PAIRS, WIDTH)
    yield _triplet("triton", search, resources(rows, "scatter_kernel", "bf16"), 1024)
    yield _contrastive(rows)
    step = resources(rows, "step_kernel", KIND=0, STAGE=1)
    yield _mixture("triton", resources(rows, "float32_sums_kernel", "fp32"), step, FLOAT32_PARTS, 2 * 16)
    plan = _plan("ranks")
    tile = (plan.block_m, plan.block_n)
    found = resources(rows, "ranks_kernel", "bf16", BLOCK_M=plan.block_m, BLOCK_N=plan.block_n, LOADED=False)
    yield _ranks("triton", found, "wgmma half", tile)
    yield from _heads(rows)


def _of_cuda(rows: Rows) -> Iterator[Prediction]:
    from pcsr_fast.ops.cuda.mixture import FLOAT32_PARTS

    found = cuda_resources(rows, "walk_wide_tiles<wgmma_bf16, HardestNegatives>")
    shape = PAIRS, PAIRS, WIDTH
    search = search_phase("hardest negatives by wgmma", found, "wgmma half", CUDA_TILE, *shape, CLUSTER)
    yield _triplet("cuda", search, cuda_resources(rows, "side_gradient<BFloat16>"), WIDTH)
    sums, step = (cuda_resources(rows, name) for name in ("mixture_float32_sums<true>", "mixture_step"))
    yield _mixture("cuda", sums, step, FLOAT32_PARTS, 3 * 16)
    counts = cuda_resources(rows, "walk_tiles<TensorCores<Halves<BFloat16, mma_bf16>, 2>, RankCounts>")
    yield _ranks("cuda", counts, "mma half", CUDA_TILE)


def _heads(rows: Rows) -> Iterator[Prediction]:
    plan = HEADS[ARCHITECTURE]["bfloat16"]
    pairs, words = BATCH * BATCH, BATCH * WORDS
    shape = ((BATCH, REGIONS, JOINT), (words, JOINT), (BATCH, JOINT))
    graph = ((SIMILARITY, JOINT), (STEPS, SIMILARITY, SIMILARITY))
    size = f"{BATCH} x {BATCH}, {REGIONS} regions, {WORDS} words, bf16"

    def found(kernel: str) -> Resources:
        return resources(rows, kernel, "bf16")

    def tiles(tile: Tile) -> int:
        return -(-pairs * SLOTS // tile.rows)

    def attended(tile: Tile) -> float:
        """Operations of scores over regions; a tile of regions is as wide as a power of two."""
        return 2.0 * tile.rows * REGION_TILE * JOINT

    def read(tile: Tile) -> float:
        return float(HALF * (tile.rows + REGION_TILE) * JOINT)

    scan = plan.scan
    own = attention_phase(
        "scan", found("scan_kernel"), tiles(scan), attended(scan), scan.rows * REGION_TILE, read(scan), 0.0
    )
    yield Prediction(
        "cross_attention_similarity, SCAN", size, "triton", _floor("cross_attention_similarity", *shape), [own]
    )
    local, glob, reason, answer = plan.sgr
    node = HALF * SIMILARITY
    projected = 2.0 * local.rows * SIMILARITY * JOINT
    weights = float(HALF * SIMILARITY * JOINT)
    squares = 2.0 * reason.rows * SIMILARITY
    phases = [
        attention_phase(
            "local nodes",
            found("local_kernel"),
            tiles(local),
            2 * attended(local) + projected,
            local.rows * REGION_TILE,
            2 * read(local) + weights,
            float(local.rows * node),
        ),
        attention_phase(
            "global nodes",
            found("global_kernel"),
            -(-pairs // glob.rows),
            2.0 * glob.rows * SIMILARITY * JOINT,
            0.0,
            weights + 2.0 * HALF * glob.rows * JOINT,
            float(glob.rows * node),
        ),
    ]
    # A step asks, mixes and updates every node; the last one asks for node 0 of each pair alone.
    for name, kernel, tile, share in (
        ("steps", "reason_kernel", reason, STEPS - 1),
        ("answers", "answer_kernel", answer, 1),
    ):
        phases.append(
            attention_phase(
                name,
                found(kernel),
                tiles(tile) * share,
                squares * (2 * SIMILARITY + 2 * tile.rows) * (1.0 if share > 1 else 1 / SLOTS),
                float(tile.rows * tile.rows),
                4.0 * HALF * SIMILARITY * (SIMILARITY + tile.rows),
                2.0 * tile.rows * node,
            )
        )
    floor = _floor("cross_attention_similarity", *shape, *graph)
    target = loop_seconds(H100, BATCH, STEPS) / LOOP_RATIO
    yield Prediction("cross_attention_similarity, SGR", size, "triton", floor, phases, target)


def predictions(tables: Tables) -> list[Prediction]:
    """All of them, from the tables of compiled kernels."""
    return [*_of_triton(tables.triton), *_of_cuda(tables.cuda)]


def prediction_table(tables: Tables) -> str:
    """Predicted times beside floors and targets, and the phases they are made of."""
    lines = [["op", "size", "backend", "floor", "predicted", "target on paper"]]
    parts = [["op", "backend", "phase", "predicted", "bound by", "blocks a multiprocessor", "occupancy"]]
    for one in predictions(tables):
        target = duration(one.target) if one.target else "-"
        lines.append([one.op, one.size, one.backend, duration(one.floor), duration(one.seconds), target])
        for phase in one.phases:
            held = [str(phase.resident(H100)), f"{100 * phase.occupancy(H100):.0f} %"]
            seconds = duration(phase.seconds(H100))
            parts.append([one.op, one.backend, phase.kernel, seconds, phase.bound(H100), *held])
    heading = (
        f"PREDICTED for an {H100.name} from arithmetic; nobody has measured this. SGR's target is a {LOOP_RATIO}th of\n"
        f"what the published loop takes for its {launches_a_caption(STEPS)} launches a caption alone.\n\n"
    )
    return f"{heading}{table(lines, 3)}\n{table(parts, 5)}"
