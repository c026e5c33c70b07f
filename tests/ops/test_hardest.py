"""Hardest negatives and retrieval ranks as ops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import hardest_negatives, retrieval_ranks, retrieval_ranks_from_scores

SEEDS = st.integers(0, 2**31 - 1)
BACKENDS = ("reference", "torch")


def integers(seed: int, rows: int, width: int) -> Tensor:
    """Small whole numbers: products are exact and often equal."""
    return torch.randint(-2, 3, (rows, width), generator=torch.Generator().manual_seed(seed)).double()


@given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.sampled_from(BACKENDS), st.sampled_from(("none", "one", "two")))
def test_hardest_negatives_are_the_first_largest(seed, rows, columns, backend, kind):
    columns = columns if kind == "two" else rows
    x, y = integers(seed, rows, 2), integers(seed + 1, columns, 2)
    gx, gy = integers(seed + 2, rows, 1)[:, 0].long(), integers(seed + 3, columns, 1)[:, 0].long()
    groups = {"none": None, "one": gx, "two": (gx, gy)}[kind]
    if kind == "none":
        gx = gy = torch.arange(rows)
    elif kind == "one":
        gy = gx
    found = hardest_negatives(x, y, groups, backend=backend)
    scores = (x @ y.T).tolist()
    for i in range(rows):
        pick = [(scores[i][j], -j) for j in range(columns) if gx[i] != gy[j]]
        value, index = max(pick) if pick else (-torch.inf, 1)
        assert (found.row_values[i], found.row_indices[i]) == (value, -index)
    for j in range(columns):
        pick = [(scores[i][j], -i) for i in range(rows) if gx[i] != gy[j]]
        value, index = max(pick) if pick else (-torch.inf, 1)
        assert (found.column_values[j], found.column_indices[j]) == (value, -index)


@given(SEEDS, st.integers(1, 30), st.integers(1, 9))
def test_blocks_of_the_lean_search_do_not_matter(seed, rows, block):
    x, y = integers(seed, rows, 3), integers(seed + 1, rows, 3)
    groups = integers(seed + 2, rows, 1)[:, 0].long()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pcsr_fast.ops.lean.BLOCK", block)
        blocked = hardest_negatives(x, y, groups, backend="torch")
    whole = hardest_negatives(x, y, groups, backend="reference")
    assert all(torch.equal(a, b) for a, b in zip(blocked, whole, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_chosen_score_is_the_largest_in_float64(dtype, backend):
    x, y = torch.randn(127, 33).to(dtype), torch.randn(127, 33).to(dtype)
    found = hardest_negatives(x, y, backend=backend)
    assert found.row_values.dtype == torch.float32
    scores = (x.double() @ y.double().T).fill_diagonal_(-torch.inf)
    chosen = scores.gather(1, found.row_indices[:, None])[:, 0]
    torch.testing.assert_close(chosen, scores.amax(1), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(found.row_values.double(), scores.amax(1), rtol=1e-6, atol=1e-5)


def test_searches_carry_no_gradient():
    x = torch.randn(4, 3, requires_grad=True)
    assert not hardest_negatives(x, x).row_values.requires_grad
    assert not retrieval_ranks(x, x, torch.arange(4)).i2t.requires_grad


@pytest.mark.parametrize("ties", ["pessimistic", "optimistic", "stable"])
def test_ranks_are_the_references(ties):
    x, y = torch.randn(13, 5), torch.randn(30, 5)
    image_of_text = torch.randint(0, 13, (30,), dtype=torch.int32)
    expected = reference.retrieval_ranks(x, y, image_of_text.long(), ties)
    for ranks in (
        retrieval_ranks(x, y, image_of_text, ties),
        retrieval_ranks_from_scores(x @ y.T, image_of_text, ties),
    ):
        assert torch.equal(ranks.i2t, expected.i2t)
        assert torch.equal(ranks.t2i, expected.t2i)


def test_strided_scores():
    scores = torch.randn(20, 9)
    image_of_text = torch.randint(0, 9, (20,))
    strided, plain = scores.T, scores.T.contiguous()
    assert torch.equal(
        retrieval_ranks_from_scores(strided, image_of_text).t2i, retrieval_ranks_from_scores(plain, image_of_text).t2i
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck_hardest_negatives(backend):
    x, y = torch.randn(5, 3), torch.randn(7, 3)
    groups = torch.arange(5), torch.arange(7)
    torch.library.opcheck(torch.ops.pcsr_fast.hardest_negatives.default, (x, y, *groups, backend))


def test_opcheck_ranks():
    x, y, image_of_text = torch.randn(5, 3), torch.randn(7, 3), torch.randint(0, 5, (7,))
    ops = torch.ops.pcsr_fast
    torch.library.opcheck(ops.retrieval_ranks.default, (x, y, image_of_text, "pessimistic", ""))
    torch.library.opcheck(ops.retrieval_ranks_from_scores.default, (x @ y.T, image_of_text, "stable", ""))


def test_compiles_without_a_break():
    def search(x: Tensor, y: Tensor, image_of_text: Tensor) -> tuple[Tensor, ...]:
        ranks = retrieval_ranks(x, y, image_of_text)
        return *hardest_negatives(x, x), *ranks, *retrieval_ranks_from_scores(x @ y.T, image_of_text)

    x, y, image_of_text = torch.randn(5, 3), torch.randn(7, 3), torch.randint(0, 5, (7,))
    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(compiled(x, y, image_of_text), search(x, y, image_of_text), strict=True):
        assert torch.equal(ours, truth)
    with pytest.raises(ValueError, match="image_of_text: got 9 at index 0, expected 0 to 4"):
        compiled(x, y, image_of_text.fill_(9))
