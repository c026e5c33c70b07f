"""A whole run of one op's file, with everything that says what was measured, where and when."""

from __future__ import annotations

import datetime
import functools
import importlib
import os
import sys
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.clock import extra_on_device, on_device
from benchmarks.comparison import commit
from benchmarks.harness import Case, Workload, measure, prepare, rows
from benchmarks.memory import extra_memory
from benchmarks.ops import OPS, SIZES
from pcsr_fast import floors, native
from pcsr_fast.errors import ConfigError
from pcsr_fast.machine import machine_facts

THREADS = 1
PACKAGES = ("pcsr-fast", "torch", "triton", "numpy", "scikit-learn")
VARIABLES = ("PCSR_FAST_BACKEND", "PCSR_FAST_ISA", "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def circumstances() -> dict[str, Any]:
    """Machine, instruction set, versions, commit, date, load average, threads and variables that matter."""
    available, why = native.status()
    return {
        "machine": machine_facts() | {"isa": native.isa() if available else None, "native": why},
        "versions": _versions(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load": list(os.getloadavg()),
        "threads": THREADS,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


@functools.cache
def best_peaks(dtype: torch.dtype, device: str, tries: int = 5) -> tuple[float, float]:
    """Largest of some measured peaks (flop/s, byte/s): a disturbed one would flatter every share of the floor."""
    found = []
    for _ in range(tries):
        floors.measured_peaks.cache_clear()
        found.append(floors.measured_peaks(dtype, device))
    return max(flops for flops, _ in found), max(moved for _, moved in found)


def _memory(module: str, size: str, case: Case, workload: Workload, names: list[str]) -> dict[str, dict[str, Any]]:
    if not on_device():
        return extra_memory(module, size, case.name, names)
    runs = {name: workload.implementations[name].run for name in names}
    return extra_on_device({name: run for name, run in runs.items() if run is not None})


def run_case(case: Case, module: str, size: str, repeats: int) -> dict[str, Any]:
    """Check, measure memory and time of one case, as kept in the JSON."""
    peaks = best_peaks(case.dtype, str(torch.get_default_device()))
    workload = case.workload()
    calls, reasons = prepare(case, workload)
    whole = [name for name in calls if workload.implementations[name].scale == 1.0]
    memory = _memory(module, size, case, workload, whole)
    rounds = min(repeats, case.repeats or repeats)
    samples = measure(workload, calls, rounds)
    options: dict[str, Any] = {"backward": case.backward, "batch_size": case.batch_size}
    floor = floors.estimate(case.op, case.shapes, case.dtype, **options, peak_flops=peaks[0], peak_bandwidth=peaks[1])
    return {
        "name": case.name,
        "op": case.op,
        "shapes": [list(shape) for shape in case.shapes],
        "dtype": str(case.dtype).removeprefix("torch."),
        "direction": case.direction,
        "size": case.size,
        "series": case.series,
        "usual": case.usual,
        "headline": case.headline,
        "repeats": rounds,
        "floor": {"seconds": floor.seconds, "flops": floor.flops, "bytes": floor.bytes, "bound": floor.bound},
        "rows": rows(workload, samples, reasons, memory, floor),
    }


def load(op: str) -> ModuleType:
    """The file of an op.

    Raises:
        ConfigError: there is none.
    """
    if op not in OPS:
        raise ConfigError(f"--op: got {op!r}, expected one of {', '.join(OPS)}")
    return importlib.import_module(f"benchmarks.ops.{op}")


def run_op(op: str, size: str, repeats: int, device: str = "cpu") -> dict[str, Any]:
    """Measure all cases of an op on one thread, tensors being on `device`.

    Raises:
        ConfigError: an unknown op or size, too few repeats, no such device, or PCSR_FAST_DISABLE set. UserError: a wrong
            result.
    """
    module = load(op)
    if size not in SIZES:
        raise ConfigError(f"--size: got {size!r}, expected one of {', '.join(SIZES)}")
    if repeats < 1:
        raise ConfigError(f"--repeats: got {repeats}, expected at least 1")
    if os.environ.get("PCSR_FAST_DISABLE", "") not in ("", "0"):
        raise ConfigError("PCSR_FAST_DISABLE: is set, so every backend would be the reference; expected it unset")
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"--device: got {device!r}, but torch finds no GPU; expected cpu")
    torch.set_num_threads(THREADS)
    start = circumstances()
    cases = []
    # numpy and scikit-learn bring thread pools of their own.
    with threadpool_limits(THREADS), torch.device(device):
        peaks = best_peaks(torch.float32, device)
        for case in module.cases(size):
            print(f"{op}: {case.name}", file=sys.stderr, flush=True)
            cases.append(run_case(case, module.__name__, size, repeats))
    return {
        "kind": "benchmark",
        "op": op,
        "title": module.TITLE,
        "axis": module.AXIS,
        "size": size,
        "device": device,
        "repeats": repeats,
        **start,
        "load_after": list(os.getloadavg()),
        "peaks": {"flops": peaks[0], "bandwidth": peaks[1]},
        "cases": cases,
    }
