"""Every Triton kernel compiles for GPUs that are not there, within limits, and no worse than the committed table.

To write the table anew after a change of kernels, launch table or Triton:
python tests/tools/triton_compile.py --into benchmarks/results/gpu/triton_compile.jsonl sm_80 sm_90 sm_100 gfx942
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "benchmarks" / "results" / "gpu" / "triton_compile.jsonl"
TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")
# Bytes a block may use, from the vendors' tables: Triton does not check them when it compiles.
SHARED_LIMITS = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}
TENSOR_CORES = {"sm_80": "HMMA", "sm_90": "HGMMA", "sm_100": r"UTC\w*MMA", "gfx942": "MFMA"}
MORE_REGISTERS = 8  # what one register allocation may differ by
Row = dict[str, Any]


@functools.cache
def compiled(target: str, *options: str) -> tuple[Row, ...]:
    """What the kernels of a target compile to, in a process where Triton does not interpret."""
    command = [sys.executable, str(ROOT / "tests" / "tools" / "triton_compile.py"), *options, target]
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, env=kept, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(line) for line in done.stdout.splitlines())


def tensor_cores(row: Row) -> str:
    """Opcodes of products. Of fewer than 64 rows, the newer ones do not take them."""
    few = row["constants"].get("ASKING", 64) < 64 and row["target"].startswith("sm_")
    return "HMMA" if few else TENSOR_CORES[row["target"]]


def key(row: Row) -> str:
    """What makes a row of the table."""
    names = ("kernel", "target", "dtypes", "constants", "ones", "sixteens", "warps")
    return json.dumps([row[name] for name in names], sort_keys=True)


def committed() -> dict[str, Row]:
    return {key(row): row for row in map(json.loads, TABLE.read_text().splitlines())}


def complaints(row: Row, before: Row | None) -> list[str]:
    """What is wrong with a compiled kernel."""
    found, constants = [], row["constants"]
    if row["stack"] or {"STL", "LDL"} & set(row["opcodes"]):
        found.append(f"spills: {row['stack']} bytes of stack")
    if row["shared"] > SHARED_LIMITS[row["target"]]:
        found.append(f"{row['shared']} bytes of shared memory")
    if not row["occupancy"]:
        found.append(f"no block of {row['warps']} warps fits")
    narrow = {"bf16", "fp16"} & set(row["dtypes"]) or constants.get("PRECISION") == "tf32x3"
    if narrow and "PRECISION" in constants and not constants.get("LOADED"):
        cores = tensor_cores(row)
        if not any(re.fullmatch(cores, name) for name in row["opcodes"]):
            found.append(f"no {cores}: {row['opcodes']}")
    if before is None:
        found.append("it is not in the committed table")
    elif row["registers"] > before["registers"] + MORE_REGISTERS or row["shared"] > before["shared"]:
        found.append(
            f"{row['registers']} registers and {row['shared']} bytes; {before['registers']} and {before['shared']} before"
        )
    return [f"{row['kernel']} {constants} {row['dtypes']}: {text}" for text in found]


def all_complaints(rows: tuple[Row, ...]) -> list[str]:
    before = committed()
    return [text for row in rows for text in complaints(row, before.get(key(row)))]


@pytest.mark.parametrize("target", TARGETS)
def test_a_part_compiles_as_committed(target: str) -> None:
    rows = compiled(target, "--few")
    assert {row["kernel"] for row in rows} >= {"search_kernel", "gather_kernel", "slopes_kernel"}
    assert not all_complaints(rows)


@pytest.mark.kernels
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", TARGETS)
def test_everything_compiles_as_committed(target: str) -> None:
    rows = compiled(target)
    assert {key(row) for row in rows} == {name for name, row in committed().items() if row["target"] == target}
    assert not all_complaints(rows)


def test_the_gate_complains() -> None:
    """A row of the table passes; each way to be worse does not."""
    rows = (row for row in committed().values() if row["target"] == "sm_90" and row["kernel"] == "search_kernel")
    good = next(row for row in rows if "bf16" in row["dtypes"])
    good = good | {"constants": good["constants"] | {"LOADED": False}, "opcodes": {"HGMMA": 4}}
    assert not complaints(good, good)
    worse = (
        {"stack": 8},
        {"occupancy": 0.0},
        {"opcodes": {"HGMMA": 1, "STL": 1}},
        {"shared": 2**20},
        {"opcodes": {"HMMA": 9}},
    )
    for change in (*worse, {"registers": good["registers"] + 9}):
        assert len(complaints(good | change, good)) >= 1
    assert complaints(good, None)


def test_the_table_has_every_target() -> None:
    assert {row["target"] for row in committed().values()} == set(TARGETS)
