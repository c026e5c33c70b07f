"""Compiles the CUDA kernels for GPUs that are not there, and reads registers, spills, occupancy and opcodes.

`python tests/tools/cuda_compile.py [--only=FILE] [sm_80 sm_90a sm_100]` prints one JSON object a kernel, a line each; with
neither this is what benchmarks/results/gpu/cuda_compile.jsonl holds. --only: the kernels of csrc/cuda/FILE.cu. The path
of a built _native_cuda*.so instead reads that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tools.cuda_emulation.build import build_program, launchers  # noqa: E402
from tests.tools.sass import Code  # noqa: E402
from tests.tools.triton_compile import BIN  # noqa: E402

CACHE = ROOT / "build" / "cuda-compile"
TARGETS = ("sm_80", "sm_90a", "sm_100")
FOLDERS = [f"-I{ROOT / folder}" for folder in ("kernels/cuda", "csrc/cuda", "csrc")]
# Of one multiprocessor: bytes of shared memory, of which every block takes 1 KiB more than it asks for.
SHARED = {"sm_80": 164 * 1024, "sm_90a": 228 * 1024, "sm_100": 228 * 1024}
RESERVED = 1024
MOST_WARPS, PARTITIONS, PARTITION_REGISTERS, REGISTER_STEP = 64, 4, 16384, 256
Row = dict[str, Any]


def _output(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def _compiled(source: Path, target: str) -> Path:
    """The machine code of `source` for `target` beside its PTX; kept by the hash of all that it includes."""
    command = ["nvcc", "-std=c++17", "-O3", "-fatbin", *FOLDERS]
    parts = [
        path.read_bytes() for folder in ("kernels/cuda", "csrc/cuda") for path in sorted((ROOT / folder).iterdir())
    ]
    key = hashlib.sha256(b"".join([repr(command).encode(), _output("nvcc", "--version").encode(), *parts])).hexdigest()
    made = CACHE / f"{source.stem}-{target}-{key[:24]}.fatbin"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        virtual = target.replace("sm", "compute")
        part = made.with_suffix(f".{os.getpid()}.part")
        _output(*command, f"-gencode=arch={virtual},code=[{target},{virtual}]", source, "-o", part)
        part.replace(made)
    return made


def short_name(mangled: str) -> str:
    """Name and template arguments of a kernel."""
    plain = _output("c++filt", mangled).strip().removeprefix("void ").replace("pcsr::cuda::", "")
    functions = re.sub(r"&(?:\((\w+)\((?:[^()]|\([^()]*\))*\)\)|(\w+))", r"\1\2", plain)
    return functions.split("(")[0]


def occupancy(target: str, threads: int, registers: int, shared: int) -> int:
    """Warps that one multiprocessor can hold of blocks like this."""
    warps = -(-threads // 32)
    a_warp = -(-registers * 32 // REGISTER_STEP) * REGISTER_STEP
    by_registers = PARTITIONS * (PARTITION_REGISTERS // a_warp) // warps
    by_shared = SHARED[target] // (shared + RESERVED)
    return min(by_registers, by_shared, MOST_WARPS // warps, 32) * warps


def _codes(cubin: Path) -> dict[str, Code]:
    """By function."""
    parts = re.split(r"^\s*\.section\s+\.text\.(\w+),.*$", _output(BIN / "nvdisasm", "-c", cubin), flags=re.M)
    return {name: Code(code) for name, code in zip(parts[1::2], parts[2::2], strict=True)}


def _dynamic() -> dict[str, int]:
    """Bytes of shared memory that launchers ask for, by the start of a kernel's name."""
    lines = _output(build_program("shared_bytes", "plain")).splitlines()
    return {"": 0} | {name: int(size) for name, size in map(str.split, lines)}


def _unpacked(container: Path, folder: Path) -> tuple[list[Path], str]:
    """Machine code for every architecture that `container` (fatbin, object, library) holds, and its PTX."""
    for kind in ("-xelf", "-xptx"):
        subprocess.run([BIN / "cuobjdump", kind, "all", container], check=True, cwd=folder, capture_output=True)
    return sorted(folder.glob("*.cubin")), "".join(path.read_text() for path in sorted(folder.glob("*.ptx")))


def _rows_of(cubin: Path, target: str, threads: dict[str, str], dynamic: dict[str, int]) -> Iterator[Row]:
    codes = _codes(cubin)
    usage = _output(BIN / "cuobjdump", "--dump-resource-usage", cubin)
    for mangled, numbers in re.findall(r"Function (\w+):\s*(REG:.*)", usage):
        used = {name: int(value) for name, value in re.findall(r"(\w+):(\d+)", numbers)}
        name = short_name(mangled)
        if name.startswith("walk_wide") and target != "sm_90a":
            continue
        # Some architectures count what every block takes in the static part, of which the kernels have none.
        static = max(used["SHARED"] - RESERVED, 0)
        shared = static + max(size for start, size in dynamic.items() if name.startswith(start))
        block = int(threads.get(mangled, 32))
        epilogue = codes[mangled].epilogue()
        yield {
            "kernel": name,
            "target": target,
            "threads": block,
            "registers": used["REG"],
            "stack": used["STACK"] + used["LOCAL"],
            "shared": shared,
            "occupancy": occupancy(target, block, used["REG"], shared) / MOST_WARPS,
            "opcodes": codes[mangled].counted(),
            **({"epilogue": epilogue} if epilogue is not None else {}),
        }


def rows(container: Path, dynamic: dict[str, int]) -> list[Row]:
    """A row for every kernel and architecture in `container`."""
    with tempfile.TemporaryDirectory() as folder:
        cubins, ptx = _unpacked(container, Path(folder))
        threads = dict(re.findall(r"\.entry (\w+)\([^)]*\)\s*\.maxntid (\d+)", ptx))
        found = []
        for cubin in cubins:
            (target,) = re.findall(r"\.(sm_\w+)\.", cubin.name)
            found += _rows_of(cubin, target, threads, dynamic)
    return sorted(found, key=lambda row: (TARGETS.index(row["target"]), row["kernel"]))


def main(*words: str) -> None:
    """The command line."""
    libraries = [Path(word).resolve() for word in words if word.endswith(".so")]
    targets = [word for word in words if word in TARGETS] or TARGETS
    only = [word.removeprefix("--only=") for word in words if word.startswith("--only=")]
    sources = [source for source in launchers() if not only or source.stem in only]
    dynamic = _dynamic()
    for container in libraries or [_compiled(source, target) for target in targets for source in sources]:
        for row in rows(container, dynamic):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
