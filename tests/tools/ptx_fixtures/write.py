"""Writes the .ptx files of this folder anew: `python -m tests.tools.ptx_fixtures.write`. Needs nvcc and triton."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from tests.tools.ptx.compile import TritonJob, TritonKernel, nvcc, triton

HERE = Path(__file__).parent
TILES = {"BM": 32, "BN": 32, "BK": 32}
PRODUCT = {"M": "i32", "N": "i32", "K": "i32"}
JOBS = [
    *(
        TritonJob(
            str(HERE / "kernels.py"),
            "product",
            {"A": f"*{dtype}", "B": f"*{dtype}", "C": "*fp64" if dtype == "fp64" else "*fp32", **PRODUCT},
            TILES,
            divisible=("A", "B", "C", "K"),
            options={"num_warps": 2, "num_stages": 2},
        )
        for dtype in ("bf16", "fp16", "fp32", "fp64")
    ),
    TritonJob(
        str(HERE / "kernels.py"),
        "log_sum_exp",
        {"X": "*bf16", "Y": "*fp32", "TOTAL": "*fp32", "N": "i32"},
        {"BM": 16, "BN": 32},
        options={"num_warps": 2},
    ),
    TritonJob(
        str(HERE / "kernels.py"),
        "running",
        {"X": "*fp16", "Y": "*fp16", "Z": "*fp64", "N": "i32"},
        {"B": 64},
        options={"num_warps": 2},
    ),
]


def stripped(text: str) -> str:
    """Without debug sections and the folders of this machine."""
    text = re.split(r"^\s*\.section", text, maxsplit=1, flags=re.M)[0]
    text = re.sub(r'(\.file\s+\d+\s+")[^"]*/', r"\1", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


def write(name: str, command: str, text: str) -> None:
    (HERE / f"{name}.ptx").write_text(f"// Written by write.py: {command}\n{stripped(text)}")


def write_triton(job: TritonJob, result: TritonKernel) -> None:
    kind = next(iter(job.signature.values())).lstrip("*")
    options = ", ".join(f"{key}={value}" for key, value in {**job.constants, **job.options}.items())
    facts = f"shared={result.shared} warps={result.warps}"
    write(f"triton_{job.kernel}_{kind}", f"triton {version('triton')}, sm_80, {options}; {facts}", result.ptx)


if __name__ == "__main__":
    write("nvcc", "nvcc -O3 -std=c++17 -arch=sm_80 -ptx kernels.cu", nvcc(HERE / "kernels.cu"))
    for job, result in zip(JOBS, triton(JOBS), strict=True):
        write_triton(job, result)
