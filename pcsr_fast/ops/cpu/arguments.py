"""How tensors reach the native core: addresses and sizes, contiguous rows, one floating type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.reference.negatives import Groups, split_groups

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}


def supports(*tensors: Tensor, **options: Any) -> str | None:
    """None where the native core is there and all tensors are on the CPU, else the reason."""
    available, reason = native.status()
    if not available:
        return reason
    device = next((value.device for value in tensors if isinstance(value, Tensor) and value.device.type != "cpu"), None)
    return None if device is None else f"tensors are on {device}"


def kernel(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """The native function `name` of the precision that inputs of `dtype` are computed in."""
    suffix = "f64" if dtype == torch.float64 else "f32"
    function: Callable[..., None] = getattr(native.load(), f"{name}_{suffix}")
    return function


def rows_in_memory(value: Tensor) -> Tensor:
    """`value` (N, D) with neighbouring columns, in a type the core reads: float16 becomes float32."""
    value = value.detach()
    if value.dtype not in TYPES:
        value = value.float()
    return value if value.stride(1) == 1 or value.shape[1] == 1 else value.contiguous()


def matrix(value: Tensor) -> tuple[int, int, int, int, int]:
    """Address, type, rows, width and stride of what `rows_in_memory` returned."""
    return value.data_ptr(), TYPES[value.dtype], value.shape[0], value.shape[1], value.stride(0)


def address(value: Tensor | None) -> int:
    """Where a contiguous tensor's values lie, 0 without one."""
    return 0 if value is None else value.data_ptr()


def group_ids(groups: Groups) -> tuple[Tensor | None, Tensor | None]:
    """Ids of both sides as contiguous int64."""
    pair = split_groups(groups)
    if pair is None:
        return None, None
    return pair[0].to(torch.int64).contiguous(), pair[1].to(torch.int64).contiguous()
