"""What kernels do on an H100, counted from plans, shapes and the resources that the compiler reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.prediction.device import H100, WARP
from benchmarks.prediction.phase import Phase, Resources
from pcsr_fast.kernels.triton.launch import Plan

ARCHITECTURE, TARGET, CUDA_TARGET = 90, "sm_90", "sm_90a"
# A product of the vendor's library: what its kernels are known to take on this architecture.
LIBRARY = Resources(warps=12, registers=168, shared=200 * 1024)
LIBRARY_TILE = (128, 256)
# A radix sort of keys with 64-bit indices: numbering, histograms, sums and a copy, then a pass a byte, which reads and writes.
SORT_LAUNCHES, INDEX_BYTES = 4, 8
SUM_INSTRUCTIONS = 10
# Of the mixtures, as nvdisasm lists them for sm_90: 24.8 (Triton) and 24.2 (CUDA) a value in the loop over values, of which
# two are special; after a run of at least 32 values eight conversions, each a special one, and sums in float64, 110 in all
# by 128 values and 40 by 32; in a part, once a thread, the parameters (CUDA: one thread) and the sums of all threads.
VALUE_INSTRUCTIONS, RUN_VALUES, RUN_SUMS = 25.5, 32, 8
PART_INSTRUCTIONS = {"triton": 800, "cuda": 400}
SOFTMAX_INSTRUCTIONS = 20  # an entry: leaky ReLU, norms, exponential, quotient
HALF, FULL = 2, 4

Rows = list[dict[str, Any]]


class Prediction(NamedTuple):
    """An op at one size by one backend; floor and target in seconds, the target as the project set it, on paper."""

    op: str
    size: str
    backend: str
    floor: float
    phases: list[Phase]
    target: float | None = None

    @property
    def seconds(self) -> float:
        """Predicted."""
        return sum(phase.seconds(H100) for phase in self.phases)


def read_rows(path: Path) -> Rows:
    """A committed table of compiled kernels."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def resources(rows: Rows, kernel: str, dtype: str | None = None, **constants: Any) -> Resources:
    """Of the first row of a kernel with these constants, and a tensor of this dtype.

    Raises:
        KeyError: there is none.
    """
    for row in rows:
        same = row["kernel"] == kernel and row["target"] == TARGET and (dtype is None or dtype in row["dtypes"])
        if same and constants.items() <= row["constants"].items():
            return Resources(row["warps"], row["registers"], row["shared"], row.get("epilogue", 0))
    raise KeyError(f"no {kernel} for {TARGET} with {constants} of {dtype} in the table of compiled kernels")


def cuda_resources(rows: Rows, kernel: str) -> Resources:
    """Of a CUDA kernel by its whole name.

    Raises:
        KeyError: there is none.
    """
    for row in rows:
        if (row["kernel"], row["target"]) == (kernel, CUDA_TARGET):
            return Resources(row["threads"] // WARP, row["registers"], row["shared"], row.get("epilogue", 0))
    raise KeyError(f"no {kernel} for {CUDA_TARGET} in the table of compiled kernels")


def _tiles(rows: int, columns: int, tile: tuple[int, int]) -> int:
    return -(-rows // tile[0]) * -(-columns // tile[1])


def search_phase(
    name: str,
    found: Resources,
    unit: str,
    tile: tuple[int, int],
    rows: int,
    columns: int,
    width: int,
    cluster: int = 1,
) -> Phase:
    """One pass over S = X Y^T in tiles, half-precision inputs; each tile reads its rows of both sides from the cache.

    cluster: blocks whose tiles lie one below the other, to which the cache sends the other side once.
    """
    tiles = _tiles(rows, columns, tile)
    return Phase(
        name,
        found,
        tiles,
        products={unit: 2.0 * rows * columns * width},
        others={"instruction": float(tiles * found.warps * WARP * found.epilogue)},
        cached=tiles * (tile[0] + tile[1] / cluster) * width * HALF,
        received=float(tiles * sum(tile) * width * HALF),
        moved=float((rows + columns) * width * HALF),
    )


def sort_phase(name: str, sorts: int, key_bytes: int, keys: int) -> Phase:
    """Stable sorts of so many keys each."""
    moved = 2.0 * sorts * key_bytes * keys * (key_bytes + INDEX_BYTES)
    launches = sorts * (SORT_LAUNCHES + key_bytes)
    return Phase(name, Resources(8, 64, 16384), -(-keys // 2048), moved=moved, launches=launches)


def small_phase(name: str, launches: int, count: int) -> Phase:
    """Arithmetic of torch over (count,) numbers, three a launch."""
    return Phase(name, Resources(4, 32, 0), launches, moved=3.0 * FULL * launches * count, launches=launches)


def scatter_phase(found: Resources, count: int, width: int, block: int) -> Phase:
    """Four rows read and one written for each row of each side."""
    return Phase(
        "gather and segmented scatter",
        found,
        2 * count * -(-width // block),
        moved=2.0 * count * width * HALF * 4,
        launches=2,
        in_flight=3 * HALF * block // (found.warps * WARP),
    )


def library_product(name: str, rows: int, columns: int, width: int, times: int, written: int, chunk: int) -> Phase:
    """Products of the vendor's library, a chunk of rows at a time; `written` bytes an entry of the result."""
    tiles = _tiles(rows, columns, LIBRARY_TILE)
    return Phase(
        name,
        LIBRARY,
        times * tiles,
        products={"wgmma half": 2.0 * times * rows * columns * width},
        cached=float(times * tiles * sum(LIBRARY_TILE) * width * HALF),
        moved=float(times * (rows * columns * written + (rows + columns) * width * HALF)),
        launches=times * -(-rows // chunk),
    )


def reading_phase(name: str, found: Resources, plan: Plan, rows: int, columns: int, times: int, moved: float) -> Phase:
    """Passes over scores that lie in memory; `moved` bytes a score and pass."""
    scores = float(rows) * columns * times
    return Phase(
        name,
        found,
        times * _tiles(rows, columns, (plan.block_m, plan.block_n)),
        others={"instruction": SUM_INSTRUCTIONS * scores, "special": scores},
        moved=moved * scores,
        launches=times * -(-rows // plan.chunk),
        in_flight=FULL * plan.block_m * plan.block_n // (found.warps * WARP),
    )


def mixture_phases(
    backend: str, sums: Resources, step: Resources, parts: int, count: int, in_flight: int, passes: int
) -> Iterator[Phase]:
    """EM over float32 values: every pass reads all; responsibilities and moments of each in float32, then one step."""
    work = float(count) * passes
    runs = RUN_SUMS * work / RUN_VALUES
    threads = float(parts) * passes * sums.warps * WARP
    yield Phase(
        "sums under the responsibilities",
        sums,
        parts * passes,
        others={"instruction": VALUE_INSTRUCTIONS * work + PART_INSTRUCTIONS[backend] * threads},
        beside={"special": 2 * work + runs},
        moved=FULL * work,
        launches=passes,
        in_flight=in_flight,
    )
    yield Phase("step of EM", step, passes, moved=float(passes * parts * 7 * 8), launches=passes)


def attention_phase(
    name: str, found: Resources, tiles: int, multiplied: float, softmaxed: float, cached: float, moved: float
) -> Phase:
    """A kernel over tiles of (image, caption, word) rows: operations, softmax entries and bytes of each tile."""
    return Phase(
        name,
        found,
        tiles,
        products={"wgmma half": tiles * multiplied},
        others={"instruction": tiles * softmaxed * SOFTMAX_INSTRUCTIONS, "special": tiles * softmaxed},
        cached=tiles * cached,
        moved=tiles * moved,
    )
