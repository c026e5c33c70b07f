"""The hardest-negative loss of a head from the pairs that count: losses and gradients of the dense form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import ops, reference
from pcsr_fast.ops import best_captions_of_head, cross_attention_similarity, hardest_triplet_of_head, sparse_head
from pcsr_fast.ops._cross_attention_backends import flat_arguments
from pcsr_fast.ops.cross_attention import problem
from pcsr_fast.reference import ScanParameters
from pcsr_fast.reference.hinge import MARGIN_MODES
from tests.ops.cross_attentions import KINDS, Heads, heads, make_head
from tests.ops.tools import GROUPINGS, group_ids, runnable

EVERY = pytest.mark.parametrize("kind", KINDS)
SIX = {"images": 6, "lengths": (3, 5, 2, 3, 1, 4)}


def sparse(made: Heads, **options: Any) -> Tensor:
    return hardest_triplet_of_head(made.head, made.regions, made.words, made.lengths, **options)


def dense(made: Heads, **options: Any) -> Tensor:
    """Everything by the reference, with a graph of every pair."""
    return reference.triplet_loss_from_scores(reference.cross_attention_similarity(*made), **options)


def margin_of(mode: str, size: int) -> Tensor:
    shape = {"scalar": (), "matrix": (size, size)}.get(mode, (size,))
    return 0.3 * torch.rand(shape, dtype=torch.float64)


def check(made: Heads, **options: Any) -> Tensor:
    """Losses and every gradient, the margin's included, under an upstream of their own."""
    size = len(made.regions)
    upstream = torch.randn(size, dtype=torch.float64)
    results = []
    for form in (sparse, dense):
        leaves, inputs = made.leaves()
        margin = options["margin"].clone().requires_grad_()
        losses = form(leaves, **(options | {"margin": margin}), reduction="none")
        (losses * upstream).sum().backward()
        results.append((losses.detach(), *(value.grad for value in inputs), margin.grad))
    scale = max(1.0, *(float(value.abs().max()) for value in results[1]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * scale)
    return results[0][0]


@EVERY
@pytest.mark.parametrize("mode", MARGIN_MODES)
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "groups"])
def test_losses_and_gradients_are_those_of_all_pairs(kind: str, mode: str, grouped: bool):
    made = make_head(1, kind, **SIX)
    groups = torch.tensor([0, 1, 0, 2, 2, 3]) if grouped else None
    losses = check(made, margin=margin_of(mode, 6), margin_mode=mode, groups=groups)
    assert losses.max() > 0


@pytest.mark.parametrize("side", ["row", "column"])
def test_a_pair_may_be_too_near_on_one_side_alone(side: str):
    margin = torch.full((6, 6), -5.0, dtype=torch.float64)
    (margin[0] if side == "row" else margin[:, 0]).fill_(1.0)
    losses = check(make_head(12, "sgr", **SIX), margin=margin, margin_mode="matrix")
    assert (losses > 0).all()


@given(heads(paired=True), st.sampled_from(MARGIN_MODES), st.sampled_from(GROUPINGS))
@settings(max_examples=60)
def test_losses_are_those_of_all_pairs_whatever_the_sizes(made: Heads, mode: str, grouping: str):
    size = len(made.regions)
    groups = group_ids(grouping, size, torch.Generator().manual_seed(size))
    options = {"margin": margin_of(mode, size), "margin_mode": mode, "groups": groups, "reduction": "none"}
    torch.testing.assert_close(sparse(made, **options), dense(made, **options), rtol=1e-9, atol=1e-10)


