"""A GPU that interprets: it runs launches of real kernels by their PTX, and remembers what was found and how they began."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tests.tools import ptx


@dataclass(frozen=True)
class Program:
    """A kernel: what it is called here, the PTX text that holds it alone, the name of its entry there."""

    name: str
    text: str
    entry: str

    @functools.cached_property
    def kernel(self) -> ptx.Kernel:
        return ptx.parse(self.text)[self.entry]


def alone(text: str, entry: str) -> str:
    """A module's text with no other kernel than `entry`, and without debug sections but the names of files."""
    files = "".join(re.findall(r"^\s*\.file\s[^\n]*\n", text, flags=re.M))
    text = re.split(r"^\s*\.section", text, maxsplit=1, flags=re.M)[0]
    text = re.sub(r"^\s*\.file\s[^\n]*\n", "", text, flags=re.M)
    kernels = re.compile(r"^(?:\.visible )?\.entry (\w+)\(.*?^\}\n", flags=re.M | re.S)
    return files + kernels.sub(lambda found: found[0] if found[1] == entry else "", text)


@dataclass(frozen=True)
class Launch:
    """One launch that can be repeated: `args` are as they were before it."""

    program: Program
    grid: tuple[int, ...]
    block: int
    args: Sequence[Any]
    shared: int

    def run(self, kernel: ptx.Kernel | None = None, **options: Any) -> tuple[ptx.Report, list[bytes]]:
        """The report, and the memory behind all arguments afterwards, of this kernel or another in its place."""
        args = copy.deepcopy(self.args)
        report = ptx.launch(kernel or self.program.kernel, self.grid, self.block, args, self.shared, **options)
        return report, [memory_of(value) for value in flat(args)]


def flat(args: Sequence[Any]) -> list[torch.Tensor | np.ndarray]:
    """Every buffer among arguments."""
    found: list[Any] = []
    for value in args:
        if isinstance(value, ptx.Struct):
            found += flat(value.values)
        elif isinstance(value, ptx.Uninitialised | ptx.HandedOver):
            found += flat([value.array])
        elif isinstance(value, torch.Tensor | np.ndarray):
            found.append(value)
    return found


def memory_of(buffer: torch.Tensor | np.ndarray) -> bytes:
    if isinstance(buffer, np.ndarray):
        return buffer.tobytes()
    return buffer.contiguous().view(torch.uint8).numpy().tobytes() if buffer.numel() else b""


@dataclass
class Machine:
    """order: of the interpreter's threads; keep: whether launches are kept to be repeated."""

    order: str | int = "together"
    keep: bool = False
    reports: list[ptx.Report] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)

    def launch(self, program: Program, grid: Sequence[int], block: int, args: Sequence[Any], shared: int) -> None:
        if self.keep:
            self.launches.append(Launch(program, tuple(grid), block, copy.deepcopy(args), shared))
        self.reports.append(ptx.launch(program.kernel, grid, block, args, shared, order=self.order))

    def check(self) -> None:
        """Something ran, without errors or hazards."""
        assert self.reports
        assert all(report.clean for report in self.reports), "\n".join(
            str(report) for report in self.reports if not report.clean
        )
