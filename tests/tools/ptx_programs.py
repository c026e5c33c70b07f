"""Small PTX programs around the instructions that a test looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.tools import ptx
from tests.tools.ptx.types import Array

REGISTERS = ".reg .pred %p<16>;\n.reg .b16 %h<16>;\n.reg .b32 %r<64>;\n.reg .b64 %d<32>;"


def kernel(body: str, params: Sequence[str] = (), declarations: str = "", outside: str = "") -> str:
    """A kernel `k` of u64 parameters with these names (or "type name"), registers %p, %h (16 bits), %r (32), %d (64) and
    %t, the thread's number in the grid; the addresses of the parameters are in %name."""
    typed = [param if " " in param else f"u64 {param}" for param in params]
    names = [param.split()[1] for param in typed]
    header = ", ".join(f".param .{param}" for param in typed)
    sizes = [param.split()[0][1:] for param in typed]
    registers = "".join(f".reg .b{size} %{name};\n" for size, name in zip(sizes, names, strict=True))
    loads = "".join(f"ld.param.b{size} %{name}, [{name}];\n" for size, name in zip(sizes, names, strict=True))
    return (
        f".version 8.0\n.target sm_80\n.address_size 64\n{outside}\n.visible .entry k({header})\n{{\n{REGISTERS}\n"
        f".reg .b32 %t, %lane, %scratch;\n{registers}{declarations}\n{loads}"
        "mov.u32 %scratch, %ctaid.x;\nmov.u32 %t, %ntid.x;\nmul.lo.u32 %t, %t, %scratch;\n"
        "mov.u32 %lane, %tid.x;\nadd.u32 %t, %t, %lane;\nmov.u32 %lane, %laneid;\n"
        f"{body}\nret;\n}}\n"
    )


def run(text: str, args: Sequence[Any] = (), grid: Any = 1, block: Any = 32, **options: Any) -> ptx.Report:
    return ptx.launch(ptx.parse(text).only, grid, block, args, **options)


def values(code: str, result: Any, block: int = 32, **inputs: Array) -> Array:
    """What `code` leaves in %out for each element of equally long inputs, which it finds in registers of their names.

    result: numpy type of %out. Raises AssertionError where the run is not clean.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    count = len(next(iter(arrays.values())))
    blocks = -(-count // block)
    arrays = {
        name: np.concatenate([array, np.repeat(array[-1:], blocks * block - count)]) for name, array in arrays.items()
    }
    out = np.zeros(blocks * block, result)
    loads, declared = [], [f".reg .b{8 * max(out.itemsize, 2)} %out;"]
    for name, array in arrays.items():
        size = array.itemsize
        declared.append(f".reg .b{8 * max(size, 2)} %{name};")
        loads.append(f"mad.wide.u32 %d30, %t, {size}, %p_{name};\nld.global.b{8 * size} %{name}, [%d30];")
    end = f"mad.wide.u32 %d30, %t, {out.itemsize}, %p_out;\nst.global.b{8 * out.itemsize} [%d30], %out;"
    body = "\n".join([*loads, code, end])
    text = kernel(body, [f"p_{name}" for name in [*arrays, "out"]], "\n".join(declared))
    report = run(text, [*arrays.values(), ptx.Uninitialised(out)], blocks, block)
    assert report.clean, report
    return out[:count]
