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
    "scores beyond the end count": Fault("reduce.cuh", "if (row < tile.rows && column < tile.columns) {", "{"),
    "results beyond the end are kept": Fault(
        "reduce.cuh", "const bool inside = place < ", "const bool inside = true || place < ", "address"
    ),
    "no barrier before the reduction": Fault(
        "reduce.cuh", "    Layout::sync();\n    reduce_fragments", "    reduce_fragments"
    ),
    "no barrier after the reduction": Fault(
        "reduce.cuh", "staged, partials);\n    Layout::sync();", "staged, partials);"
    ),
    "lanes are left out": Fault(
        "reduce.cuh", "combine_lanes<Reduction>(best, 1, 4)", "combine_lanes<Reduction>(best, 1, 2)"
    ),
    "a larger key is overwritten": Fault("hardest.cuh", "atomicMax(key, best);", "*key = best;"),
    "groups are ignored": Fault("hardest.cuh", "row_groups ? row_groups[row] : row;", "row;"),
}


def statuses(program: Path, variant: str) -> Iterator[int]:
    """Of plain float32 and of bfloat16, the plain build in every order."""
    orders = ORDERS if variant == "plain" else ("random:1",)
    wrapper = SANITIZERS[variant].wrapper if variant in SANITIZERS else ()
    words = [(arithmetic, *sizes) for arithmetic in ("0", "2") for sizes in SIZES]
    return (run(program, *each, order=order, wrapper=wrapper)[0] for each in words for order in orders)


def planted(fault: Fault, folder: Path) -> Path:
    """A copy of the kernels and launchers with the fault."""
    for part in ("kernels/cuda", "csrc/cuda"):
        shutil.copytree(ROOT / part, folder / part)
    path = folder / "kernels" / "cuda" / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.line) == 1, fault
    path.write_text(text.replace(fault.line, fault.instead), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    sources = planted(fault, tmp_path)
    program = build_program("search_check", fault.variant, sources, KERNELS)
    assert any(status != 0 for status in statuses(program, fault.variant))


def test_a_sanitizer_names_the_line_of_a_missing_barrier(tmp_path: Path) -> None:
    program = build_program("search_check", "thread", planted(FAULTS["no barrier in the pipeline"], tmp_path), KERNELS)
    status, message = run(program, "2", *SIZES[0], wrapper=SANITIZERS["thread"].wrapper)
    assert status != 0
    assert "data race" in message
    assert "multiply_tile" in message


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
@pytest.mark.parametrize("arithmetic", ["0", "1", "2", "3"])
@pytest.mark.parametrize("sizes", [*SIZES, ("128", "128", "64"), ("1", "1", "1")], ids="x".join)
def test_without_a_fault_nothing_is_reported(variant: str, arithmetic: str, sizes: tuple[str, ...]) -> None:
    program = build_program("search_check", variant, kernels=KERNELS)
    wrapper = SANITIZERS[variant].wrapper if variant in SANITIZERS else ()
    assert run(program, arithmetic, *sizes, order="random:5", wrapper=wrapper) == (0, "")
