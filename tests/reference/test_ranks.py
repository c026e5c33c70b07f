"""Retrieval ranks against sorting, and the tie rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast.reference import retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.reference.ranks import TIES

SEEDS = st.integers(0, 2**31 - 1)


def problem(seed: int, images: int, texts: int, levels: int | None) -> tuple[Tensor, Tensor]:
    """Scores, all distinct or of a few levels, and each caption's image."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(images, texts, generator=generator, dtype=torch.float64)
    if levels:
        scores = (scores * levels).floor()
    return scores, torch.randint(0, images, (texts,), generator=generator)


def by_sorting(scores: Tensor, image_of_text: Tensor, ties: str) -> tuple[list[int], list[int]]:
    """Ranks read off sorted lists; a tie is broken by what the rule says about own and other items."""

    def place(values: list[float], own: list[int]) -> int:
        if not own:
            return -1
        tiebreak = {"pessimistic": lambda k: k in own, "optimistic": lambda k: k not in own, "stable": lambda k: k}[
            ties
        ]
        order = sorted(range(len(values)), key=lambda k: (-values[k], tiebreak(k)))
        return next(rank for rank, k in enumerate(order) if k in own)

    images, texts = scores.shape
    owners = image_of_text.tolist()
    i2t = [place(scores[i].tolist(), [j for j in range(texts) if owners[j] == i]) for i in range(images)]
    t2i = [place(scores[:, j].tolist(), [owners[j]]) for j in range(texts)]
    return i2t, t2i


@given(SEEDS, st.integers(1, 8), st.integers(1, 20), st.sampled_from((None, 1, 3)), st.sampled_from(TIES))
def test_ranks_are_places_in_the_sorted_list(seed, images, texts, levels, ties):
    scores, image_of_text = problem(seed, images, texts, levels)
    ranks = retrieval_ranks_from_scores(scores, image_of_text, ties)
    assert (ranks.i2t.tolist(), ranks.t2i.tolist()) == by_sorting(scores, image_of_text, ties)


@given(SEEDS, st.integers(1, 9), st.integers(1, 20), st.integers(1, 10), st.sampled_from(TIES))
def test_blocks_of_images_do_not_matter(seed, images, texts, chunk, ties):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-2, 3, (images, 3), generator=generator).double()
    y = torch.randint(-2, 3, (texts, 3), generator=generator).double()
    image_of_text = torch.randint(0, images, (texts,), generator=generator)
    whole = retrieval_ranks_from_scores(x @ y.T, image_of_text, ties)
    blocked = retrieval_ranks(x, y, image_of_text, ties, chunk=chunk)
    assert torch.equal(whole.i2t, blocked.i2t)
    assert torch.equal(whole.t2i, blocked.t2i)


def test_a_collapsed_model_is_last_unless_optimistic():
    scores, image_of_text = torch.ones(4, 8), torch.arange(8) // 2
    assert retrieval_ranks_from_scores(scores, image_of_text).i2t.tolist() == [6, 6, 6, 6]
    assert retrieval_ranks_from_scores(scores, image_of_text).t2i.tolist() == [3] * 8
    assert not retrieval_ranks_from_scores(scores, image_of_text, "optimistic").i2t.any()
    assert retrieval_ranks_from_scores(scores, image_of_text, "stable").i2t.tolist() == [0, 2, 4, 6]


def test_nan_scores_rank_last():
    scores = torch.full((3, 3), torch.nan)
    assert retrieval_ranks_from_scores(scores, torch.arange(3)).t2i.tolist() == [2, 2, 2]


def test_images_without_captions_have_no_rank():
    ranks = retrieval_ranks_from_scores(torch.rand(3, 2), torch.tensor([0, 2]))
    assert ranks.i2t[1] == -1
    assert (ranks.i2t[[0, 2]] >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_embeddings_are_multiplied_in_float32(dtype):
    x, y = torch.randn(20, 16).to(dtype), torch.randn(40, 16).to(dtype)
    image_of_text = torch.arange(40) // 2
    expected = retrieval_ranks_from_scores(x.float() @ y.float().T, image_of_text)
    assert torch.equal(retrieval_ranks(x, y, image_of_text).i2t, expected.i2t)
