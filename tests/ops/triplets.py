"""Problems of the triplet losses, and which of their samples rounding cannot push across a hinge or to another negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import triplet_loss
from pcsr_fast.reference.hinge import MARGIN_MODES, margin_matrices
from pcsr_fast.reference.negatives import negative_mask
from tests.ops.tools import BACKWARD, DTYPES, FORWARD, KINDS, Pairs, assert_as_good, make_pairs, pairs, runnable, source

NEGATIVES = ("hardest", "mean", "sum", "topk:3")


class Triplets(NamedTuple):
    """Embeddings x, y (B, D), a margin of the mode's shape, group ids; whether every sum and product is exact."""

    x: Tensor
    y: Tensor
    margin: Tensor
    margin_mode: str
    negatives: str
    groups: Tensor | None
    exact: bool

    @property
    def options(self) -> dict[str, Any]:
        """What the loss takes besides the embeddings and the reduction."""
        return {name: getattr(self, name) for name in ("margin", "margin_mode", "negatives", "groups")}

    @property
    def exact_losses(self) -> bool:
        """Whether the losses are exact too: 1/B and 1/k need not be."""
        return self.exact and self.negatives in ("hardest", "sum")

    def backends(self) -> list[str]:
        """Those that run this problem."""
        return runnable("triplet_loss", self.x, self.y, **self.options)

    def losses(self, backend: str, **options: Any) -> Tensor:
        """Per-sample losses (B,) of the public op."""
        return triplet_loss(self.x, self.y, **self.options, reduction="none", backend=backend, **options)


def with_margin(made: Pairs, mode: str, negatives: str, seed: int = 0) -> Triplets:
    """The pairs with margins in [0, 0.5), or quarters of whole numbers where everything is to stay exact."""
    size, generator = made.x.shape[0], torch.Generator().manual_seed(seed)
    shape = {"scalar": (), "matrix": (size, size)}.get(mode, (size,))
    margin = 0.5 * torch.rand(shape, dtype=torch.float64, **source(generator))
    if made.exact:
        margin = torch.randint(0, 5, shape, **source(generator)) / 4
    return Triplets(made.x, made.y, margin.to(made.x.dtype), mode, negatives, made.groups, made.exact)


def make_triplets(seed: int, size: int, width: int, dtype: torch.dtype, mode: str, negatives: str) -> Triplets:
    """Unit embeddings in small groups, drawn from `seed`."""
    return with_margin(make_pairs(seed, size, width, dtype, grouping="pairs"), mode, negatives, seed)


@st.composite
def triplets(
    draw: st.DrawFn,
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    kinds: tuple[str, ...] = KINDS,
    negatives: tuple[str, ...] = NEGATIVES,
) -> Triplets:
    """Problems of every size, dtype, kind, grouping, margin mode and choice of negatives."""
    made = draw(pairs(dtypes, kinds))
    return with_margin(made, draw(st.sampled_from(MARGIN_MODES)), draw(st.sampled_from(negatives)))


def _is_settled(raw: Tensor, negatives: str, band: float) -> Tensor:
    """(B,) for hinges before they are cut at 0, rows as anchors: none near 0, no other choice near the chosen ones."""
    if negatives in ("mean", "sum"):
        return (raw.abs() > band).all(1)
    size, count = raw.shape[1], 1 if negatives == "hardest" else int(negatives.partition(":")[2])
    top = raw.topk(min(count + 1, size)).values
    last = top[:, min(count, size) - 1]
    rival = top[:, count] if size > count else torch.full_like(last, -torch.inf)
    return (top.abs() > band).all(1) & ((last < -band) | (last - rival > band))


def settled(problem: Triplets) -> Tensor:
    """(B,) float64, 1 where rounding in the compute dtype cannot change which hinges of the sample count, else 0.

    The others are left out of gradients: a flip inside the band is as right as none.
    """
    x, y, margin = problem.x.double(), problem.y.double(), problem.margin.double()
    if problem.exact:
        return torch.ones(x.shape[0], dtype=torch.float64)
    S = x @ y.T
    masked, own = ~negative_mask(S, problem.groups), S.diagonal()
    by_row, by_column = margin_matrices(margin, problem.margin_mode, S)
    rows = (by_row + S - own[:, None]).masked_fill(masked, -torch.inf)
    columns = (by_column + S - own[None, :]).masked_fill(masked, -torch.inf).T
    band = (1e-13 if problem.x.dtype == torch.float64 else 1e-5) * max(1.0, float(S.abs().max()))
    return (_is_settled(rows, problem.negatives, band) & _is_settled(columns, problem.negatives, band)).double()


def evaluated(
    loss: Callable[..., Tensor], problem: Triplets, upstream: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Losses and their gradients in x, y and margin, with the inputs as `dtype`."""
    inputs = [value.detach().to(dtype, copy=True).requires_grad_() for value in (problem.x, problem.y, problem.margin)]
    options = problem.options | {"margin": inputs[2], "reduction": "none"}
    losses = loss(*inputs[:2], **options)
    return losses, *torch.autograd.grad(losses @ upstream.to(losses.dtype), inputs)


def check_against_float64(problem: Triplets) -> None:
    """The rule of precision for values and gradients of every backend, with an upstream that is not uniform."""
    dtype = problem.x.dtype
    upstream = torch.linspace(-1, 2, problem.x.shape[0], dtype=torch.float64) * settled(problem)
    truth = evaluated(reference.triplet_loss, problem, upstream, torch.float64)
    theirs = evaluated(reference.triplet_loss, problem, upstream, dtype)
    for backend in problem.backends():
        ours = evaluated(lambda *xy, b=backend, **o: triplet_loss(*xy, backend=b, **o), problem, upstream, dtype)
        assert [value.dtype for value in ours] == [value.dtype for value in theirs]
        assert_as_good(ours[0], theirs[0], truth[0], FORWARD[dtype])
        for values in zip(ours[1:], theirs[1:], truth[1:], strict=True):
            assert_as_good(*values, BACKWARD[dtype])
