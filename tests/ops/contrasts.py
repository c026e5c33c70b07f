"""Problems of the contrastive losses, and the rule of precision for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import contrastive_loss
from pcsr_fast.reference.contrastive_terms import KINDS, contrastive_settings, tal_terms
from pcsr_fast.reference.negatives import negative_mask
from tests.ops.tools import BACKWARD, DTYPES, FORWARD, assert_as_good, make_pairs, pairs, runnable

# Large scores through a small temperature amplify their rounding without bound; `scaled` rows would test only that.
EMBEDDINGS = ("unit", "integers", "duplicates", "zeros")
# float64 truth itself: exponentials of scores over a temperature of .015 lose three digits.
DOUBLE = 1e-10


class Contrasts(NamedTuple):
    """Embeddings x, y (B, D), a kind of loss, group ids, and the temperature (None: the published one)."""

    x: Tensor
    y: Tensor
    kind: str
    groups: Tensor | None
    temperature: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the loss takes besides the embeddings and the reduction."""
        return {"kind": self.kind, "groups": self.groups, "temperature": self.temperature}

    def backends(self) -> list[str]:
        """Those that run this problem."""
        settings = contrastive_settings(self.kind, self.temperature)
        return runnable("contrastive_loss", self.x, self.y, **settings._asdict(), groups=self.groups)

    def losses(self, backend: str, **options: Any) -> Tensor:
        """Per-sample losses (B,) of the public op."""
        return contrastive_loss(self.x, self.y, **self.options | options, reduction="none", backend=backend)


def make_contrasts(seed: int, size: int, width: int, dtype: torch.dtype, kind: str) -> Contrasts:
    """Unit embeddings in small groups, drawn from `seed`."""
    made = make_pairs(seed, size, width, dtype, grouping="pairs")
    return Contrasts(made.x, made.y, kind, made.groups)


@st.composite
def contrasts(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, kinds: tuple[str, ...] = KINDS) -> Contrasts:
    """Problems of every size, dtype, kind and grouping; whole numbers with a temperature that fits them."""
    made = draw(pairs(dtypes, EMBEDDINGS))
    temperature = 4.0 if made.exact else draw(st.sampled_from((None, 0.5)))
    return Contrasts(made.x, made.y, draw(st.sampled_from(kinds)), made.groups, temperature)


def settled(problem: Contrasts) -> Tensor:
    """(B,) float64, 0 where rounding may push a sample of tal across its hinge, else 1."""
    S = problem.x.double() @ problem.y.double().T
    if problem.kind != "tal":
        return torch.ones(S.shape[0], dtype=torch.float64)
    settings = contrastive_settings("tal", problem.temperature)
    negatives = negative_mask(S, problem.groups)
    band = 1e-12 if problem.x.dtype == torch.float64 else 1e-5
    near = torch.zeros(S.shape[0], dtype=torch.bool)
    for scores, mask in ((S, negatives), (S.T, negatives.T)):
        low, high = (tal_terms(scores, mask, settings._replace(margin=settings.margin + d)) for d in (-band, band))
        near |= (low == 0) & (high > 0)
    return (~near).double()


def evaluated(
    loss: Callable[..., Tensor], problem: Contrasts, upstream: Tensor, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Losses and their gradients in x and y, with the inputs as `dtype`."""
    inputs = [value.detach().to(dtype, copy=True).requires_grad_() for value in (problem.x, problem.y)]
    losses = loss(*inputs, **problem.options, reduction="none")
    return losses, *torch.autograd.grad(losses @ upstream.to(losses.dtype), inputs)


def check_against_float64(problem: Contrasts, backends: list[str] | None = None) -> None:
    """The rule of precision for values and gradients, with an upstream that is not uniform."""
    dtype = problem.x.dtype
    upstream = torch.linspace(-1, 2, problem.x.shape[0], dtype=torch.float64) * settled(problem)
    truth = evaluated(reference.contrastive_loss, problem, upstream, torch.float64)
    theirs = evaluated(reference.contrastive_loss, problem, upstream, dtype)
    for backend in backends or problem.backends():
        ours = evaluated(lambda *xy, b=backend, **o: contrastive_loss(*xy, backend=b, **o), problem, upstream, dtype)
        assert [value.dtype for value in ours] == [value.dtype for value in theirs]
        assert_as_good(ours[0], theirs[0], truth[0], max(FORWARD[dtype], DOUBLE))
        for values in zip(ours[1:], theirs[1:], truth[1:], strict=True):
            assert_as_good(*values, max(BACKWARD[dtype], DOUBLE))
