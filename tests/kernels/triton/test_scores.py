"""Losses, gradients and ranks of ready-made scores against float64: dtypes, strides, margins, memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pcsr_fast import ops, reference
from pcsr_fast.ops.triton.arguments import DTYPES
from pcsr_fast.reference.contrastive_terms import KINDS
from pcsr_fast.reference.hinge import MARGIN_MODES
from pcsr_fast.reference.ranks import TIES
from tests.ops.tools import BACKWARD, assert_as_good, group_ids, inside, transposed
from tests.tools.triton_sanitizer import sanitized

SIZE = 70
GROUPS = group_ids("pairs", SIZE, torch.Generator().manual_seed(1))


def scores_of(dtype: torch.dtype = torch.float32) -> Tensor:
    """Quarters of whole numbers, exact in every type, with ties."""
    return (torch.randint(-8, 9, (SIZE, SIZE)) / 4).to(dtype)


def evaluated(loss: Callable[..., Tensor], S: Tensor, margin: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """Losses (B,) and their gradients in S and the margin, in float64."""
    inputs = [S.detach().clone().requires_grad_(), margin.clone().requires_grad_()]
    losses = loss(inputs[0], margin=inputs[1], **options, reduction="none")
    weights = torch.linspace(-1, 2, SIZE).to(losses.dtype)
    return tuple(value.double() for value in (losses, *torch.autograd.grad(losses @ weights, inputs)))


SHORT = [
    *(("hardest", mode, torch.float32) for mode in MARGIN_MODES),
    *(("sum", "anchor", dtype) for dtype in DTYPES),
    *(("hardest", "col", dtype) for dtype in DTYPES[1:]),
]
CASES = [
    pytest.param(*case, marks=() if case in SHORT else pytest.mark.kernels)
    for case in itertools.product(("hardest", "mean", "sum"), MARGIN_MODES, DTYPES)
]


@pytest.mark.parametrize(("negatives", "mode", "dtype"), CASES)
def test_triplet_losses_follow_float64(negatives: str, mode: str, dtype: torch.dtype) -> None:
    """Margins in odd eighths, which no hinge is at."""
    S = scores_of(dtype)
    shape = {"scalar": (), "matrix": (SIZE, SIZE)}.get(mode, (SIZE,))
    margin = (torch.randint(0, 4, shape) * 2 + 1) / 8
    options = {"margin_mode": mode, "negatives": negatives, "groups": GROUPS}
    ours, theirs = (
        evaluated(loss, S, margin.to(dtype), **options)
        for loss in (ops.triplet_loss_from_scores, reference.triplet_loss_from_scores)
    )
    truth = evaluated(reference.triplet_loss_from_scores, S.double(), margin.double(), **options)
    for values in zip(ours, theirs, truth, strict=True):
        assert_as_good(*values, BACKWARD[dtype])


@pytest.mark.kernels
@pytest.mark.parametrize("kind", KINDS)
def test_contrastive_losses_follow_float64(kind: str) -> None:
    S = scores_of()
    options = {"kind": kind, "temperature": 0.5, "groups": GROUPS, "reduction": "none"}
    ours = ops.contrastive_loss_from_scores(S, **options)
    truth = reference.contrastive_loss_from_scores(S.double(), **options)
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ties", TIES)
def test_ranks_are_the_references(ties: str) -> None:
    S, image_of_text = scores_of()[:, :63], torch.randint(0, SIZE, (63,))
    ours = ops.retrieval_ranks_from_scores(S, image_of_text, ties)
    truth = reference.retrieval_ranks_from_scores(S, image_of_text, ties)
    assert torch.equal(ours.i2t, truth.i2t)
    assert torch.equal(ours.t2i, truth.t2i)


@pytest.mark.parametrize("layout", [inside, transposed])
@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_strides_and_memory(layout: Callable[[Tensor], Tensor], negatives: str) -> None:
    """The scores stay as they are, the margins are respected, and a view gives what its copy gives."""
    plain, margin = scores_of(), torch.rand(SIZE, SIZE)
    laid, options = layout(plain), {"margin": margin, "margin_mode": "matrix", "negatives": negatives}
    with sanitized() as faults:
        losses = ops.triplet_loss_from_scores(laid.requires_grad_(), **options, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), laid)
        ops.contrastive_loss_from_scores(laid.detach(), kind="ccl_log")
        ops.retrieval_ranks_from_scores(laid.detach(), torch.arange(SIZE))
    assert not faults
    assert torch.equal(laid, plain)
    again = plain.clone().requires_grad_()
    others = ops.triplet_loss_from_scores(again, **options, reduction="none")
    assert torch.equal(losses, others)
    assert torch.equal(gradient, torch.autograd.grad(others.sum(), again)[0])
