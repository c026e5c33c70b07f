"""The search under sanitizers, as it is and with planted faults: each fault must be found.

A fault is planted in a copy of the sources, by a change of one line.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.csrc.sanitize import SANITIZERS
from tests.tools.cuda_emulation.build import ROOT, build_program
from tests.tools.cuda_emulation.test_emulation import ORDERS, run

KERNELS = ("hardest", "device")
# Rows, columns, width: several tiles a block with rows that are copied asynchronously, and a part of one with others.
SIZES = (("260", "130", "72"), ("130", "63", "70"))


class Fault(NamedTuple):
    """A line of a kernel and what stands there instead; the build that must find it."""

    file: str
    line: str
    instead: str
    variant: str = "plain"


WIDE_FAULTS = {
    "boxes are not waited for": Fault("wide_tile.cuh", "wait_phase(&memory.arrived[stage], turn.parity());", ""),
    "a stage is filled that is still read": Fault(
        "wide_tile.cuh", "wait_phase(&memory.read[stage], turn.parity() ^ 1);", ""
    ),
    "a stage is freed a step early": Fault(
        "wide_tile.cuh",
        "step > 0) {\n            arrive_in(&memory.read[before], lane);",
        "step > 0) {\n            arrive_in(&memory.read[stage], lane);",
    ),
    "a stage is never freed": Fault(
        "wide_tile.cuh", "step > 0) {\n            arrive_in(&memory.read[before], lane);", "step > 0) {"
    ),
    "the last products are not waited for": Fault("wide_tile.cuh", "wait_products<0>(sums);", ""),
    "a wait for one group of products too few": Fault(
        "wide_tile.cuh", "wait_products<1>(sums);", "wait_products<2>(sums);"
    ),
    "half of the bytes are expected": Fault(
        "wide_tile.cuh", "arrive_and_expect(arrived, WIDE_STAGE_BYTES)", "arrive_and_expect(arrived, BOX_BYTES)"
    ),
    "half of the warps free a stage": Fault(
        "wide_tile.cuh", "WIDE_CLUSTER * WIDE_CONSUMERS / 32);", "WIDE_CONSUMERS / 32);"
    ),
    "no barrier after the barriers start": Fault(
        "wide_tile.cuh", "publish_barriers();\n    }\n    sync_cluster();", "}"
    ),
    "barriers start unseen by other blocks": Fault(
        "wide_tile.cuh", "publish_barriers();\n    }\n    sync_cluster();", "}\n    __syncthreads();"
    ),
    "a block ends that others still reach": Fault("wide_tile.cuh", "sync_cluster(); // others may", "// others may"),
    "a stage is freed in this block alone": Fault("wide_tile.cuh", "speaks = lane < WIDE_CLUSTER", "speaks = lane < 1"),
    "a stage is freed in the first block twice": Fault(
        "wide_tile.cuh",
        "wait_products<0>(sums);\n    if (speaks) {\n        arrive_in(&memory.read[before], lane)",
        "wait_products<0>(sums);\n    if (speaks) {\n        arrive_in(&memory.read[before], 0)",
    ),
    "a part is copied into this block alone": Fault(
        "wide_tile.cuh", "constexpr int ALL = (1 << WIDE_CLUSTER) - 1;", "const int ALL = 1 << rank;"
    ),
    "all blocks copy the same part": Fault(
        "wide_tile.cuh", "tile.first_column + rank * PART_ROWS", "tile.first_column"
    ),
    "parts come to lie in one place": Fault(
        "wide_tile.cuh", "stages[stage][1] + rank * PART_BYTES", "stages[stage][1]"
    ),
    "blocks take the same tile": Fault(
        "wide_tile.cuh", "tile_at<WIDE_CLUSTER>(product, number, rank)", "tile_at<WIDE_CLUSTER>(product, number, 0)"
    ),
    "a phase of the wrong parity": Fault("wide_tile.cuh", "turn.parity() ^ 1", "turn.parity()"),
    "both warpgroups multiply the same rows": Fault("wide_tile.cuh", "warpgroup * WGMMA_ROWS * SWIZZLE_BYTES", "0"),
    "warpgroups do not meet in the reduction": Fault("wide_tile.cuh", "sync_consumers();", ""),
}

FAULTS = {
    "no barrier in the pipeline": Fault("tile.cuh", "__syncthreads(); // the stage has arrived", "// the stage"),
    "no barrier after the pipeline": Fault("tile.cuh", "wait_copies<0>();\n    __syncthreads();", "wait_copies<0>();"),
    "no barrier between tiles": Fault("tile.cuh", "__syncthreads(); // the next tile", "// the next tile"),
    "no wait for copies": Fault("tile.cuh", "wait_copies<STAGES - 2>();", ""),
    "a wait for one stage too few": Fault("tile.cuh", "wait_copies<STAGES - 2>();", "wait_copies<STAGES - 1>();"),
    "a stage too few": Fault("tile.cuh", "load(step + STAGES - 1);", "load(step + STAGES);"),
    "rows beyond the end are read": Fault(
        "tile.cuh", "const bool inside = index < side.rows;", "const bool inside = true;", "address"
    ),
    "bytes beyond a row are read": Fault("tile.cuh", "left < CHUNK ? left : CHUNK", "CHUNK"),
    "scores beyond the end count": Fault(
        "hardest.cuh", "score = row < tile.rows && column < tile.columns ? score : -INFINITE;", ""
    ),
    "results beyond the end are kept": Fault(
        "reduce.cuh", "const bool inside = place < ", "const bool inside = true || place < ", "address"
    ),
    "no barrier before the reduction": Fault(
        "reduce.cuh", "    Layout::sync();\n    reduce_fragments", "    reduce_fragments"
    ),
    "no barrier after the reduction": Fault(
        "reduce.cuh", "staged, partials);\n    Layout::sync();", "staged, partials);"
    ),
    "lanes are left out": Fault("largest.cuh", "largest_of<COLUMNS>(at), 1, 4)", "largest_of<COLUMNS>(at), 1, 2)"),
    "places of lanes are left out": Fault("largest.cuh", "place.row + row, 4, 32)", "place.row + row, 4, 16)"),
    "lanes store what is the first one's": Fault(
        "largest.cuh", "keep(number - (LANES - 1) + own,", "keep(number - (LANES - 1),"
    ),
    "a larger key is overwritten": Fault("hardest.cuh", "atomicMax(key, best -", "*key = (best -"),
    "groups are ignored": Fault("hardest.cuh", "row_groups ? row_groups[row] : row;", "row;"),
}


ALL = FAULTS | WIDE_FAULTS

# Two tiles a block, more steps than stages.
WIDE_SIZES = ("260", "130", "264")
REPRESENTATIVE = ("no wait for copies", "a stage is freed a step early")


def statuses(program: Path, fault: Fault) -> Iterator[int]:
    """Of plain float32 and of bfloat16, the plain build in every order."""
    orders = ORDERS if fault.variant == "plain" else ("random:1",)
    wrapper = SANITIZERS[fault.variant].wrapper if fault.variant in SANITIZERS else ()
    wide = fault in WIDE_FAULTS.values()
    words = [("2", *WIDE_SIZES)] if wide else [(kind, *sizes) for kind in ("0", "2") for sizes in SIZES]
    options = {"wrapper": wrapper, "capability": 90 if wide else 80}
    return (run(program, *each, order=order, **options)[0] for each in words for order in orders)


def planted(fault: Fault, folder: Path) -> Path:
    """A copy of the kernels and launchers with the fault."""
    for part in ("kernels/cuda", "csrc/cuda"):
        shutil.copytree(ROOT / part, folder / part)
    path = folder / "kernels" / "cuda" / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.line) == 1, fault
    path.write_text(text.replace(fault.line, fault.instead), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "name",
    [*REPRESENTATIVE, *(pytest.param(name, marks=pytest.mark.kernels) for name in ALL if name not in REPRESENTATIVE)],
)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    fault = ALL[name]
    sources = planted(fault, tmp_path)
    program = build_program("search_check", fault.variant, sources, KERNELS)
    assert any(status != 0 for status in statuses(program, fault))


@pytest.mark.kernels
def test_a_sanitizer_names_the_line_of_a_missing_barrier(tmp_path: Path) -> None:
    program = build_program("search_check", "thread", planted(FAULTS["no barrier in the pipeline"], tmp_path), KERNELS)
    status, message = run(program, "2", *SIZES[0], wrapper=SANITIZERS["thread"].wrapper)
    assert status != 0
    assert "data race" in message
    assert "multiply_tile" in message


@pytest.mark.kernels
@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
@pytest.mark.parametrize("arithmetic", ["0", "1", "2", "3"])
@pytest.mark.parametrize("sizes", [*SIZES, ("128", "128", "64"), ("1", "1", "1")], ids="x".join)
def test_without_a_fault_nothing_is_reported(variant: str, arithmetic: str, sizes: tuple[str, ...]) -> None:
    program = build_program("search_check", variant, kernels=KERNELS)
    wrapper = SANITIZERS[variant].wrapper if variant in SANITIZERS else ()
    assert run(program, arithmetic, *sizes, order="random:5", wrapper=wrapper) == (0, "")


@pytest.mark.kernels
@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
@pytest.mark.parametrize("arithmetic", ["2", "3"])
@pytest.mark.parametrize("sizes", [WIDE_SIZES, ("130", "63", "72"), ("1", "1", "64")], ids="x".join)
def test_without_a_fault_nothing_is_reported_on_sm_90a(variant: str, arithmetic: str, sizes: tuple[str, ...]) -> None:
    program = build_program("search_check", variant, kernels=KERNELS)
    wrapper = SANITIZERS[variant].wrapper if variant in SANITIZERS else ()
    for order in ORDERS:
        assert run(program, arithmetic, *sizes, order=order, wrapper=wrapper, capability=90) == (0, "")
