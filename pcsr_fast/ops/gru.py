"""A GRU over packed sequences whose weight gradients are one matrix product each, not one a time step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch, _gru_steps
from pcsr_fast.ops._gru_steps import Steps
from pcsr_fast.ops.cpu import gru as cpu

# (W_ih, W_hh, b_ih, b_hh) of one direction of one layer, rows in torch's order of gates: r, z, n.
Weights = Sequence[Tensor]

for _backend in ("torch", "reference"):
    backends.register("gru_states", _backend, _gru_steps.gru_states)
    backends.register("gru_gradient", _backend, _gru_steps.gru_gradient)
backends.register("gru_states", "cpu", cpu.gru_states, cpu.supports)
backends.register("gru_gradient", "cpu", cpu.gru_gradient, cpu.supports)


# Hidden units from which AMX's bfloat16 products, called step by step, were measured to be faster than float32 ones.
HALF_SIZE = 512


def _run(op: str, steps: Steps, dtype: torch.dtype, *tensors: Tensor) -> Any:
    """The recurrence or its gradient, by the loop where its products in `dtype` are faster than the native core's."""
    by_loop = dtype == torch.bfloat16 and tensors[-1].shape[-1] >= HALF_SIZE and cpu.has_tiles()
    return _dispatch.run(op, "torch" if by_loop else "", tensors, {}, *tensors, steps, dtype)


class _Direction(torch.autograd.Function):
    """Hidden states (T, h) of packed inputs (T, w)."""

    @staticmethod
    def forward(ctx: Any, steps: Steps, dtype: torch.dtype, values: Tensor, *weights: Tensor) -> Tensor:
        input_weight, hidden_weight, input_bias, hidden_bias = weights
        size = hidden_weight.shape[1]
        values, input_weight = values.to(dtype), torch.roll(input_weight, size, 0).to(dtype)
        gates = input_bias.new_empty(len(values), 4 * size)
        own, bias = gates[:, : 3 * size], torch.roll(input_bias, size, 0).to(dtype)
        if dtype == gates.dtype:
            torch.addmm(bias, values, input_weight.T, out=own)
        else:
            own.copy_(linear(values, input_weight, bias))
        states: tuple[Tensor, Tensor] = _run("gru_states", steps, dtype, gates, hidden_bias, hidden_weight)
        before, hidden = states
        ctx.save_for_backward(values, before, gates, input_weight, hidden_weight)
        ctx.steps = steps
        return hidden

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, before, gates, input_weight, hidden_weight = ctx.saved_tensors
        size, dtype = hidden_weight.shape[1], values.dtype
        found = _run("gru_gradient", ctx.steps, dtype, gradients[0], gates, before, hidden_weight)
        inputs, states = found[:, : 3 * size].to(dtype), found[:, size:].to(dtype)
        needed = ctx.needs_input_grad[2:]
        d_values = (inputs @ input_weight).to(gates.dtype) if needed[0] else None
        d_input = torch.roll(_weight_gradient(inputs, values), -size, 0) if needed[1] else None
        d_hidden = _weight_gradient(states, before.to(dtype)) if needed[2] else None
        biases = found.sum(0)
        return None, None, d_values, d_input, d_hidden, torch.roll(biases[: 3 * size], -size), biases[size:]


def _weight_gradient(outputs: Tensor, inputs: Tensor) -> Tensor:
    if outputs.dtype == torch.bfloat16:
        # oneDNN is twice as fast in bfloat16 where no operand is read transposed.
        return (inputs.T.contiguous() @ outputs.contiguous()).T
    return (inputs.T @ outputs).T


def bidirectional_gru(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """Mean (T, h) of both directions' hidden states of a packed sequence of T vectors: what `gru(packed)` gives, averaged.

    On a CPU it is computed here: torch takes longer, above all for the weight gradient, to which it adds in every step.
    Under autocast matrix products are of its numbers, those of the recurrence too where that is faster, and all else is
    float32. Differentiable once.

    Args:
        gru: bidirectional, with biases, without dropout between its layers; its weights are used, of any depth.
    """
    if packed.data.device.type != "cpu":
        return _mean(*gru(packed)[0].data.chunk(2, dim=1))
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else packed.data.dtype
    both = [Steps(packed.batch_sizes.tolist(), reverse) for reverse in (False, True)]
    found = [packed.data]
    with torch.autocast("cpu", enabled=False):
        for weights in zip(gru.all_weights[0::2], gru.all_weights[1::2], strict=True):
            values = torch.cat(found, dim=1)
            found = [_hidden(steps, dtype, values, own) for steps, own in zip(both, weights, strict=True)]
    return _mean(*found)


def _hidden(steps: Steps, dtype: torch.dtype, values: Tensor, weights: Weights) -> Tensor:
    hidden: Tensor = _Direction.apply(steps, dtype, values, *weights)  # type: ignore[no-untyped-call]
    return hidden


def _mean(forward: Tensor, backward: Tensor) -> Tensor:
    return (forward + backward) / 2
