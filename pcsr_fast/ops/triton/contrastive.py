"""Contrastive losses by Triton (METHODS 7, 8)."""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, score_sides, sides, supports
from pcsr_fast.reference.contrastive_terms import ContrastiveSettings

# How many numbers a pair `contrastive_loss` leaves for the gradient.
STATISTICS_ROWS = 12


@on_device
def contrastive_loss(
    x: Tensor, y: Tensor, settings: ContrastiveSettings, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Per-sample losses (B,) of x, y (B, D), and statistics for the gradient, in O(B) memory beside a chunk."""
    from pcsr_fast.kernels.triton.contrastive import contrastive_losses
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.softmax import Loss

    plan = plan_for("sums", x.dtype, x.device, exact=False)
    losses, statistics = contrastive_losses(sides(x, y, groups), Loss(*settings), plan)
    return losses, statistics


@on_device
def contrastive_loss_from_scores(S: Tensor, settings: ContrastiveSettings, groups: Tensor | None) -> Tensor:
    """Per-sample losses (B,) of ready-made scores, in O(B) memory beside them."""
    from pcsr_fast.kernels.triton.contrastive import contrastive_losses
    from pcsr_fast.kernels.triton.launch_table import reading_plan
    from pcsr_fast.kernels.triton.softmax import Loss

    losses: Tensor = contrastive_losses(score_sides(S, groups), Loss(*settings), reading_plan(S.device))[0]
    return losses


@on_device
def contrastive_gradient(
    upstream: Tensor, x: Tensor, y: Tensor, statistics: Tensor, settings: ContrastiveSettings, groups: Tensor | None
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) in float32, from dL/dloss (B,)."""
    from pcsr_fast.kernels.triton.contrastive import contrastive_gradients
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.softmax import Loss

    plan = plan_for("sums", x.dtype, x.device, exact=False)
    known = (sides(x, y, groups), statistics.contiguous(), Loss(*settings))
    dx, dy = contrastive_gradients(upstream, *known, plan)
    return dx, dy


def supports_gradient(*tensors: Tensor, statistics: Tensor) -> str | None:
    """As `supports`; only after this backend's own forward pass."""
    return supports(*tensors) or (None if statistics.shape[0] else "another backend ran the forward pass")
