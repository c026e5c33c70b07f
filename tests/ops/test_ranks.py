"""Retrieval ranks at chosen points: value, edges, determinism, torch.library; random ones are beside this."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.reference.ranks import TIES
from tests.ops.tools import (
    ODD_SIZES,
    STEADY,
    arguments,
    guarded_memory,
    make_pairs,
    runnable,
    threads,
)

BACKENDS = runnable("retrieval_ranks", torch.zeros(2, 2), torch.zeros(2, 2), ties="stable")
SCORE_BACKENDS = runnable("retrieval_ranks_from_scores", torch.zeros(2, 2), ties="stable")


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_ranks_are_the_references(ties, backend):
    x, y = torch.randn(13, 5), torch.randn(30, 5)
    image_of_text = torch.randint(0, 13, (30,), dtype=torch.int32)
    expected = reference.retrieval_ranks(x, y, image_of_text.long(), ties)
    ranks = retrieval_ranks(x, y, image_of_text, ties, backend=backend)
    assert torch.equal(ranks.i2t, expected.i2t)
    assert torch.equal(ranks.t2i, expected.t2i)
    for own in SCORE_BACKENDS:
        ranks = retrieval_ranks_from_scores(x @ y.T, image_of_text, ties, backend=own)
        assert torch.equal(ranks.i2t, expected.i2t)
        assert torch.equal(ranks.t2i, expected.t2i)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, *ODD_SIZES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_model_that_scores_everything_alike(backend, size, dtype):
    """The last place under "pessimistic", the first under "optimistic", by index under "stable"."""
    x, images = torch.ones(size, 40, dtype=dtype), torch.arange(size)
    last, places = [size - 1] * size, list(range(size))
    for ties, expected in (("pessimistic", last), ("optimistic", [0] * size), ("stable", places)):
        ranks = retrieval_ranks(x, x, images, ties, backend=backend)
        assert ranks.i2t.tolist() == ranks.t2i.tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_without_captions_and_one_with_all(backend):
    x, y = torch.randn(7, 9), torch.randn(20, 9)
    ranks = retrieval_ranks(x, y, torch.full((20,), 4), backend=backend)
    assert ranks.i2t.tolist() == [-1, -1, -1, -1, 0, -1, -1]
    scores = x.double() @ y.double().T
    assert ranks.t2i.tolist() == (scores > scores[4]).sum(0).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ties", ["pessimistic", "optimistic"])
def test_copies_of_the_own_caption_are_equal_wherever_they_lie(backend, ties):
    """Their scores must be the same to the bit: what a caption is compared with may not be computed another way."""
    x, y = torch.randn(3, 257), torch.randn(1, 257)
    texts = y.expand(150, 257).clone()
    ranks = retrieval_ranks(x, texts, torch.arange(150) % 3, ties, backend=backend)
    assert set(ranks.i2t.tolist()) == {100 if ties == "pessimistic" else 0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_worst_under_pessimistic(backend):
    x, y = torch.randn(5, 4), torch.randn(5, 4)
    x[2] = torch.nan
    ranks = retrieval_ranks(x, y, torch.arange(5), backend=backend)
    expected = reference.retrieval_ranks(x, y, torch.arange(5))
    assert torch.equal(ranks.i2t, expected.i2t)
    assert torch.equal(ranks.t2i, expected.t2i)


@pytest.mark.parametrize("backend", SCORE_BACKENDS)
def test_strided_scores(backend):
    scores = torch.randn(20, 9)
    image_of_text = torch.randint(0, 9, (20,))
    for name in ("i2t", "t2i"):
        strided = retrieval_ranks_from_scores(scores.T, image_of_text, backend=backend)
        plain = retrieval_ranks_from_scores(scores.T.contiguous(), image_of_text, backend=backend)
        assert torch.equal(getattr(strided, name), getattr(plain, name))


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeats_on_any_number_of_threads(backend):
    made = make_pairs(3, 300, 64, torch.float32)
    results = []
    for count in (1, 1, 3) if backend in STEADY else (1, 1, 1):
        with threads(count):
            results.append(retrieval_ranks(made.x, made.y, torch.arange(300), backend=backend))
    for other in results[1:]:
        assert torch.equal(other.i2t, results[0].i2t)
        assert torch.equal(other.t2i, results[0].t2i)


@pytest.mark.parametrize("backend", BACKENDS)
def test_writes_stay_inside_its_own_memory(backend):
    x, y, image_of_text = torch.randn(33, 17), torch.randn(129, 17), torch.arange(129) % 33
    with guarded_memory() as blocks:
        ranks = retrieval_ranks(x, y, image_of_text, backend=backend)
    assert blocks
    assert torch.equal(ranks.i2t, retrieval_ranks(x, y, image_of_text, backend=backend).i2t)


def test_ranks_carry_no_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    assert not retrieval_ranks(x, x, torch.arange(4)).i2t.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend):
    inputs = {"x": torch.randn(5, 3), "y": torch.randn(7, 3), "image_of_text": torch.randint(0, 5, (7,))}
    op = torch.ops.pcsr_fast.retrieval_ranks.default
    torch.library.opcheck(op, arguments(op, **inputs, ties="pessimistic", backend=backend))


@pytest.mark.parametrize("backend", SCORE_BACKENDS)
def test_opcheck_from_scores(backend):
    inputs = {"scores": torch.randn(5, 7), "image_of_text": torch.randint(0, 5, (7,))}
    op = torch.ops.pcsr_fast.retrieval_ranks_from_scores.default
    torch.library.opcheck(op, arguments(op, **inputs, ties="stable", backend=backend))


def test_compiles_without_a_break():
    def search(x: Tensor, y: Tensor, image_of_text: Tensor) -> tuple[Tensor, ...]:
        ranks = retrieval_ranks(x, y, image_of_text)
        return *ranks, *retrieval_ranks_from_scores(x @ y.T, image_of_text)

    x, y, image_of_text = torch.randn(5, 3), torch.randn(7, 3), torch.randint(0, 5, (7,))
    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(compiled(x, y, image_of_text), search(x, y, image_of_text), strict=True):
        assert torch.equal(ours, truth)
    with pytest.raises(ValueError, match="image_of_text: got 9 at index 0, expected 0 to 4"):
        compiled(x, y, image_of_text.fill_(9))
