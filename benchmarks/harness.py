"""What is measured and how: every implementation of a case in one run, round robin, so that noise hits all alike.

A case is one op on fixed shapes. Its workload makes the inputs, names the implementations and checks what they return
before anything is timed. Times are medians over rounds; ratios and the share of the floor are of CPU time, on a device of
the time that went by until it was done.
"""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.clock import busy, settle
from pcsr_fast import floors
from pcsr_fast.errors import UserError

SHORT = 0.02  # seconds; shorter calls are repeated within a sample


@dataclass(frozen=True)
class Implementation:
    """One way to run a case.

    Attributes:
        run: the call; None where it cannot run, with the `reason`.
        ours: a backend of this package that is measured against the others.
        scale: what a call's seconds are multiplied by, where a piece of the work stands for the whole.
    """

    run: Callable[[], Any] | None
    reason: str | None = None
    ours: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Workload:
    """Implementations by name, and a check of what one of them returned: None, or what is wrong with it."""

    implementations: dict[str, Implementation]
    check: Callable[[str, Any], str | None]


@dataclass(frozen=True)
class Case:
    """One op on fixed shapes.

    Attributes:
        name: unique within the op's file. op: as `pcsr_fast.estimate` knows it.
        build: makes inputs and implementations, from fixed seeds.
        usual: name of the implementation that people use today.
        size: what plots and tables count by (B, N or captions). series: cases that form one curve.
        headline: stands in the README's summary.
        repeats: at most so many rounds (None: as asked for). not_run: implementations left out, with the reason.
    """

    name: str
    op: str
    shapes: tuple[tuple[int, ...], ...]
    build: Callable[[], Workload]
    usual: str
    size: int
    series: str
    dtype: torch.dtype = torch.float32
    backward: bool = False
    batch_size: int | None = None
    headline: bool = False
    repeats: int | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """forward, or forward + backward."""
        return "forward + backward" if self.backward else "forward"

    def workload(self) -> Workload:
        """Inputs and implementations, those of `not_run` taken out."""
        made = self.build()
        kept = {
            name: Implementation(None, self.not_run[name], one.ours) if name in self.not_run else one
            for name, one in made.implementations.items()
        }
        return Workload(kept, made.check)


@dataclass(frozen=True)
class Samples:
    """Wall and CPU (on a device: again wall) seconds of one call, a number per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def give_back() -> None:
    """Return what is free to the system: a call that needs much would leave less to the others, and to other processes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def prepare(case: Case, workload: Workload) -> tuple[dict[str, int], dict[str, str]]:
    """Call every implementation once and check it: calls a sample of those that run, reasons of the others.

    Raises:
        UserError: an implementation returned something wrong.
    """
    calls: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for name, one in workload.implementations.items():
        if one.run is None:
            reasons[name] = one.reason or "cannot run"
            continue
        try:
            start = time.perf_counter()
            output = one.run()
            settle()
            seconds = time.perf_counter() - start
        except Exception as error:  # a missing compiler, an argument this version lacks: listed, not fatal
            reasons[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        problem = workload.check(name, output)
        del output
        give_back()
        if problem:
            raise UserError(f"{case.name}: {name}: wrong result: {problem}")
        if seconds < SHORT:
            start = time.perf_counter()
            one.run()
            settle()
            seconds = time.perf_counter() - start
        calls[name] = max(1, math.ceil(SHORT / max(seconds, 1e-6)))
    return calls, reasons


def measure(workload: Workload, calls: Mapping[str, int], repeats: int) -> dict[str, Samples]:
    """`repeats` rounds; in each, a sample of every implementation in `calls`, which says how many calls it holds."""
    samples = {name: Samples() for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, count in calls.items():
                one = workload.implementations[name]
                assert one.run is not None
                settle()
                wall, cpu = time.perf_counter(), busy()
                for _ in range(count):
                    one.run()
                settle()
                share = one.scale / count
                samples[name].cpu.append((busy() - cpu) * share)
                samples[name].wall.append((time.perf_counter() - wall) * share)
    finally:
        gc.enable()
    return samples


def summary(seconds: list[float]) -> dict[str, Any]:
    """Median, minimum and all samples."""
    return {"median": statistics.median(seconds), "min": min(seconds), "samples": seconds}


def rows(
    workload: Workload,
    samples: Mapping[str, Samples],
    reasons: Mapping[str, str],
    memory: Mapping[str, dict[str, Any]],
    floor: floors.Estimate,
) -> list[dict[str, Any]]:
    """A row an implementation; `ratios` says how many times as fast as each baseline it is, by median CPU time."""
    cpu = {name: statistics.median(taken.cpu) for name, taken in samples.items()}
    baselines = [name for name in cpu if not workload.implementations[name].ours]
    table = []
    for name, one in workload.implementations.items():
        row: dict[str, Any] = {"name": name, "ours": one.ours, "reason": reasons.get(name)}
        if name in cpu:
            row["wall"], row["cpu"] = summary(samples[name].wall), summary(samples[name].cpu)
            row["memory"] = memory.get(name)
            row["floor_share"] = floor.seconds / cpu[name]
            row["gflops"] = floor.flops / cpu[name] / 1e9
            row["ratios"] = {other: cpu[other] / cpu[name] for other in baselines if other != name}
        table.append(row)
    return table
