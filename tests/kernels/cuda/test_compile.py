"""Every CUDA kernel compiles for GPUs that are not there, within limits, and no worse than the committed table.

To write the table anew after a change of kernels or of nvcc:
python tests/tools/cuda_compile.py > benchmarks/results/gpu/cuda_compile.jsonl
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kernels.test_triton_compile import MORE_REGISTERS, ROOT, Row
from tests.tools.cuda_compile import TARGETS, occupancy, short_name
from tests.tools.ptx.compile import find_nvcc

TABLE = ROOT / "benchmarks" / "results" / "gpu" / "cuda_compile.jsonl"
SHARED_LIMITS = {"sm_80": 163 * 1024, "sm_90a": 227 * 1024, "sm_100": 227 * 1024}
# What a kernel of such a name computes with.
CLAIMED = {
    "walk_tiles<TensorCores": {"HMMA", "LDGSTS"},
    "walk_tiles<Plain": {"LDGSTS"},
    "walk_wide": {"HGMMA", "UTMALDG"},
}
# They call log-gamma, which keeps registers of its caller on a stack.
CALLING = ("mixture_sums", "mixture_posterior")
needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")


def key(row: Row) -> tuple[str, str]:
    return row["kernel"], row["target"]


def committed() -> dict[tuple[str, str], Row]:
    return {key(row): row for row in map(json.loads, TABLE.read_text().splitlines())}


def compiled(*words: str) -> list[Row]:
    """What the tool prints, in a process where Triton does not interpret."""
    command = [sys.executable, str(ROOT / "tests" / "tools" / "cuda_compile.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def complaints(row: Row, before: Row | None) -> list[str]:
    """What is wrong with a compiled kernel."""
    found = []
    calls = row["kernel"].startswith(CALLING)
    if not calls and (row["stack"] or {"STL", "LDL"} & set(row["opcodes"])):
        found.append(f"spills: {row['stack']} bytes of stack")
    if row["shared"] > SHARED_LIMITS[row["target"]]:
        found.append(f"{row['shared']} bytes of shared memory")
    for start, opcodes in CLAIMED.items():
        if row["kernel"].startswith(start) and not opcodes <= set(row["opcodes"]):
            found.append(f"no {opcodes - set(row['opcodes'])}")
    if before is None:
        found.append("it is not in the committed table")
    elif (
        row["registers"] > before["registers"] + MORE_REGISTERS
        or row["occupancy"] < before["occupancy"]
        or row["stack"] > before["stack"]
    ):
        numbers = ("registers", "occupancy", "stack")
        found.append(f"{[row[name] for name in numbers]} {numbers}; before {[before[name] for name in numbers]}")
    return [f"{row['kernel']} {row['target']}: {text}" for text in found]


def all_complaints(rows: list[Row]) -> list[str]:
    before = committed()
    return [text for row in rows for text in complaints(row, before.get(key(row)))]


@needs_nvcc
def test_a_part_compiles_as_committed() -> None:
    rows = compiled("--only=hardest", "sm_90a")
    assert any(row["kernel"].startswith("walk_wide") for row in rows)
    assert not all_complaints(rows)


@needs_nvcc
@pytest.mark.kernels
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", TARGETS)
def test_everything_compiles_as_committed(target: str) -> None:
    rows = compiled(target)
    assert {key(row) for row in rows} == {name for name in committed() if name[1] == target}
    assert not all_complaints(rows)


def test_the_committed_table_has_nothing_to_complain_of() -> None:
    rows = list(committed().values())
    assert {row["target"] for row in rows} == set(TARGETS)
    assert not all_complaints(rows)


def test_the_gate_complains() -> None:
    """A row of the table passes; each way to be worse does not."""
    good = next(
        row for (name, target), row in committed().items() if target == "sm_90a" and name.startswith("walk_wide")
    )
    worse: tuple[Row, ...] = ({"stack": 8}, {"opcodes": {**good["opcodes"], "LDL": 1}}, {"shared": 2**20})
    for change in (*worse, {"opcodes": {}}, {"registers": good["registers"] + 9}, {"occupancy": 0.1}):
        assert complaints(good | change, good)
    assert complaints(good, None)


def test_occupancy_by_what_limits_it() -> None:
    assert occupancy("sm_80", 256, 32, 0) == 64
    assert occupancy("sm_80", 256, 128, 65536) == 16
    assert occupancy("sm_80", 256, 129, 65536) == 8
    assert occupancy("sm_90a", 288, 96, 110 * 1024) == 18
    assert occupancy("sm_90a", 288, 104, 110 * 1024) == 9
    assert occupancy("sm_80", 32, 32, 0) == 32


def test_names_are_shortened() -> None:
    assert short_name("_ZN4pcsr4cuda11unpack_keysEPKylPfPl") == "unpack_keys"
    mangled = "_ZN4pcsr4cuda15walk_wide_tilesIXadL_ZNS0_10wgmma_bf16ERA16_A4_fmmEENS0_16HardestNegativesILb0EEEEEv"
    assert short_name(f"{mangled}14CUtensorMap_stS7_NS0_7ProductElT0_").startswith(
        "walk_wide_tiles<wgmma_bf16, Hardest"
    )
