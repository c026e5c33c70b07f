"""K2: the mean-hinge loss of every pair against a whole set."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Case, Implementation, Workload
from benchmarks.inputs import planted
from benchmarks.registered import by_backend
from pcsr_fast.ops import pair_losses

TITLE = "Losses of a whole set (K2)"
AXIS = "pairs N"
MARGIN = 0.2
SETS = {
    "tiny": ((96, 32),),
    "small": ((1024, 1024), (2048, 1024)),
    "full": ((2048, 1024), (4096, 1024), (8192, 1024)),
    "gpu": ((29_000, 1024), (145_000, 1024)),
}


def eager(x: Tensor, y: Tensor, block: int = 1024) -> Tensor:
    """By blocks of images, then the pairs' own hinges (the margin, twice) taken off."""
    own = (x * y).sum(1)
    row, column = torch.empty(len(x)), torch.zeros(len(x))
    for first in range(0, len(x), block):
        S = x[first : first + block] @ y.T
        row[first : first + block] = (S + (MARGIN - own[first : first + block, None])).relu_().sum(1)
        column += (S + (MARGIN - own)).relu_().sum(0)
    return (row + column - 2 * MARGIN) / len(x)


def build(count: int, width: int) -> Workload:
    """Pairs (count, width) and every implementation, checked against the reference."""
    x, y, _ = planted(count, count, width)
    expected: list[Tensor] = []

    def run(**options: Any) -> Tensor:
        return pair_losses(x, y, margin=MARGIN, **options).losses

    def check(_: str, got: Tensor) -> str | None:
        if not expected:
            expected.append(run(backend="reference"))
        worst = float((got - expected[0]).abs().max())
        return None if worst <= 1e-5 else f"losses differ by {worst:.2g}, expected at most 1e-5"

    found = {"eager": Implementation(partial(eager, x, y))} | by_backend("pair_losses", (x, y), run, margin=MARGIN)
    return Workload(found, check)


def cases(size: str) -> list[Case]:
    """Whole sets over N, the largest in the summary."""
    return [
        Case(
            name=f"whole set, N={count}, D={width}",
            op="pair_losses",
            shapes=((count, width), (count, width)),
            build=partial(build, count, width),
            usual="eager",
            size=count,
            series="whole set",
            headline=(count, width) == SETS[size][-1],
        )
        for count, width in SETS[size]
    ]
