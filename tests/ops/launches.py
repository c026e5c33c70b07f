"""How many kernels a triplet loss of the hardest negatives launches, forward and backward, in the library and in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

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
