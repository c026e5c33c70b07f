"""Losses and labels of DECL, CREAM, CRCL and BiCro against their definitions (METHODS 7)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import ops, reference
from pcsr_fast.reference.labelled import KINDS
from tests.reference import naive_labels as naive

SIZES = st.integers(1, 6)
SEEDS = st.integers(0, 2**31 - 1)
EVERY = pytest.mark.parametrize("module", [reference, ops])


def problem(seed: int, size: int, grouped: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores in [-1, 1], labels with 0 and 1 among them, groups."""
    generator = torch.Generator().manual_seed(seed)
    S = 2 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1
    y = (1.4 * torch.rand(size, generator=generator, dtype=torch.float64) - 0.2).clamp(0, 1)
    groups = torch.randint(0, max(1, size // 2), (size,), generator=generator) if grouped else None
    return S.requires_grad_(), y, groups


def check(S: Tensor, found: Tensor, expected: Tensor) -> None:
    """Values, and gradients under a weight a sample."""
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.linspace(-1, 2, len(S), dtype=torch.float64)
    mine, theirs = (torch.autograd.grad(one @ upstream + 0.0 * S.sum(), S)[0] for one in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-8)


@EVERY
@settings(max_examples=40)
@given(
    seed=SEEDS, size=SIZES, tau=st.sampled_from((0.1, 0.5)), weight=st.sampled_from((0.0, 0.1)), grouped=st.booleans()
)
def test_evidential(module, seed, size, tau, weight, grouped):
    S, y, groups = problem(seed, size, grouped)
    options = {"temperature": tau, "kl_weight": weight, "groups": groups, "reduction": "none"}
    check(S, module.evidential_loss_from_scores(S, labels=y, **options), naive.evidential(S, y, tau, weight, groups))
    alone = module.evidential_loss_from_scores(S, **options)
    torch.testing.assert_close(alone, naive.evidential(S, torch.ones_like(y), tau, weight, groups))


@EVERY
@settings(max_examples=40)
@given(seed=SEEDS, size=SIZES, kind=st.sampled_from(KINDS), tau=st.sampled_from((0.07, 0.5)), grouped=st.booleans())
def test_labelled(module, seed, size, kind, tau, grouped):
    S, y, groups = problem(seed, size, grouped)
    found = module.labelled_loss_from_scores(S, y, kind=kind, temperature=tau, groups=groups, reduction="none")
    check(S, found, naive.labelled(S, y, kind, tau, groups))


@settings(max_examples=25)
@given(SEEDS, SIZES, st.booleans())
def test_soft_infonce_of_certain_pairs_is_infonce(seed, size, grouped):
    S, y, groups = problem(seed, size, grouped)
    found = ops.labelled_loss_from_scores(S, torch.ones_like(y), kind="soft_infonce", temperature=0.1, groups=groups)
    expected = ops.contrastive_loss_from_scores(S, kind="infonce", temperature=0.1, groups=groups)
    torch.testing.assert_close(found, expected)


@EVERY
@settings(max_examples=25)
@given(seed=SEEDS, size=SIZES, grouped=st.booleans())
def test_evidence_speaks_for_pairs_that_win_their_row(module, seed, size, grouped):
    S, _, groups = problem(seed, size, grouped)
    trusted, doubt = module.evidential_agreement(S, temperature=0.2, groups=groups)
    values, ids = S.tolist(), list(range(size)) if groups is None else groups.tolist()
    e = torch.exp(torch.tanh(S.detach()) / 0.2).tolist()
    for i in range(size):
        seen = [i, *(j for j in range(size) if ids[j] != ids[i])]
        assert bool(trusted[i]) == (max(seen, key=lambda j: e[i][j] + e[j][i]) == i)
        sides = [
            len(seen) / sum(one + 1 for one in side) for side in zip(*((e[i][j], e[j][i]) for j in seen), strict=True)
        ]
        assert float(doubt[i]) == pytest.approx(sum(sides) / 2)
    assert values == S.tolist()


@settings(max_examples=25)
@given(SEEDS, SIZES, st.booleans())
def test_prediction_by_softmax(seed, size, grouped):
    S, _, groups = problem(seed, size, grouped)
    torch.testing.assert_close(ops.softmax_predict(S, 0.2, groups), naive.softmax_predict(S, 0.2, groups))


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 30))
def test_prediction_by_hinges(seed, size):
    S, _, _ = problem(seed, size, grouped=False)
    hinges = ops.triplet_loss_from_scores(S, margin=0.3, negatives="mean", reduction="none")
    expected = torch.tensor(naive.ncr_predict(S.detach(), 0.3), dtype=torch.float64)
    torch.testing.assert_close(ops.ncr_predict(hinges, 0.3).detach(), expected)


@settings(max_examples=40)
@given(SEEDS, SIZES, SIZES)
def test_agreement_with_anchors(seed, size, anchors):
    generator = torch.Generator().manual_seed(seed)
    images, texts, near, across = (
        torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (size, size, anchors, anchors)
    )
    found = ops.bicro_label(images, texts, near, across)
    torch.testing.assert_close(found, naive.bicro(images, texts, near, across))
    assert ((found >= 0) & (found <= 1)).all()
    torch.testing.assert_close(ops.bicro_label(near, near, near, near), torch.ones(anchors, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_is_computed_in_float32(dtype):
    S, y, _ = problem(0, 5, grouped=False)
    S = S.detach().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = [
            ops.evidential_loss_from_scores(S, labels=y),
            *(ops.labelled_loss_from_scores(S, y, kind=kind) for kind in KINDS),
        ]
    exact = [
        reference.evidential_loss_from_scores(S.double(), labels=y),
        *(reference.labelled_loss_from_scores(S.double(), y, kind=kind) for kind in KINDS),
    ]
    for mine, true in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), true, rtol=1e-4, atol=1e-5)
