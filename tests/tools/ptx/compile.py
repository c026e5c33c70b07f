"""PTX for sm_80 of CUDA C++ by nvcc and of Triton kernels, without a GPU or its driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .kernel import Kernel
from .launch import Argument, launch
from .parser import parse
from .report import Report

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("triton_worker.py")


def find_nvcc() -> str | None:
    """Path of nvcc, from PATH or its usual place."""
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def nvcc(source: str | Path, *flags: str, architecture: str = "sm_80") -> str:
    """PTX of CUDA C++, given as text or as a file. Raises RuntimeError with the compiler's words, or where there is none."""
    compiler = find_nvcc()
    if compiler is None:
        raise RuntimeError("nvcc was not found in PATH or /usr/local/cuda/bin")
    command = [compiler, "-O3", "-std=c++17", f"-arch={architecture}", "-ptx", "-o", "-", *flags]
    if isinstance(source, Path):
        done = subprocess.run([*command, "-x", "cu", str(source)], capture_output=True, text=True, check=False)
    else:
        done = subprocess.run([*command, "-x", "cu", "-"], input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nvcc failed: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class TritonJob:
    """One variant of a Triton kernel.

    module: dotted name, or path of a .py file; kernel: the name in it; signature: type of each argument that is no constant
    ("*bf16", "i32"); constants: values of the others; divisible: arguments known to be multiples of 16.
    """

    module: str
    kernel: str
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    divisible: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)  # num_warps, num_stages, ...


@dataclass
class TritonKernel:
    """ptx: the text; shared: bytes of dynamic shared memory; warps: of a block; name: of the entry."""

    ptx: str
    shared: int
    warps: int
    name: str

    @cached_property
    def kernel(self) -> Kernel:
        return parse(self.ptx)[self.name]

    def launch(self, grid: int | Sequence[int], args: Sequence[Argument], **options: Any) -> Report:
        """Run it with the arguments that are no constants; Triton's two scratch pointers are null."""
        return launch(self.kernel, grid, 32 * self.warps, [*args, None, None], self.shared, **options)


def triton(jobs: Sequence[TritonJob]) -> list[TritonKernel]:
    """Compile variants in one process of their own: under TRITON_INTERPRET this one could not.

    Raises RuntimeError with the last line of what went wrong.
    """
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(WORKER)],
        input=json.dumps([asdict(job) for job in jobs]),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"triton failed: {done.stderr.strip().splitlines()[-1:]}")
    return [TritonKernel(**result) for result in json.loads(done.stdout.splitlines()[-1])]