def chosen(made: Heads, margin: float, precision: str = "exact", backend: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Scores of what the loss reads, -inf elsewhere, and the pairs that have a gradient."""
    first, last = flat_arguments(problem("test", *made, precision), backend)
    found = torch.ops.pcsr_fast.hardest_of_head(*first, made.regions.new_tensor(margin), "anchor", None, *last)
    return torch.ops.pcsr_fast.pairs_of_head(*first, *found, *last), *found[1:]


@pytest.mark.parametrize("kind", ["scan", "sgr"])
def test_what_the_loss_reads_is_exact_even_where_it_was_screened(kind: str):
    made = make_head(13, kind, **SIX).to(torch.float32)
    S = reference.cross_attention_similarity(*made.to(torch.float64))
    for precision in ("exact", "bf16"):
        for backend in runnable("cross_attention_similarity", *made, precision=precision):
            if backend != "reference":
                scores, rows, captions = chosen(made, 5.0, precision, backend)
                assert torch.equal(scores[rows, captions] > -torch.inf, torch.ones(len(rows), dtype=torch.bool))
                assert int((scores > -torch.inf).sum()) == len(rows)
                torch.testing.assert_close(scores[rows, captions].double(), S[rows, captions], rtol=0, atol=2e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk", [1, 6, None])
def test_reductions_and_chunks(reduction: str, chunk: int | None):
    made = make_head(2, "sgr", **SIX)
    expected = dense(made, reduction=reduction)
    torch.testing.assert_close(sparse(made, reduction=reduction, chunk=chunk), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
def test_three_pairs_a_sample_have_a_gradient_at_most(kind: str):
    made = make_head(3, kind, images=12, lengths=(2,) * 12)
    _, rows, captions = chosen(made, 5.0)
    assert 12 < len(rows) <= 36
    assert len(torch.stack([rows, captions]).unique(dim=1)[0]) == len(rows)
    assert len(chosen(made, -5.0)[1]) == 0


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
@pytest.mark.parametrize("precision", ["exact", "bf16"])
def test_opcheck(kind: str, precision: str):
    made, _ = make_head(5, kind, **SIX).to(torch.float32).leaves()
    first, last = flat_arguments(problem("test", *made, precision), None)
    with torch.no_grad():
        arguments = (*first, torch.tensor(0.2), "anchor", None, *last)
        torch.library.opcheck(torch.ops.pcsr_fast.hardest_of_head.default, arguments)
        pairs = torch.ops.pcsr_fast.hardest_of_head(*arguments)
    torch.library.opcheck(torch.ops.pcsr_fast.pairs_of_head.default, (*first, *pairs, *last))


@EVERY
def test_compiles_without_a_break(kind: str):
    made, inputs = make_head(6, kind, **SIX).to(torch.float32).leaves()
    compiled = torch.compile(sparse, fullgraph=True, backend="aot_eager")
    losses = [form(made, reduction="none") for form in (compiled, sparse)]
    assert torch.equal(*losses)
    for ours, theirs in zip(*(torch.autograd.grad(one.sum(), inputs) for one in losses), strict=True):
        assert torch.equal(ours, theirs)


def test_without_active_hinges_there_is_no_gradient():
    made, inputs = make_head(4, "sgr", **SIX).leaves()
    losses = sparse(made, margin=-1.0, reduction="none")
    losses.sum().backward()
    assert losses.tolist() == [0.0] * 6
    assert not any(value.grad.any() for value in inputs)


@EVERY
def test_one_pair_has_no_negative(kind: str):
    made, inputs = make_head(5, kind, images=1, lengths=(3,)).leaves()
    loss = sparse(made)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not any(value.grad.any() for value in inputs)


@pytest.mark.parametrize("kind", ["scan", "sgr"])
def test_equal_pairs(kind: str):
    """Every image and caption twice: each has two hardest negatives of one score."""
    half = make_head(6, kind, images=3, lengths=(3, 2, 4))
    twice = torch.tensor([0, 1, 2, 0, 1, 2])
    made = half.select(twice, twice)
    for groups in (None, twice):
        options = {"margin": 0.2, "groups": groups, "reduction": "none"}
        torch.testing.assert_close(sparse(made, **options), dense(made, **options), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["scan", "sgr"])
def test_screened_losses_are_exact_scores_of_near_hardest_negatives(kind: str):
    made = make_head(7, kind, images=12, lengths=(3, 5, 2) * 4, size=16, similarity=8).to(torch.float32)
    expected = dense(made.to(torch.float64), reduction="none")
    for backend in runnable("cross_attention_similarity", *made, precision="bf16"):
        if backend != "reference":
            losses = sparse(made, reduction="none", screen="bf16", backend=backend)
            assert (losses <= expected + 1e-5).all()
            torch.testing.assert_close(losses.double(), expected, rtol=0, atol=0.1)


def test_screened_gradients_belong_to_the_pairs_that_were_chosen():
    made = make_head(8, "sgr", **SIX).to(torch.float32)
    exact, screened = made.leaves(), made.leaves()
    sparse(exact[0], screen="exact").backward()
    sparse(screened[0], screen="bf16").backward()
    for ours, theirs in zip(screened[1], exact[1], strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_kill_switch_computes_all_pairs_by_the_reference(monkeypatch: pytest.MonkeyPatch):
    made = make_head(9, "sgr", **SIX)
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    monkeypatch.setattr(sparse_head, "hardest_of_head_op", None)
    check(made, margin=torch.tensor(0.2, dtype=torch.float64))


def test_a_nan_is_not_hidden():
    made = make_head(10, "sgr", **SIX)
    made.regions[2] = torch.nan
    assert sparse(made).isnan()


@pytest.mark.parametrize("kind", ["scan", "sgr"])
def test_best_captions_are_scored_exactly_whatever_chose_them(kind: str):
    made = make_head(14, kind, images=9, lengths=(3, 5, 2, 7, 5, 1)).to(torch.float32)
    S = cross_attention_similarity(*made, precision="exact")
    for screen in ("exact", "bf16"):
        index, values = best_captions_of_head(made.head, *made[:3], screen=screen)
        torch.testing.assert_close(values, S.gather(1, index[:, None])[:, 0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(values, S.max(1).values, rtol=0, atol=1e-5 if screen == "exact" else 0.1)


def test_best_captions_by_the_reference_alone(monkeypatch: pytest.MonkeyPatch):
    made = make_head(15, "sgr")
    expected = best_captions_of_head(made.head, *made[:3])
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    monkeypatch.setattr(sparse_head, "pairs_of_head_op", None)
    index, values = best_captions_of_head(made.head, *made[:3])
    assert index.tolist() == expected[0].tolist()
    torch.testing.assert_close(values, expected[1], rtol=1e-10, atol=1e-12)


def test_best_captions_of_bad_arguments():
    made = make_head(16, "sgr")
    with pytest.raises(
        ValueError, match=r"best_captions_of_head: screen: got 'fp8', expected one of auto, exact, bf16"
    ):
        best_captions_of_head(made.head, *made[:3], screen="fp8")
    with pytest.raises(ValueError, match=r"best_captions_of_head: lengths: got 9 at index 0, expected 1 to 4"):
        best_captions_of_head(made.head, *made[:2], made.lengths + 6)


V, T, N = make_head(11, "scan")[:3]
CASES = [
    ((V[:3], T, N), {}, ValueError, "words: got 4 captions with 3 images, expected one a image"),
    ((V, T, N + 9), {}, ValueError, "lengths: got 12 at index 0, expected 1 to 4"),
    ((V, T, N), {"margin_mode": "both"}, ValueError, "margin_mode: got 'both', expected one of scalar, anchor"),
    ((V, T, N), {"margin": torch.ones(3)}, ValueError, r"margin: got shape \(3,\), expected a number or \(4,\)"),
    ((V, T, N), {"groups": N[:2]}, ValueError, r"groups: got shape \(2,\), expected \(4,\)"),
    ((V, T, N), {"reduction": "avg"}, ValueError, "reduction: got 'avg', expected one of none, mean, sum"),
    ((V, T, N), {"screen": "fp8"}, ValueError, "screen: got 'fp8', expected one of auto, exact, bf16"),
]


@pytest.mark.parametrize(("args", "options", "error", "message"), CASES)
def test_bad_arguments_are_named_in_one_line(args, options, error, message):
    with pytest.raises(error, match=f"hardest_triplet_of_head: {message}") as caught:
        ops.hardest_triplet_of_head(ScanParameters(), *args, **options)
    assert "\n" not in str(caught.value)
