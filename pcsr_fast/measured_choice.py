"""Which backend was measured to be the fastest for a tensor on a GPU, where somebody has run `python -m benchmarks tune`."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def measured_best(op: str, args: tuple[Any, ...]) -> str | None:
    """Name of the backend, None for tensors elsewhere and for GPUs that were not measured."""
    first = next((value for value in args if isinstance(value, Tensor)), None)
    if first is None or not first.is_cuda:
        return None
    from pcsr_fast.kernels.triton.tuned import BACKENDS, measured

    best: str | None = measured(first.device, BACKENDS, op, str(first.dtype).removeprefix("torch."))
    return best
