"""What a triplet loss of the hardest negatives costs beside its kernels, forward and backward: torch's launches, memory.

Without a GPU: the kernels are not run, and what torch does on a CPU it does on a GPU too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.prediction.loop import LaunchCounter
from pcsr_fast.ops import triplet_loss

OPS = 2  # the loss and its gradient, which stand among torch's calls


def launches_of_torch(forward: Callable[..., Any], backward: Callable[..., Any], backend: str) -> int:
    """Calls of torch around the ops of a backend and in them; `forward` and `backward` are the ops themselves."""
    x, y = (torch.randn(70, 64, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    margin, upstream = torch.tensor(0.2), torch.ones(70)
    with LaunchCounter() as around:
        triplet_loss(x, y, margin=0.2, backend=backend).backward()
    with LaunchCounter() as inside, torch.no_grad():
        parts = forward(x, y, margin, "scalar", "hardest", None, "auto")
    indices = [index.clamp(min=0) for index in parts[2:4]]
    with LaunchCounter() as gradient, torch.no_grad():
        backward(upstream, upstream, x, y, *indices)
    return around.count - OPS + inside.count + gradient.count


PAIRS = 65_536
SORT_BYTES = 4 + 8 + 8  # a key: a second copy of keys and of indices, and the indices before, as torch sorts on a GPU


def extra_bytes(backend: str) -> int:
    """At the peak of a step over 65,536 pairs, beside the pairs, their losses and their gradients."""
    x, y = (torch.zeros(PAIRS, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        losses = triplet_loss(x, y, margin=0.2, reduction="none", backend=backend)
        kept = losses.detach(), *torch.autograd.grad(losses.sum(), (x, y))
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).cumsum(0)
    assert held.max() > sum(value.nbytes for value in kept)
    return int(held.max()) - sum(value.nbytes for value in kept) + SORT_BYTES * PAIRS
