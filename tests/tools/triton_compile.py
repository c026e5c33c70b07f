"""Compiles what launchers really launch, for GPUs that are not there, and reads registers, spills and opcodes.

`python tests/tools/triton_compile.py [--few] [--only KERNEL ...] [--into TABLE] sm_90 [sm_80 ...]` prints one JSON object a
kernel, a line each; --into puts them in the place of those rows of a table, which is how
benchmarks/results/gpu/triton_compile.jsonl is made. In a process of its own: Triton must not interpret. Launchers run on
small tensors of the CPU; every launch is compiled instead, with Triton's own rules of specialisation: 1 is a constant,
multiples of 16 are known as such.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tools.sass import Code

BIN = Path(triton.backends.nvidia.__file__).parent / "bin"
TARGETS = {f"sm_{cc}": GPUTarget("cuda", cc, 32) for cc in (80, 90, 100)} | {"gfx942": GPUTarget("hip", "gfx942", 64)}
TYPES = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


def specialised(kernel: Any, arguments: dict[str, Any]) -> ASTSource:
    """The kernel specialised as a launch with these arguments would specialise it."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        name, value = parameter.name, arguments[parameter.name]
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[name], constants[(index,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if abs(value) < 2**31 else "i64"
        where = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if signature[name] not in ("constexpr", "fp32") and where % 16 == 0:
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes)


def _nvidia(cubin: bytes, multiplies: bool) -> dict[str, Any]:
    """Registers and stack; only of a kernel that multiplies, as disassembling is slow, opcodes and what follows products."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([BIN / "cuobjdump", "--dump-resource-usage", file.name], capture_output=True, text=True)
        disassemble = [BIN / "nvdisasm", "-c", file.name] if multiplies else ["true"]
        code = subprocess.run(disassemble, capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK):(\d+)", usage.stdout + usage.stderr)}
    counts = Code(code)
    epilogue = {"epilogue": counts.epilogue()} if counts.epilogue() is not None else {}
    return {"registers": found["REG"], "stack": found["STACK"], "opcodes": counts.counted(), **epilogue}


def _amd(assembly: str) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(int(value) for value in re.findall(rf"\.{name}:\s+(\d+)", assembly))

    matrix = len(re.findall(r"\bv_mfma_\w+", assembly))
    registers, stack = total("vgpr_count"), total("private_segment_fixed_size")  # scalars spill to vector registers
    return {"registers": registers, "stack": stack, "opcodes": {"MFMA": matrix} if matrix else {}}


class Multiprocessor(NamedTuple):
    """What the blocks on one share, from the vendors' tables: each of its four parts has its own registers."""

    lanes: int  # of a warp
    warps: int
    blocks: int
    registers: int  # of a part
    granule: int  # of registers given to a warp
    shared: int
    reserved: int  # bytes a block takes beside its own


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(32, 64, 32, 16384, 256, 164 * 1024, 1024),
    "sm_90": Multiprocessor(32, 64, 32, 16384, 256, 228 * 1024, 1024),
    "sm_100": Multiprocessor(32, 64, 32, 16384, 256, 228 * 1024, 1024),
    "gfx942": Multiprocessor(64, 32, 32, 32768, 512, 64 * 1024, 0),
}


def occupancy(target: str, registers: int, shared: int, warps: int) -> float:
    """Share of a multiprocessor's warps that blocks of this kernel can fill; 0 where not one fits."""
    here = MULTIPROCESSORS[target]
    given = -(-registers * here.lanes // here.granule) * here.granule
    able = 4 * min(here.warps // 4, here.registers // given)
    blocks = min(here.blocks, able // warps, here.shared // max(1, shared + here.reserved))
    return blocks * warps / here.warps


class Recorder:
    """Compiles each different launch once for a target and keeps what came of it, instead of running it."""

    def __init__(self, target: str, only: Collection[str] = ()) -> None:
        self.target, self.only = target, only
        self.rows: list[dict[str, Any]] = []
        self.seen: set[tuple[str, ...]] = set()

    def run(self, kernel: Any, *values: Any, grid: Any, warmup: bool, **options: Any) -> None:
        """What a kernel's launch does while this records."""
        arguments = dict(zip(kernel.arg_names, values, strict=False)) | options
        launch = {name: arguments[name] for name in OPTIONS if name in arguments}
        source = specialised(kernel, arguments)
        key = (kernel.__name__, str(source.signature), str(source.constants), str(source.attrs), str(launch))
        if key in self.seen or (self.only and kernel.__name__ not in self.only):
            return
        self.seen.add(key)
        compiled = triton.compile(source, target=TARGETS[self.target], options=launch)
        constants = {p.name: arguments[p.name] for p in kernel.params if p.is_constexpr}
        multiplies = "PRECISION" in constants and not constants.get("LOADED")
        nvidia = "cubin" in compiled.asm
        own = _nvidia(compiled.asm["cubin"], multiplies) if nvidia else _amd(compiled.asm["amdgcn"])
        types = [TYPES[value.dtype][1:] for value in arguments.values() if isinstance(value, torch.Tensor)]
        warps, shared = compiled.metadata.num_warps, compiled.metadata.shared
        row = {
            "kernel": kernel.__name__,
            "target": self.target,
            "dtypes": types,
            "constants": constants,
            "ones": [name for name in arguments if source.signature.get(name) == "constexpr" and name not in constants],
            "sixteens": [p.name for index, p in enumerate(kernel.params) if (index,) in source.attrs],
            "warps": warps,
            "shared": shared,
            **own,
            "occupancy": occupancy(self.target, own["registers"], shared, warps),
        }
        self.rows.append(row)


def record(target: str, launches: Callable[[str], Iterator[None]], only: Collection[str] = ()) -> list[dict[str, Any]]:
    """A row for every different kernel, or of these names, that `launches(target)` launches."""
    recorder = Recorder(target, only)
    triton.runtime.jit.JITFunction.run = lambda kernel, *values, **options: recorder.run(kernel, *values, **options)
    for _ in launches(target):
        pass
    return recorder.rows


def replace(table: Path, rows: list[dict[str, Any]], targets: list[str], only: Collection[str]) -> None:
    """Put rows in the place of those of the same targets, and kernels if only some were compiled."""
    before = [json.loads(line) for line in table.read_text().splitlines()]
    kept = [row for row in before if row["target"] not in targets or (only and row["kernel"] not in only)]
    order = list(TARGETS)
    rows = sorted(kept + rows, key=lambda row: (order.index(row["target"]), row["kernel"]))
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def main() -> None:
    """The command line."""
    assert "TRITON_INTERPRET" not in os.environ
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--few", action="store_true", help="a representative part of the launches")
    parser.add_argument("--only", metavar="KERNEL", action="append", default=[], help="kernels by name")
    parser.add_argument("--into", type=Path, metavar="TABLE", help="a table whose rows these replace")
    given = parser.parse_args()
    from tests.tools import triton_launches

    chosen = triton_launches.few_launches if given.few else triton_launches.launches
    rows = [row for target in given.targets for row in record(target, chosen, given.only)]
    if given.into:
        replace(given.into, rows, given.targets, given.only)
    else:
        print("".join(f"{json.dumps(row)}\n" for row in rows), end="")


if __name__ == "__main__":
    main()
