"""Launches: a kernel over a grid, on numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from . import arithmetic, async_copy, atomics, bits, compare, control, convert, tensor, warp  # noqa: F401 - fill the table
from .buffers import Buffer, Global, HandedOver, Struct, Uninitialised
from .instructions import Operation, prepare
from .kernel import Kernel, Variable
from .memory_ops import granules
from .races import WARP
from .report import Finding, PTXError, Report
from .schedule import StepLimit, run_batch
from .state import Batch, Group
from .types import Array

Argument = Buffer | Struct | int | float | None
TOGETHER = 1024  # threads of the blocks that run in lockstep
FOREVER = 1 << 60


class Order:
    """Which warps go first. "together": all warps in lockstep (fast); "forward", "reversed": each warp as far as it can go,
    first or last one first; a number: warps take turns of random length, drawn from that seed."""

    def __init__(self, order: str | int) -> None:
        if not isinstance(order, int) and order not in ("together", "forward", "reversed"):
            raise ValueError(f"launch: order is {order!r}; expected together, forward, reversed or a number")
        self.name, self.random = order, np.random.default_rng(order if isinstance(order, int) else 0)

    def blocks(self, count: int) -> list[int]:
        if isinstance(self.name, int):
            return [int(number) for number in self.random.permutation(count)]
        return list(range(count))[:: -1 if self.name == "reversed" else 1]

    def turns(self, groups: list[Group]) -> Iterator[tuple[Group, int]]:
        """Groups that run until each waits; in random order a few instructions at a time."""
        if not isinstance(self.name, int):
            yield from ((group, FOREVER) for group in groups[:: -1 if self.name == "reversed" else 1])
            return
        for _ in range(8 * len(groups)):
            yield groups[int(self.random.integers(len(groups)))], int(self.random.integers(1, 200))

    def lanes(self, count: int) -> Array:
        """The order in which atomic operations of one instruction happen."""
        numbers = np.arange(count)
        if isinstance(self.name, int):
            return self.random.permutation(numbers)
        return numbers[::-1] if self.name == "reversed" else numbers


class Launch:
    """State that all blocks share."""

    def __init__(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
        order: str | int,
        races: bool,
        max_steps: int,
    ) -> None:
        self.kernel, self.grid, self.block, self.races, self.max_steps = kernel, grid, block, races, max_steps
        self.order, self.together = Order(order), order == "together"
        self.threads = int(np.prod(block))
        self.padded = -(-self.threads // WARP) * WARP
        self.blocks = self.order.blocks(int(np.prod(grid)))
        self.static_shared = -(-kernel.sizes.get("shared", 0) // 16) * 16
        self.shared_size = self.static_shared + shared_bytes
        if not kernel.prepared:
            kernel.granules.update(granules(kernel))
            kernel.prepared.extend(prepare(instruction, kernel) for instruction in kernel.code)
        self.operations: list[Operation] = kernel.prepared
        self.granules = kernel.granules
        self.guards = [(code.guard.slot, code.negated) if code.guard else None for code in kernel.code]
        self.executed = [0] * len(kernel.code)
        self.reached = [False] * len(kernel.code)
        self.report = Report(kernel.name)
        self.memory = Global(self.granules["global"])
        self.addresses: dict[str, int] = {}
        self.parameters = np.zeros(kernel.sizes.get("param", 0), np.uint8)
        self.now = 1

    def bind(self, args: Sequence[Argument]) -> None:
        """Parameters from arguments, and addresses for the module's own variables."""
        names = [param.name for param in self.kernel.params]
        if len(args) != len(names):
            raise PTXError(f"kernel {self.kernel.name}: {len(args)} arguments for {len(names)} parameters")
        for number, (param, value) in enumerate(zip(self.kernel.params, args, strict=True)):
            data = self._bytes(param, value, f"argument {number}")
            self.parameters[param.offset : param.offset + param.size] = data
        for variable in self.kernel.variables.values():
            if variable.space in ("global", "const"):
                content = np.zeros(variable.size, np.uint8)
                content[: len(variable.data)] = np.frombuffer(variable.data, np.uint8)
                self.addresses[variable.name] = self.memory.add(variable.name, content)
        self.memory.begin(self.padded, self.races)

    def _bytes(self, param: Variable, value: Argument, name: str) -> Array:
        if isinstance(value, torch.Tensor | np.ndarray | Uninitialised | HandedOver):
            value = self.memory.add(name, value)
        if isinstance(value, Struct):
            data = value.pack(lambda buffer: self.memory.add(name, buffer))
            if len(data) != param.size:
                raise PTXError(f"kernel {self.kernel.name}: {name} has {len(data)} bytes, its parameter {param.size}")
            return np.frombuffer(data, np.uint8)
        if isinstance(value, float):
            if param.size not in (4, 8):
                raise PTXError(f"kernel {self.kernel.name}: {name} is a float, its parameter has {param.size} bytes")
            return np.array([value], f"f{param.size}").view(np.uint8)
        number = int(value or 0) & ((1 << 8 * param.size) - 1)
        return np.frombuffer(number.to_bytes(param.size, "little"), np.uint8)

    def run(self) -> None:
        together = max(1, TOGETHER // self.padded) if self.together else 1
        try:
            for first in range(0, len(self.blocks), together):
                batch = Batch(self, self.blocks[first : first + together])
                run_batch(batch)
                self.now = batch.clocks.now + 1
        except StepLimit:
            first_line = self.kernel.code[0]
            what = f"not finished after {self.max_steps} instructions"
            self.report.add(Finding("steps", self.kernel.name, first_line.line, "", "", (0, 0, 0), (), -1, what), False)
        self.memory.finish()
        for instruction, count in zip(self.kernel.code, self.executed, strict=True):
            self.report.counts[instruction.opcode] += count
        self.report.reached = {number for number, reached in enumerate(self.reached) if reached}

    def count_steps(self, steps: int) -> None:
        self.report.steps += steps
        if self.report.steps > self.max_steps:
            raise StepLimit

    def coordinates(self, number: int) -> tuple[int, int, int]:
        x, y, _ = self.grid
        return number % x, number // x % y, number // x // y

    def sequence(self, count: int) -> Array:
        return self.order.lanes(count)


def _three(size: int | Sequence[int], name: str) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
        raise ValueError(f"launch: {name} is {size}; expected one to three positive numbers")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


def launch(
    kernel: Kernel,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Argument],
    shared_bytes: int = 0,
    order: str | int = "together",
    races: bool = True,
    max_steps: int = 5_000_000,
) -> Report:
    """Run a kernel on the CPU with all checks; tensors and arrays that it writes are changed in place.

    args: in the order of the parameters. A tensor or array stands for its address, and any access outside of it is an error;
    wrapped in `Uninitialised`, so is a read of what was not written; in `HandedOver`, other blocks' accesses are no hazards.
    Numbers and a `Struct` are passed by value, None is a null pointer. Arguments that overlap have the bounds of their union.
    shared_bytes: of dynamic shared memory. order: see `Order`; results of a kernel without hazards do not depend on it.
    races: whether to look for them (about half of the time). Raises PTXError for what it cannot interpret, ValueError for
    sizes that make no sense; everything that happens while it runs is in the report.
    """
    sizes = _three(grid, "grid"), _three(block, "block")
    if kernel.threads not in (None, sizes[1]):
        raise PTXError(f"kernel {kernel.name}: a block of {sizes[1]}; .reqntid asks for {kernel.threads}")
    state = Launch(kernel, *sizes, shared_bytes, order, races, max_steps)
    state.bind(args)
    with np.errstate(all="ignore"):
        state.run()
    return state.report
