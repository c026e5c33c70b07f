"""How tensors reach the CUDA kernels: addresses and sizes, contiguous rows, an arithmetic for their type."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pcsr_fast import native_cuda
from pcsr_fast.ops.cpu.arguments import address

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# Scores of float32 by plain multiply-adds, or on tensor cores as three products of tf32 parts: errors of about 2^-21.
PLAIN, SPLIT = 0, 1
HALVES = {torch.bfloat16: 2, torch.float16: 3}
MOST_ROWS = 2**31 - 1
MOST_BYTES = 2**30  # of one row

Matrix = tuple[int, int, int, int, int]


class Sides(NamedTuple):
    """Both sides of a product as the kernels take them, how they are multiplied, and the tensors that hold them."""

    x: Matrix
    y: Matrix
    arithmetic: int
    kept: tuple[Tensor, Tensor]


def supports_values(*tensors: Tensor, **options: Any) -> str | None:
    """None where the kernels are built for the device of these tensors, else the reason. Asks no driver."""
    known, reason = native_cuda.built()
    if not known:
        return reason
    wanted = native_cuda.load().device_type
    return next((f"tensors are on {value.device}" for value in tensors if value.device.type != wanted), None)


def supports(*tensors: Tensor, **options: Any) -> str | None:
    """As `supports_values`, for embeddings (N, D)."""
    elsewhere = supports_values(*tensors, *(value for value in options.values() if isinstance(value, Tensor)))
    if elsewhere is not None:
        return elsewhere
    for value in tensors:
        if value.dtype not in TYPES:
            return f"got {value.dtype}, expected float32, bfloat16 or float16"
        if value.shape[0] > MOST_ROWS or value[0].numel() * 4 > MOST_BYTES:
            return f"got shape {tuple(value.shape)}, expected at most {MOST_ROWS} rows of {MOST_BYTES} bytes"
    return None


def rows_in_memory(value: Tensor) -> Tensor:
    """`value` (N, D) with neighbouring columns."""
    value = value.detach()
    return value if value.stride(1) == 1 or value.shape[1] == 1 else value.contiguous()


def matrix(value: Tensor, rows_of: Tensor | None = None) -> Matrix:
    """Address, rows, width and stride of what `rows_in_memory` returned; with `rows_of`, of those rows of it."""
    rows = value.shape[0] if rows_of is None else rows_of.shape[0]
    return value.data_ptr(), rows, value.shape[1], value.stride(0), address(rows_of)


def _in_chunks(value: Tensor) -> Tensor:
    """What `rows_in_memory` returned, moved where only its place keeps halves from being copied 16 bytes at a time.

    On sm_90a those are multiplied by other instructions: scores must depend on the width alone, not on the layout.
    """
    whole = value.dtype in HALVES and value.shape[1] % 8 == 0
    placed = value.data_ptr() % 16 == 0 and value.stride(0) % 8 == 0 and value.stride(0) >= value.shape[1]
    return value.clone(memory_format=torch.contiguous_format) if whole and not placed else value


def sides(x: Tensor, y: Tensor, precision: str) -> Sides:
    """x (N, D) and y (M, D) as scores of `precision` are computed from them."""
    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    kept = _in_chunks(rows_in_memory(x)), _in_chunks(rows_in_memory(y))
    arithmetic = HALVES.get(x.dtype, PLAIN if precision == "exact" else SPLIT)
    return Sides(matrix(kept[0]), matrix(kept[1]), arithmetic, kept)
