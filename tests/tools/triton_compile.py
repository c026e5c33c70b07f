"""Compiles what launchers really launch, for GPUs that are not there, and reads registers, spills and opcodes.

`python tests/tools/triton_compile.py [--few] [--only=KERNEL,...] sm_90 [sm_80 ...]` prints one JSON object a kernel, a line
each; without --few and --only this is what benchmarks/results/gpu/triton_compile.jsonl holds. In a process of its own: Triton
must not interpret. Launchers run on small tensors of the CPU; every launch is compiled instead, with Triton's own rules
of specialisation: 1 is a constant, multiples of 16 are known as such.
"""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

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
OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)")
# Tensor cores, asynchronous copies, local memory (spills).
COUNTED = re.compile(r"HMMA|HGMMA|UTC\w*MMA|LDGSTS|UTMALDG|STL|LDL")


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
    """Registers and stack; opcodes only of a kernel that multiplies, as disassembling is slow."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([BIN / "cuobjdump", "--dump-resource-usage", file.name], capture_output=True, text=True)
        disassemble = [BIN / "nvdisasm", "-c", file.name] if multiplies else ["true"]
        code = subprocess.run(disassemble, capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK):(\d+)", usage.stdout + usage.stderr)}
    opcodes = collections.Counter(name for name in OPCODE.findall(code) if COUNTED.fullmatch(name))
    return {"registers": found["REG"], "stack": found["STACK"], "opcodes": dict(sorted(opcodes.items()))}


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
    """Compiles each different launch once for a target and prints what came of it, instead of running it."""

    def __init__(self, target: str, only: tuple[str, ...]) -> None:
        self.target, self.only = target, only
        self.seen: set[tuple[str, ...]] = set()

    def run(self, kernel: Any, *values: Any, grid: Any, warmup: bool, **options: Any) -> None:
        """What a kernel's launch does while this records."""
        if self.only and kernel.__name__ not in self.only:
            return
        arguments = dict(zip(kernel.arg_names, values, strict=False)) | options
        launch = {name: arguments[name] for name in OPTIONS if name in arguments}
        source = specialised(kernel, arguments)
        key = (kernel.__name__, str(source.signature), str(source.constants), str(source.attrs), str(launch))
        if key in self.seen:
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
        print(json.dumps(row), flush=True)


def record(target: str, launches: Callable[[str], Iterator[None]], only: tuple[str, ...] = ()) -> None:
    """Print a row for every different kernel, or each of `only`, that `launches(target)` launches."""
    recorder = Recorder(target, only)
    triton.runtime.jit.JITFunction.run = lambda kernel, *values, **options: recorder.run(kernel, *values, **options)
    for _ in launches(target):
        pass


def main() -> None:
    """The command line."""
    assert "TRITON_INTERPRET" not in os.environ
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.tools import triton_launches

    few = "--few" in sys.argv
    only = [word.removeprefix("--only=") for word in sys.argv if word.startswith("--only=")]
    for name in sys.argv[1:]:
        if not name.startswith("--"):
            chosen = triton_launches.few_launches if few else triton_launches.launches
            record(name, chosen, tuple(",".join(only).split(",")) if only else ())


if __name__ == "__main__":
    main()
