"""Triton's launches run here: compiled for sm_80 as a launch would specialise them, then interpreted on the CPU's tensors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget

from pcsr_fast.kernels.triton.launch import Plan
from tests.kernels.ptx.machine import Machine, Program
from tests.tools.triton_compile import OPTIONS, specialised

TARGET = GPUTarget("cuda", 80, 32)
CONSTANTS = ("PRECISION", "LOADED", "SHIFT", "KIND", "F", "OWN")


def _no_assembly(*given: Any) -> tuple[str, str] | None:
    """Ends compilation with PTX: ptxas takes most of the time."""
    if not given:
        return "-ptx", "ptx"
    given[1]["cubin"] = lambda module, metadata: b""
    return None


@functools.cache
def _program(name: str, text: str, entry: str) -> Program:
    return Program(name, text, entry)


def _name(kernel: Any, arguments: dict[str, Any]) -> str:
    """The kernel with what makes it another one; its dtype is that of its first argument."""
    dtype = str(next(arguments[name] for name in kernel.arg_names).dtype).removeprefix("torch.")
    chosen = [f"{name} {arguments[name]}" for name in CONSTANTS if name in arguments]
    return " ".join([kernel.__name__, dtype, *chosen])


def _launch(machine: Machine, kernel: Any, *values: Any, grid: Any, warmup: bool, **options: Any) -> None:
    """What a kernel's launch does; Triton's two scratch pointers are null."""
    arguments = dict(zip(kernel.arg_names, values, strict=False)) | options
    source = specialised(kernel, arguments)
    chosen = {name: arguments[name] for name in OPTIONS if name in arguments}
    compiled = triton.compile(source, target=TARGET, options=chosen)
    given = [arguments[name] for name in kernel.arg_names if source.signature[name] != "constexpr"]
    data = compiled.metadata
    program = _program(_name(kernel, arguments), compiled.asm["ptx"], data.name)
    machine.launch(program, grid, 32 * data.num_warps, [*given, None, None], data.shared)


@contextmanager
def interpreting(machine: Machine, plan: Plan | None = None) -> Iterator[None]:
    """Every Triton launch inside goes to `machine`; ops on the CPU's tensors take Triton and this plan."""
    assert not triton.knobs.runtime.interpret, "TRITON_INTERPRET is set: there is no PTX"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton.knobs.runtime, "add_stages_inspection_hook", _no_assembly)
        patch.setattr(
            triton.runtime.jit.JITFunction,
            "run",
            lambda kernel, *values, **options: _launch(machine, kernel, *values, **options),
        )
        patch.setattr("pcsr_fast.ops.triton.arguments.interpreted", lambda: True)
        patch.setattr("pcsr_fast.kernels.triton.launch_table.plan_for", lambda *args, **options: plan)
        patch.setenv("PCSR_FAST_BACKEND", "triton")
        yield
