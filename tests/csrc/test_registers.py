"""The product's inner loop keeps its sums in registers: compilers have been seen to spill them, at a quarter of the speed."""

from __future__ import annotations

import platform
import re
import subprocess

import pytest

from pcsr_fast import native

# Accumulators of a tile: rows x 2 vectors. Twice as many where the compiler unrolls the loop once more.
SUMS = {"avx512": 28, "avx2": 12}


def instructions(isa: str, scalar: str) -> list[str]:
    """The disassembled body of one product kernel."""
    command = ["objdump", "-d", "-C", "--no-show-raw-insn", str(native.load().__file__)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    function = re.search(rf"<[^\n]*pcsr::{isa}::[^\n]*::multiply<{scalar}>[^\n]*>:\n(.*?)\n\n", text, re.DOTALL)
    assert function is not None, f"no product kernel of {isa} in the native core"
    return [line.split(":", 1)[1].strip() for line in function.group(1).splitlines()]


@pytest.mark.parametrize("isa", SUMS if platform.machine() == "x86_64" else ())
@pytest.mark.parametrize("scalar", ["float", "double"])
def test_no_sum_leaves_its_register(isa, scalar):
    body = instructions(isa, scalar)
    fused = [index for index, line in enumerate(body) if line.startswith("vfmadd")]
    assert len(fused) % SUMS[isa] == 0
    assert fused
    inner = body[fused[0] : fused[-1] + 1]
    assert not [line for line in inner if re.search(r"\((%rsp|%rbp)", line) and re.search(r"%[yz]mm", line)]
