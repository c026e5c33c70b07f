"""How kernels are launched: the two sides of a problem, a plan from the committed table, chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

import triton


class Plan(NamedTuple):
    """Schedule and tile of a launch.

    schedule: "fused" computes scores tile by tile, "chunked" reads `chunk` rows of them from a product of cuBLAS.
    group: rows of tiles walked together. waves: programs per multiprocessor. precision: of tl.dot for float32 inputs.
    """

    schedule: str
    block_m: int
    block_n: int
    block_k: int
    group: int = 8
    warps: int = 8
    stages: int = 3
    waves: int = 1
    chunk: int = 4096
    precision: str = "ieee"

    @property
    def tile(self) -> dict[str, Any]:
        """Constants every kernel over tiles takes."""
        sizes = {"BLOCK_M": self.block_m, "BLOCK_N": self.block_n, "BLOCK_K": self.block_k}
        return sizes | {"PRECISION": self.precision}

    @property
    def launch(self) -> dict[str, int]:
        """Options of the compiler."""
        return {"num_warps": self.warps, "num_stages": self.stages}


class Sides(NamedTuple):
    """x (N, D) and y (M, D) of one dtype with neighbouring columns, and integer ids (N,), (M,) of one dtype.

    Without ids an entry is its own row's and column's alone, which needs N = M. Without y, x is ready-made scores (N, M)
    of any strides.
    """

    x: Tensor
    y: Tensor | None
    row_ids: Tensor | None
    column_ids: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """N and M."""
        return self.x.shape[0], self.x.shape[1] if self.y is None else self.y.shape[0]

    def ids(self) -> tuple[Tensor, Tensor]:
        """The ids, made up where there are none."""
        if self.row_ids is None or self.column_ids is None:
            numbers = torch.arange(self.x.shape[0], dtype=torch.int32, device=self.x.device)
            return numbers, numbers
        return self.row_ids, self.column_ids

    def ids_of(self, rows: slice) -> tuple[Tensor, Tensor] | None:
        """The ids of some rows and of all columns, if there are any."""
        if self.row_ids is None or self.column_ids is None:
            return None
        return self.row_ids[rows], self.column_ids


class Source(NamedTuple):
    """Where scores (rows, columns) come from: the product x y^T, or x itself where there is no y."""

    x: Tensor
    y: Tensor | None

    def transposed(self) -> Source:
        """The same scores with rows and columns exchanged."""
        return Source(self.x.T, None) if self.y is None else Source(self.y, self.x)

    @property
    def operands(self) -> dict[str, Any]:
        """What `tile_of_scores` takes, besides tile and precision."""
        y = self.x if self.y is None else self.y
        strides = {"x_stride": self.x.stride(0), "y_stride": y.stride(0 if self.y is not None else 1)}
        wide = interpreting() and self.x.dtype == torch.bfloat16 and self.y is not None
        return {"x": self.x, "y": y, "D": self.x.shape[1], **strides, "WIDE": wide, "LOADED": self.y is None}


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, on tensors of the CPU."""
    return bool(triton.knobs.runtime.interpret)


def sources(sides: Sides, plan: Plan) -> Iterator[tuple[slice, Source]]:
    """The scores of all rows at once when fused or there, else products of `plan.chunk` rows at a time."""
    rows = sides.x.shape[0]
    if sides.y is None or plan.schedule == "fused":
        yield slice(0, rows), Source(sides.x, sides.y)
        return
    for first in range(0, rows, plan.chunk):
        block = slice(first, min(first + plan.chunk, rows))
        yield block, Source(product(sides.x[block], sides.y), None)


def product(x: Tensor, y: Tensor) -> Tensor:
    """x y^T (rows, M) in float32 by the vendor's library; half-precision inputs go through tensor cores."""
    if x.dtype == torch.float32:
        return x @ y.T
    if x.device.type == "cpu":
        return x.float() @ y.T.float()
    return torch.mm(x, y.T, out_dtype=torch.float32)


def multiprocessors(device: torch.device) -> int:
    """Of the device; a few in the interpreter, so that its programs have several tiles each."""
    if device.type == "cpu":
        return 3
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def programs(plan: Plan, rows: int, columns: int, device: torch.device) -> int:
    """How many programs share the tiles of a matrix."""
    tiles = triton.cdiv(rows, plan.block_m) * triton.cdiv(columns, plan.block_n)
    return min(tiles, plan.waves * multiprocessors(device))


def parts(plan: Plan, rows: int, columns: int, device: torch.device) -> int:
    """Into how many the columns of each strip of rows are cut, so that every multiprocessor has work."""
    wanted = triton.cdiv(plan.waves * multiprocessors(device), triton.cdiv(rows, plan.block_m))
    return min(wanted, triton.cdiv(columns, plan.block_n))
