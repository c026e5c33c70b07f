"""Gathering over all rows and all columns of S = X Y^T, by the plan's schedule, in O(N + M) memory beside a chunk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import triton

from .gather import EXCHANGED, KINDS, NUMBERS, gather_kernel, join_kernel
from .launch import Plan, Sides, Source, parts, sources
from .search import SHIFTS


class Gathered(NamedTuple):
    """What is gathered (see `gather`), with its settings. rate: 1 / tau. f: a complementary loss, q its exponent."""

    kind: str
    rate: float = 1.0
    q: float = 1.0
    f: int = 0


class Shift(NamedTuple):
    """A float32 margin added to scores: (N,) of the row, (M,) of the col, (N, M) matrix, or none."""

    kind: str = "none"
    margin: Tensor | None = None

    def of_rows(self, rows: slice) -> Shift:
        """That of some rows."""
        return self if self.margin is None or self.kind == "col" else Shift(self.kind, self.margin[rows])

    def transposed(self) -> Shift:
        """For scores with rows and columns exchanged."""
        matrix = self.margin is not None and self.margin.ndim == 2
        return Shift(EXCHANGED[self.kind], self.margin.T if matrix else self.margin)

    def operands(self, other: Tensor) -> dict[str, object]:
        """What `shifted` takes; `other` stands in for no margin."""
        strides = self.margin.stride() if self.margin is not None and self.margin.ndim == 2 else (0, 0)
        return {
            "margin": other if self.margin is None else self.margin,
            "margin_row_stride": strides[0],
            "margin_column_stride": strides[1],
            "SHIFT": SHIFTS[self.kind],
        }


def new_state(kind: str, count: int, rows: int, device: torch.device) -> Tensor:
    """State (count parts, 4, rows) before any entry."""
    state = torch.zeros(count, NUMBERS, rows, dtype=torch.float32, device=device)
    if kind in ("softmax", "weighted"):
        state[:, 0] = -torch.inf
    if kind == "softmax":
        state[:, 1] = -torch.inf
    return state


def gather_rows(
    what: Gathered,
    source: Source,
    ids: tuple[Tensor, Tensor],
    state: Tensor,
    plan: Plan,
    known: Tensor | None = None,
    shift: Shift | None = None,
    first_column: int = 0,
) -> None:
    """Add the entries of `source` (N, M) to the state (parts, 4, N) of its rows; ids (N,), (M,); known (numbers, N)."""
    N, M = ids[0].shape[0], ids[1].shape[0]
    known = state[0] if known is None else known
    part_columns = triton.cdiv(triton.cdiv(M, state.shape[0]), plan.block_n) * plan.block_n
    # No program for a part without columns, whose threads would read and write its state unordered.
    gather_kernel[(triton.cdiv(N, plan.block_m), triton.cdiv(M, part_columns))](
        row_ids=ids[0],
        column_ids=ids[1],
        known=known,
        state=state,
        N=N,
        M=M,
        known_stride=known.stride(0),
        part_stride=state.stride(0),
        number_stride=state.stride(1),
        part_columns=part_columns,
        first_column=first_column,
        rate=what.rate,
        q=what.q,
        KIND=KINDS[what.kind],
        F=what.f,
        **(shift or Shift()).operands(state),
        **source.operands,
        **plan.tile,
        **plan.launch,
    )


def join(what: Gathered, state: Tensor) -> Tensor:
    """The joined state (4, N)."""
    count, _, rows = state.shape
    if count > 1:
        strides = (state.stride(0), state.stride(1))
        join_kernel[(triton.cdiv(rows, 256),)](
            state, rows, count, *strides, what.rate, BLOCK=256, KIND=KINDS[what.kind]
        )
    return state[0]


class Sweep:
    """One gathering over both directions: feed it every block of scores, then take the states of rows and columns."""

    def __init__(self, what: Gathered, sides: Sides, plan: Plan) -> None:
        (rows, columns), device = sides.shape, sides.x.device
        block = rows if plan.schedule == "fused" else min(rows, plan.chunk)
        self.what, self.plan, self.ids = what, plan, sides.ids()
        self.rows = new_state(what.kind, parts(plan, block, columns, device), rows, device)
        self.columns = new_state(what.kind, parts(plan, columns, block, device), columns, device)

    def feed(
        self, rows: slice, source: Source, known: tuple[Tensor, Tensor] | None = None, shift: Shift | None = None
    ) -> None:
        """Add the scores of some rows; known (numbers, N) and (numbers, M) of all rows and columns."""
        row_ids, column_ids = self.ids[0][rows], self.ids[1]
        by_row, by_column = (None, None) if known is None else (known[0][:, rows], known[1])
        here = (shift or Shift()).of_rows(rows)
        gather_rows(self.what, source, (row_ids, column_ids), self.rows[:, :, rows], self.plan, by_row, here)
        ids, across = (column_ids, row_ids), source.transposed()
        gather_rows(self.what, across, ids, self.columns, self.plan, by_column, here.transposed(), rows.start)

    def result(self) -> tuple[Tensor, Tensor]:
        """States (4, N) and (4, M)."""
        return join(self.what, self.rows), join(self.what, self.columns)


def sweep(
    what: Gathered, sides: Sides, plan: Plan, known: tuple[Tensor, Tensor] | None = None, shift: Shift | None = None
) -> tuple[Tensor, Tensor]:
    """One gathering over x y^T by itself."""
    run = Sweep(what, sides, plan)
    for rows, source in sources(sides, plan):
        run.feed(rows, source, known, shift)
    return run.result()
