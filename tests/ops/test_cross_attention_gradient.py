"""Gradients of SGR and SCAN on the native core: against autograd of the float64 reference, and what they do not depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import cross_attention_similarity, hardest_triplet_of_head
from pcsr_fast.ops._cross_attention_backends import flat_arguments
from pcsr_fast.ops._cross_attention_gradients import PAIRS
from pcsr_fast.ops.cpu import cross_attention_pairs as native_pairs
from pcsr_fast.ops.cpu.cross_attention_pairs import Pairs
from pcsr_fast.ops.cross_attention import problem
from pcsr_fast.ops.cross_attention_forms import prepare
from tests.ops.cross_attentions import (
    RAGGED,
    Heads,
    check_gradients,
    gradients,
    learnable,
    make_head,
    mapped,
    native_problems,
    scores_of_pairs,
    weighed,
)
from tests.ops.tools import guarded_memory, threads

BOTH = pytest.mark.parametrize("kind", ["sgr", "scan"])
SOME = {"images": 5, "lengths": (3, 1, 4, 7), "regions": 6, "size": 20, "similarity": 9}


@given(native_problems(), st.floats(0, 1))
@settings(max_examples=60)
def test_gradients_follow_float64(made: Heads, kept: float):
    check_gradients(made, weighed(made, kept))


@BOTH
def test_gradients_of_a_batch_as_large_as_in_training(kind: str):
    made = learnable(0, kind, images=9, lengths=(*RAGGED, 300), regions=36, size=150, similarity=65)
    check_gradients(made, weighed(made))


@BOTH
def test_regions_and_words_that_are_zero(kind: str):
    made = learnable(1, kind, **SOME)
    made.regions[1] = 0
    made.regions[2, :3] = 0
    made.words[0, 1] = 0
    made.words[1, 0] = 0
    check_gradients(made, weighed(made))


def test_nodes_that_are_zero():
    made = learnable(2, "sgr", **SOME)
    head = made.head._replace(local_weight=made.head.local_weight * 0, local_bias=made.head.local_bias * 0)
    check_gradients(made._replace(head=head), weighed(made))


@BOTH
def test_the_number_of_threads_changes_nothing(kind: str):
    made = learnable(3, kind, images=19, lengths=RAGGED * 3, regions=36, size=150, similarity=33)
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(gradients(made, weighed(made), "cpu"))
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@BOTH
def test_pairs_have_the_scores_of_all_and_their_gradients(kind: str):
    """Listed pairs alone, at an upstream gradient that lies elsewhere too."""
    made = learnable(4, kind, **SOME)
    rows, captions = torch.tensor([4, 0, 2, 2]), torch.tensor([3, 1, 0, 2])
    chosen = torch.zeros(5, 4).index_put((rows, captions), torch.ones(4))
    asked = problem("test", *made)
    scores = scores_of_pairs(made, chosen, filler=9.0)
    first, last = flat_arguments(asked, "cpu")
    found = torch.ops.pcsr_fast.cross_attention_gradient(weighed(made), *first, rows, captions, *last)
    for ours, theirs in zip(found, gradients(made, weighed(made) * chosen, "cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    truth = reference.cross_attention_similarity(*made.to(torch.float64))
    torch.testing.assert_close(scores.double(), torch.where(chosen > 0, truth, 9.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_every_backend_knows_some_pairs_alone(kind: str, backend: str):
    """Their scores anew, and the gradient of what lies at them."""
    made = make_head(7, kind)
    rows, captions = torch.tensor([3, 0, 2]), torch.tensor([1, 1, 3])
    asked, upstream = problem("test", *made), weighed(made).double()
    S = reference.cross_attention_similarity(*made)
    scores = asked.run(PAIRS, backend, asked, torch.zeros_like(S), rows, captions)
    torch.testing.assert_close(scores, torch.zeros_like(S).index_put((rows, captions), S[rows, captions]))
    chosen = torch.zeros_like(S).index_put((rows, captions), torch.ones(3, dtype=torch.float64))
    first, last = flat_arguments(asked, backend)
    found = torch.ops.pcsr_fast.cross_attention_gradient(upstream, *first, rows, captions, *last)
    for ours, theirs in zip(found, gradients(made, upstream * chosen, "reference"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def pair_gradients(made: Heads, pairs: Pairs, upstream: Tensor) -> list[Tensor]:
    operands = prepare(made.regions, made.words, made.head)
    found = native_pairs.gradient(made.head, operands, made.lengths, pairs, upstream)
    return [value for value in found if value is not None]


@BOTH
def test_a_pair_listed_twice_counts_twice(kind: str):
    made = learnable(5, kind, **SOME)
    twice = Pairs(torch.tensor([1, 3, 1, 1]), torch.tensor([2, 0, 2, 3]))
    once = Pairs(torch.tensor([1, 3, 1]), torch.tensor([2, 0, 3]))
    ours = pair_gradients(made, twice, torch.tensor([0.5, -1.0, 0.25, 2.0]))
    theirs = pair_gradients(made, once, torch.tensor([0.75, -1.0, 2.0]))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@BOTH
def test_pairs_without_upstream_gradient_take_no_part(kind: str):
    """Not even where they are NaN; without any pair all is 0."""
    made = learnable(6, kind, **SOME)
    made.regions[1] = torch.nan
    pairs, upstream = Pairs(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 3])), torch.tensor([1.0, 0.0, -2.0])
    found = pair_gradients(made, pairs, upstream)
    rest = Pairs(*(value[upstream != 0] for value in pairs))
    for ours, theirs in zip(found, pair_gradients(made, rest, upstream[upstream != 0]), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.isfinite().all()
    assert not any(value.any() for value in pair_gradients(made, pairs, torch.zeros(3)))


@BOTH
def test_a_nan_is_not_hidden(kind: str):
    made = learnable(7, kind, **SOME)
    made.regions[2, 0, 0] = torch.nan
    found = gradients(made, weighed(made), "cpu")
    assert found[0][2].isnan().all()
    assert found[0][[0, 1, 3, 4]].isfinite().all()
    assert kind == "scan" or found[-1].isnan()


@BOTH
def test_layouts_of_the_inputs_and_of_the_upstream_gradient(kind: str):
    made = learnable(8, kind, **SOME)

    def spread(value: Tensor) -> Tensor:
        return torch.stack([value, value + 1], dim=-1)[..., 0]

    other = Heads(spread(made.regions), spread(made.words), made.lengths.to(torch.int32), mapped(made.head, spread))
    plain = gradients(made, weighed(made), "cpu")
    for ours, theirs in zip(gradients(other, weighed(made).T.contiguous().T, "cpu"), plain, strict=True):
        assert torch.equal(ours, theirs)


@BOTH
def test_nothing_is_written_beside_the_gradients_and_all_of_them_is(kind: str):
    made = learnable(9, kind, images=3, lengths=(5, 1), regions=5, size=13, similarity=7)
    plain = gradients(made, weighed(made), "cpu")
    with guarded_memory() as blocks:
        guarded = gradients(made, weighed(made), "cpu")
    assert blocks
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(guarded, plain, strict=True))


@BOTH
def test_words_beyond_a_caption_are_not_read(kind: str):
    made = learnable(10, kind, width=9, **SOME)
    found = gradients(made, weighed(made), "cpu")
    assert all(value.isfinite().all() for value in found)
    assert not found[1][torch.arange(9) >= made.lengths[:, None]].any()


@BOTH
@pytest.mark.parametrize("asked", ["regions", "words", "head"])
def test_only_what_asks_gets_a_gradient(kind: str, asked: str):
    made = learnable(11, kind, **SOME)
    leaves = made.leaves()[0]
    wanted = made._replace(**{asked: getattr(leaves, asked)})
    scores = cross_attention_similarity(*wanted, backend="cpu")
    assert scores.requires_grad == (kind == "sgr" or asked != "head")
    if scores.requires_grad:
        scores.sum().backward()
        found = wanted.head.query_weight if asked == "head" else getattr(wanted, asked)
        assert found.grad.abs().sum() > 0


def test_bfloat16_scores_have_the_gradients_of_exact_ones():
    made = learnable(12, "sgr", **SOME)
    exact, rounded = (gradients(made, weighed(made), "cpu", precision=name) for name in ("exact", "bf16"))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(rounded, exact, strict=True))


@BOTH
def test_sparse_losses_take_them(kind: str):
    made = learnable(13, kind, images=12, lengths=(2, 5, 3) * 4, regions=6, size=40, similarity=17)
    found = []
    for backend in ("cpu", "torch"):
        leaves, inputs = made.leaves()
        hardest_triplet_of_head(leaves.head, *leaves[:3], screen="exact", backend=backend).backward()
        found.append([value.grad for value in inputs])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
