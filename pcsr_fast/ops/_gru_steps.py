"""The recurrence of a GRU over packed sequences, time step by time step, and its gradient (METHODS 2.1).

Gates lie in a row (4 h) as n's input part, r, z, n's hidden part. Either side of a matrix product is then one slice: the
input's are the first three, the hidden state's the last three.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear


class Steps(NamedTuple):
    """How many captions each time step has, the first step's first, and whether the recurrence takes the last first."""

    sizes: list[int]
    reverse: bool

    def rows(self, back: bool = False) -> Iterator[slice]:
        """Rows of each time step, in the order that the recurrence takes them, or back."""
        spans = [slice(first, last) for first, last in pairwise(accumulate(self.sizes, initial=0))]
        return iter(spans[::-1] if self.reverse != back else spans)


def gru_states(gates: Tensor, bias: Tensor, weight: Tensor, steps: Steps, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """States (T, h) before and after each step, the former in `dtype`, that of the products.

    Args:
        gates: (T, 4 h), of which the input parts are read and all are written.
        bias, weight: (3 h,) and (3 h, h), of the state.
    """
    size = weight.shape[1]
    weight = weight.to(dtype)
    before = gates.new_empty(len(gates), size, dtype=dtype)
    hidden = gates.new_empty(len(gates), size)
    state = gates.new_zeros(steps.sizes[0], size)
    for rows in steps.rows():
        here = state[: rows.stop - rows.start]
        before[rows] = here
        new, r_and_z, r, z, kept = _parts(gates[rows])
        from_hidden = linear(before[rows], weight)
        torch.sigmoid(r_and_z.add_(from_hidden[:, : 2 * size]).add_(bias[: 2 * size]), out=r_and_z)
        torch.add(from_hidden[:, 2 * size :], bias[2 * size :], out=kept)
        torch.tanh(new.addcmul_(r, kept), out=new)
        torch.lerp(new, here, z, out=hidden[rows])
        here.copy_(hidden[rows])
    return before, hidden


def gru_gradient(
    upstream: Tensor, gates: Tensor, before: Tensor, weight: Tensor, steps: Steps, dtype: torch.dtype
) -> Tensor:
    """Gradients (T, 4 h) of the gates' parts, from that of the states after each step (T, h) and what `gru_states` left."""
    size = weight.shape[1]
    weight = weight.to(dtype)
    found = torch.empty_like(gates)
    carried = gates.new_zeros(steps.sizes[0], size)
    for rows in steps.rows(back=True):
        carry = carried[: rows.stop - rows.start]
        new, _, r, z, kept = _parts(gates[rows])
        d_new, _, d_r, d_z, d_kept = _parts(found[rows])
        total = carry.add_(upstream[rows])
        torch.mul(total, before[rows].to(new.dtype) - new, out=d_z).mul_(z).mul_(1 - z)
        torch.mul(total, 1 - z, out=d_new).mul_(1 - new.square())
        torch.mul(d_new, kept, out=d_r).mul_(r).mul_(1 - r)
        torch.mul(d_new, r, out=d_kept)
        total.mul_(z).add_(found[rows, size:].to(dtype) @ weight)
    return found


def _parts(gates: Tensor) -> tuple[Tensor, ...]:
    """Views of n's input part, r and z together, r, z, n's hidden part."""
    size = gates.shape[1] // 4
    return gates[:, :size], gates[:, size : 3 * size], *(gates[:, n * size : (n + 1) * size] for n in (1, 2, 3))
