"""The recurrence of a GRU on the native core, in float32 (METHODS 2.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import native
from pcsr_fast.ops._gru_steps import Steps
from pcsr_fast.ops.cpu import arguments
from pcsr_fast.ops.cpu.arguments import address, matrix, rows_in_memory


def supports(*tensors: Tensor, **options: Any) -> str | None:
    """None where the native core runs the recurrence of these tensors, else the reason."""
    other = next((value.dtype for value in tensors if value.dtype != torch.float32), None)
    wrong = None if other is None else f"it computes in float32, the tensors are {str(other).removeprefix('torch.')}"
    return arguments.supports(*tensors, **options) or wrong


def has_tiles() -> bool:
    """Whether this machine, as the core uses it, has AMX."""
    return native.status()[0] and native.isa() == "amx"


def gru_states(gates: Tensor, bias: Tensor, weight: Tensor, steps: Steps, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """As the loop, in float32 whatever the `dtype`. Results do not depend on the number of threads."""
    weight, bias = rows_in_memory(weight), bias.detach().contiguous()
    before, hidden = (gates.new_empty(len(gates), weight.shape[1]) for _ in range(2))
    tensors = (address(value) for value in (bias, gates, before, hidden))
    native.load().gru_forward_f32((*steps, matrix(weight)), *tensors)
    return before, hidden


def gru_gradient(
    upstream: Tensor, gates: Tensor, before: Tensor, weight: Tensor, steps: Steps, dtype: torch.dtype
) -> Tensor:
    """As the loop, in float32 whatever the `dtype`."""
    found = torch.empty_like(gates)
    upstream, weight = rows_in_memory(upstream), rows_in_memory(weight)
    tensors = (address(value) for value in (gates, before, found))
    native.load().gru_backward_f32((*steps, matrix(weight)), matrix(upstream), *tensors)
    return found
