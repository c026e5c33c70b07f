"""Packed sequences, torch's own GRU as the truth, and how far ours is from it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from pcsr_fast.ops.gru import bidirectional_gru


def problem(seed: int, lengths: list[int], width: int, size: int, layers: int) -> tuple[nn.GRU, PackedSequence]:
    """A GRU and a packed sequence in float64 that asks for its gradient."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        gru = nn.GRU(width, size, layers, batch_first=True, bidirectional=True).double()
        values = torch.randn(len(lengths), max(lengths), width, dtype=torch.float64)
    packed = pack_padded_sequence(values, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    return gru, packed._replace(data=packed.data.requires_grad_())


def mean_of_directions(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """What torch gives."""
    return torch.stack(gru(packed)[0].data.chunk(2, dim=1)).mean(0)


def gradients(found: Tensor, upstream: Tensor, gru: nn.GRU, packed: PackedSequence) -> tuple[Tensor, ...]:
    """Of the input and all weights."""
    return torch.autograd.grad((found * upstream).sum(), [packed.data, *gru.parameters()])


def to_float(gru: nn.GRU, packed: PackedSequence) -> tuple[nn.GRU, PackedSequence]:
    """The same in float32."""
    return copy.deepcopy(gru).float(), packed._replace(data=packed.data.detach().float().requires_grad_())


def single_precision_errors(gru: nn.GRU, packed: PackedSequence) -> Iterator[tuple[float, float, float]]:
    """Of the states and of each gradient at a random upstream: our largest error in float32, torch's, the tolerance."""
    truth = mean_of_directions(gru, packed)
    upstream = torch.randn(truth.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    single = to_float(gru, packed)
    results = [(truth, *gradients(truth, upstream, gru, packed))]
    for run in (bidirectional_gru, mean_of_directions):
        found = run(*single)
        results.append((found, *gradients(found, upstream.float(), *single)))
    for true, ours, theirs in zip(*results, strict=True):
        largest = float(true.detach().abs().max())
        errors = (float((found.detach() - true.detach()).abs().max()) for found in (ours, theirs))
        yield (*errors, 1e-6 * (1 + largest))  # type: ignore[misc]
