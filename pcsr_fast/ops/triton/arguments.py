"""Whether Triton can run some tensors, and how they reach its kernels; nothing here imports triton before that."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from pcsr_fast.reference.negatives import Groups, split_groups

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.launch import Sides

Result = TypeVar("Result")
OLDEST = (3, 6)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
IDS = (torch.int32, torch.int64)


@functools.cache
def _why_unavailable() -> str | None:
    try:
        version = str(importlib.import_module("triton").__version__)
    except ImportError as error:
        return f"triton cannot be imported: {error}"
    major, minor = (int(part) for part in version.split(".")[:2])
    return (
        None if (major, minor) >= OLDEST else f"triton {version} is too old, expected at least {OLDEST[0]}.{OLDEST[1]}"
    )


def interpreted() -> bool:
    """Whether TRITON_INTERPRET lets kernels run on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on", "y")


def supports(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = DTYPES, **options: Any) -> str | None:
    """None where Triton is there and has kernels for the device and dtype of the tensors, else the reason."""
    given = [value for value in tensors if isinstance(value, Tensor)]
    device = "cpu" if interpreted() else "cuda"
    elsewhere = next((value.device for value in given if value.device.type != device), None)
    if elsewhere is not None:
        return f"tensors are on {elsewhere}"
    other = next((value.dtype for value in given if value.dtype not in dtypes), None)
    if other is not None:
        return f"no kernel for {str(other).removeprefix('torch.')}"
    return _why_unavailable() or (None if device == "cpu" else _why_too_old(given[0].device))


def _why_too_old(device: torch.device) -> str | None:
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0):
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return f"compute capability {major}.{minor} of {device}, expected at least 8.0"


def on_device(run: Callable[..., Result]) -> Callable[..., Result]:
    """`run` with the device of its first tensor current, where Triton launches."""

    @functools.wraps(run)
    def guarded(*args: Any, **options: Any) -> Result:
        first = next(value for value in args if isinstance(value, Tensor))
        with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
            return run(*args, **options)

    return guarded


def rows_in_memory(value: Tensor) -> Tensor:
    """`value` (N, D) with neighbouring columns."""
    value = value.detach()
    return value if value.stride(1) == 1 or value.shape[1] == 1 else value.contiguous()


def _ids(groups: Groups) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Ids of both sides, of one integer type."""
    pair = split_groups(groups)
    if pair is None:
        return None, None
    same = pair[0].dtype == pair[1].dtype and pair[0].dtype in IDS
    rows, columns = (side.to(pair[0].dtype if same else torch.int64).contiguous() for side in pair)
    return rows, columns


def sides(x: Tensor, y: Tensor, groups: Groups) -> Sides:
    """The problem of embeddings x (N, D), y (M, D) as kernels take it."""
    from pcsr_fast.kernels.triton.launch import Sides

    return Sides(rows_in_memory(x), rows_in_memory(y), *_ids(groups))


def score_sides(S: Tensor, groups: Groups) -> Sides:
    """The problem of ready-made scores S (N, M)."""
    from pcsr_fast.kernels.triton.launch import Sides

    return Sides(S.detach(), None, *_ids(groups))
