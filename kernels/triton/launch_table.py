"""Which schedule and tile a launch takes, by architecture, work and dtype: the committed table, no tuning at run time.

Chosen by what the compiler says of registers, spills and shared memory (tests/kernels/test_triton_compile.py). Nobody has
timed them: what `python -m benchmarks tune` measures on a machine with a GPU comes before them (tuned.py).
"""

from __future__ import annotations

import torch

from .launch import Plan, interpreting
from .tuned import PLANS, measured

# The nearest architecture below serves the ones between; NVIDIA's by compute capability, "hip" for AMD's.
ARCHITECTURES = (80, 90, 100)
INTERPRETED = Plan("fused", 64, 64, 64, group=2)

_PLAIN = {"float32": Plan("fused", 128, 128, 16, stages=3)}
READING = Plan("chunked", 64, 64, 16, warps=8, stages=1, waves=8)  # of scores that are there


def _halves(plan: Plan) -> dict[str, Plan]:
    return {"bfloat16": plan, "float16": plan}


# "search" finds hardest negatives, "shifted search" after a margin is added, "grouped search" with ids. "sums" gathers hinges
# and softmaxes and turns them into slopes: there a chunk of scores is computed once for both directions. "tf32x3" are float32
# inputs as three products on tensor cores.
TABLE: dict[tuple[int | str, str], dict[str, Plan]] = {
    (80, "search"): _PLAIN
    | {"tf32x3": Plan("fused", 128, 64, 32, stages=2, precision="tf32x3")}
    | _halves(Plan("fused", 128, 128, 64)),
    (90, "search"): {"float32": Plan("fused", 128, 64, 16, stages=3)}
    | {"tf32x3": Plan("fused", 128, 128, 32, stages=2, precision="tf32x3")}
    | _halves(Plan("fused", 128, 128, 64)),
    (100, "search"): _PLAIN
    | {"tf32x3": Plan("fused", 128, 128, 32, stages=2, precision="tf32x3")}
    | _halves(Plan("fused", 128, 128, 64)),
    ("hip", "search"): {"float32": READING, "tf32x3": READING} | _halves(Plan("fused", 128, 128, 32, stages=2)),
}
TABLE |= {
    (architecture, "sums"): dict.fromkeys(("float32", "tf32x3", "bfloat16", "float16"), READING)
    for architecture in (*ARCHITECTURES, "hip")
}
# Weights of the grouped form would spill in the wider tile.
TABLE[100, "sums"] = dict.fromkeys(TABLE[100, "sums"], READING._replace(block_n=32))
TABLE |= {(architecture, "shifted search"): TABLE[architecture, "search"] for architecture in (*ARCHITECTURES, "hip")}
# The second-level cache feeds a tile of 256 x 128 a quarter less than two of 128 x 128; a margin would not fit beside it.
TABLE[90, "search"] = TABLE[90, "search"] | _halves(Plan("fused", 256, 128, 64))
# On sm_100 a thread holds so many columns that 64-bit ids of all would not fit beside their scores.
TABLE |= {(architecture, "grouped search"): TABLE[architecture, "search"] for architecture in (*ARCHITECTURES, "hip")}
TABLE[100, "grouped search"] = TABLE[100, "search"] | _halves(Plan("fused", 128, 64, 64))
# "ranks" has two comparisons an entry: plain float32, and on sm_100 all, would spill in the tile of a search.
TABLE |= {
    (architecture, "ranks"): TABLE[architecture, "shifted search"] | {"float32": Plan("fused", 128, 64, 16, stages=3)}
    for architecture in ARCHITECTURES
}
TABLE[100, "ranks"] |= _halves(Plan("fused", 128, 64, 64))
TABLE["hip", "ranks"] = TABLE["hip", "search"]

# "fused sums" is the other schedule of those, for a machine with a GPU to compare: S twice, no chunk of it in memory.
_FUSED_SUMS = {
    "float32": Plan("fused", 64, 64, 16, stages=2),
    "tf32x3": Plan("fused", 64, 64, 32, stages=2, precision="tf32x3"),
} | _halves(Plan("fused", 64, 128, 64))
TABLE |= {(architecture, "fused sums"): _FUSED_SUMS for architecture in ARCHITECTURES}
TABLE[80, "fused sums"] = _FUSED_SUMS | {"float32": Plan("fused", 64, 32, 16, stages=2)}
TABLE["hip", "fused sums"] = _halves(Plan("fused", 64, 128, 32, stages=2))


def architecture_of(device: torch.device) -> int | str:
    """The rows of the table that serve a device."""
    if torch.version.hip is not None:
        return "hip"
    major, minor = torch.cuda.get_device_capability(device)
    return max(known for known in ARCHITECTURES if known <= 10 * major + minor)


def plan_for(work: str, dtype: torch.dtype, device: torch.device, exact: bool = True) -> Plan:
    """The plan of "search", "ranks" or "sums" on inputs of `dtype`.

    float32 inputs are multiplied as such, or unless `exact` as torch.set_float32_matmul_precision allows.
    """
    if interpreting():
        return INTERPRETED
    name = str(dtype).removeprefix("torch.")
    if name == "float32" and not exact and torch.get_float32_matmul_precision() != "highest":
        name = "tf32x3"
    found = measured(device, PLANS, work, name)
    return Plan(**found) if found else TABLE[architecture_of(device), work][name]


def reading_plan(device: torch.device) -> Plan:
    """The plan for scores that are there."""
    if interpreting():
        return INTERPRETED._replace(schedule="chunked")
    return TABLE[architecture_of(device), "sums"]["float32"]
