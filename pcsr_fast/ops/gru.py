"""A GRU over packed sequences whose weight gradients are one matrix product each, not one a time step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

# (W_ih, W_hh, b_ih, b_hh) of one direction of one layer, rows in torch's order of gates: r, z, n.
Weights = Sequence[Tensor]


def _steps(batch_sizes: Sequence[int], reverse: bool) -> Iterator[slice]:
    """Rows of each time step, in the order that the direction takes them."""
    spans = [slice(first, last) for first, last in pairwise(accumulate(batch_sizes, initial=0))]
    return iter(spans[::-1] if reverse else spans)


class _Direction(torch.autograd.Function):
    """Hidden states (T, h) of packed inputs (T, w); gates lie in a row as n's input part, r, z, n's hidden part.

    Either side of a matrix product is then one slice: the input's are the first three, the hidden state's the last three.
    """

    @staticmethod
    def forward(
        ctx: Any, batch_sizes: Sequence[int], reverse: bool, dtype: torch.dtype, values: Tensor, *weights: Tensor
    ) -> Tensor:
        input_weight, hidden_weight, input_bias, hidden_bias = weights
        size = hidden_weight.shape[1]
        values, hidden_weight = values.to(dtype), hidden_weight.to(dtype)
        input_weight = torch.roll(input_weight, size, 0).to(dtype)
        gates = input_bias.new_empty(len(values), 4 * size)
        gates[:, : 3 * size] = linear(values, input_weight, torch.roll(input_bias, size, 0).to(dtype))
        before = values.new_empty(len(values), size)
        hidden = gates.new_empty(len(values), size)
        state = gates.new_zeros(batch_sizes[0], size)
        for rows in _steps(batch_sizes, reverse):
            here = state[: rows.stop - rows.start]
            before[rows] = here
            new, r_and_z, r, z, kept = _parts(gates[rows])
            from_hidden = linear(before[rows], hidden_weight)
            torch.sigmoid(r_and_z.add_(from_hidden[:, : 2 * size]).add_(hidden_bias[: 2 * size]), out=r_and_z)
            torch.add(from_hidden[:, 2 * size :], hidden_bias[2 * size :], out=kept)
            torch.tanh(new.addcmul_(r, kept), out=new)
            torch.lerp(new, here, z, out=hidden[rows])
            here.copy_(hidden[rows])
        ctx.save_for_backward(values, before, gates, input_weight, hidden_weight)
        ctx.steps = (batch_sizes, reverse)
        return hidden

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, before, gates, input_weight, hidden_weight = ctx.saved_tensors
        batch_sizes, reverse = ctx.steps
        size, dtype = hidden_weight.shape[1], values.dtype
        found = torch.empty_like(gates)
        carried = gates.new_zeros(batch_sizes[0], size)
        for rows in _steps(batch_sizes, not reverse):
            carry = carried[: rows.stop - rows.start]
            new, _, r, z, kept = _parts(gates[rows])
            d_new, _, d_r, d_z, d_kept = _parts(found[rows])
            upstream = carry.add_(gradients[0][rows])
            torch.mul(upstream, before[rows].to(new.dtype) - new, out=d_z).mul_(z).mul_(1 - z)
            torch.mul(upstream, 1 - z, out=d_new).mul_(1 - new.square())
            torch.mul(d_new, kept, out=d_r).mul_(r).mul_(1 - r)
            torch.mul(d_new, r, out=d_kept)
            upstream.mul_(z).add_(found[rows, size:].to(dtype) @ hidden_weight)
        inputs, states = found[:, : 3 * size].to(dtype), found[:, size:].to(dtype)
        needed = ctx.needs_input_grad[3:]
        d_values = (inputs @ input_weight).to(gates.dtype) if needed[0] else None
        d_input = torch.roll(_weight_gradient(inputs, values), -size, 0) if needed[1] else None
        d_hidden = _weight_gradient(states, before) if needed[2] else None
        biases = found.sum(0)
        return None, None, None, d_values, d_input, d_hidden, torch.roll(biases[: 3 * size], -size), biases[size:]


def _weight_gradient(outputs: Tensor, inputs: Tensor) -> Tensor:
    # oneDNN is twice as fast in bfloat16 where no operand is read transposed.
    return (inputs.T.contiguous() @ outputs.contiguous()).T


def _parts(gates: Tensor) -> tuple[Tensor, ...]:
    """Views of n's input part, r and z together, r, z, n's hidden part."""
    size = gates.shape[1] // 4
    return gates[:, :size], gates[:, size : 3 * size], *(gates[:, n * size : (n + 1) * size] for n in (1, 2, 3))


def bidirectional_gru(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """Mean (T, h) of both directions' hidden states of a packed sequence of T vectors: what `gru(packed)` gives, averaged.

    On a CPU its gradient is computed here: torch's adds to the weight gradient in every time step, which takes longer.
    Under autocast matrix products are of its numbers and the recurrence float32. Differentiable once.

    Args:
        gru: bidirectional, with biases, without dropout between its layers; its weights are used, of any depth.
    """
    if packed.data.device.type != "cpu" or not torch.is_grad_enabled():
        return _mean(gru(packed)[0].data)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else packed.data.dtype
    values, sizes = packed.data, packed.batch_sizes.tolist()
    with torch.autocast("cpu", enabled=False):
        for first, second in zip(gru.all_weights[0::2], gru.all_weights[1::2], strict=True):
            both = ((first, False), (second, True))
            values = torch.cat([_run(sizes, back, dtype, values, weights) for weights, back in both], dim=1)
    return _mean(values)


def _run(sizes: list[int], reverse: bool, dtype: torch.dtype, values: Tensor, weights: Weights) -> Tensor:
    hidden: Tensor = _Direction.apply(sizes, reverse, dtype, values, *weights)  # type: ignore[no-untyped-call]
    return hidden


def _mean(hidden: Tensor) -> Tensor:
    forward, backward = hidden.chunk(2, dim=1)
    return (forward + backward) / 2
