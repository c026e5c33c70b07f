"""Hardest negatives with the gradient through them, and retrieval ranks by Triton (KERNELS 1, K1 and K5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pcsr_fast.ops.triton.arguments import on_device, rows_in_memory, score_sides, sides
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups
from pcsr_fast.reference.ranks import RetrievalRanks

if TYPE_CHECKING:
    from pcsr_fast.kernels.triton.launch import Plan, Sides


def search(
    both: Sides, plan: Plan, margin: Tensor | None = None, shift: str = "none", own: Tensor | None = None
) -> HardestNegatives:
    """Largest negative of each row and column after a float32 margin is added; own (N,) takes the scores of pairs."""
    from pcsr_fast.kernels.triton.search import hardest

    rows, columns = hardest(both, plan, margin, shift, own)
    return HardestNegatives(*rows, *columns)


def work_of(both: Sides) -> str:
    """What the launch table calls a search without margins."""
    return "search" if both.row_ids is None else "grouped search"


@on_device
def hardest_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    """As the reference, in O(N + M) memory."""
    from pcsr_fast.kernels.triton.launch_table import plan_for

    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    both = sides(x, y, groups)
    return search(both, plan_for(work_of(both), x.dtype, x.device, precision != "auto"))


@on_device
def retrieval_ranks(x: Tensor, y: Tensor, image_of_text: Tensor, ties: str, precision: str) -> RetrievalRanks:
    """As the reference, in O(N + M) memory beside a chunk of scores where the plan reads them."""
    from pcsr_fast.kernels.triton.launch_table import plan_for
    from pcsr_fast.kernels.triton.ranks import retrieval_ranks

    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    plan = plan_for("ranks", x.dtype, x.device, exact=precision != "auto")
    return RetrievalRanks(*retrieval_ranks(sides(x, y, None), image_of_text.contiguous(), ties, plan))


@on_device
def retrieval_ranks_from_scores(S: Tensor, image_of_text: Tensor, ties: str) -> RetrievalRanks:
    """As the reference, in O(N + M) memory beside S."""
    from pcsr_fast.kernels.triton.launch_table import reading_plan
    from pcsr_fast.kernels.triton.ranks import retrieval_ranks

    return RetrievalRanks(
        *retrieval_ranks(score_sides(S, None), image_of_text.contiguous(), ties, reading_plan(S.device))
    )


@on_device
def hardest_gradient(
    by_row: Tensor, by_column: Tensor, x: Tensor, y: Tensor, row_index: Tensor, column_index: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (B, D) of the hardest-negative loss from the upstream gradients (B,) of its active hinges."""
    from pcsr_fast.kernels.triton.scatter import hardest_gradients

    upstream = [part.float().contiguous() for part in (by_row, by_column)]
    indices = [side.int().contiguous() for side in (row_index, column_index)]
    dx, dy = hardest_gradients(*upstream, rows_in_memory(x), rows_in_memory(y), *indices)
    return dx, dy
