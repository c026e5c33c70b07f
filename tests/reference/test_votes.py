"""Consistency scores from votes, and the thresholds that split by them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast import reference
from pcsr_fast.reference.votes import SCORES

COUNTS = st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=1, max_size=6)


@given(COUNTS, st.sampled_from((torch.int64, torch.int32, torch.int16, torch.uint8)))
def test_scores_follow_their_definition(rows, dtype):
    counts = torch.tensor(rows, dtype=dtype)
    scores = {name: reference.vote_consistency(counts, name) for name in SCORES}
    for i, row in enumerate(rows):
        total, (first, second) = sum(row), sorted(row, reverse=True)[:2]
        assert scores["gap"][i] == first - second
        assert scores["gap_ratio"][i].item() == pytest.approx((first - second) / total if total else 0)
        assert scores["majority"][i].item() == pytest.approx(first / total if total else 0)
        entropy = -sum(n / total * math.log(n / total) for n in row if n) if total else math.log(5)
        assert scores["neg_entropy"][i].item() == pytest.approx(-entropy)


@given(COUNTS, st.sampled_from(SCORES), st.permutations(range(5)))
def test_naming_the_classes_otherwise_changes_nothing(rows, score, order):
    counts = torch.tensor(rows)
    here = reference.vote_consistency(counts, score)
    torch.testing.assert_close(reference.vote_consistency(counts[:, list(order)], score), here)


@given(st.integers(0, 4), st.integers(1, 30), st.sampled_from(SCORES))
def test_one_class_scores_best_and_no_votes_worst(k, votes, score):
    counts = torch.zeros(2, 5, dtype=torch.int16)
    counts[0, k] = votes
    best, worst = reference.vote_consistency(counts, score).tolist()
    assert best == {"gap": votes, "neg_entropy": 0.0}.get(score, 1.0)
    assert worst == {"neg_entropy": pytest.approx(-math.log(5))}.get(score, 0.0)


def test_a_single_class_is_all_there_is():
    assert reference.vote_consistency(torch.tensor([[4], [0]]), "gap").tolist() == [4.0, 0.0]


def test_unknown_score():
    with pytest.raises(ValueError, match=r"score: got 'x', expected one of gap, gap_ratio"):
        reference.vote_consistency(torch.ones(1, 2).long(), "x")


class TestQuantileThreshold:
    @given(st.integers(0, 2**31 - 1), st.integers(1, 60), st.floats(0, 1))
    def test_distinct_scores_realise_the_share(self, seed, count, share):
        generator = torch.Generator().manual_seed(seed)
        pcs = torch.rand(2 * count, generator=generator, dtype=torch.float64)
        noisy = torch.arange(2 * count) % 2 == 0
        tau = reference.pcs_threshold_quantile(pcs, noisy, share)
        assert int((pcs[noisy] > tau).sum()) == round(share * count)

    @given(
        st.lists(st.integers(0, 3), min_size=1, max_size=40),
        st.floats(0, 1),
        st.sampled_from((torch.float32, torch.float64, torch.int64)),
    )
    def test_tied_scores_come_as_close_as_any_threshold(self, scores, share, dtype):
        pcs = torch.tensor(scores, dtype=dtype)
        tau = reference.pcs_threshold_quantile(pcs, torch.ones(len(scores), dtype=torch.bool), share)
        keep = round(share * len(scores))
        reachable = [sum(s > cut for s in scores) for cut in (-1, 0, 1, 2, 3)]
        assert abs(int((pcs > tau).sum()) - keep) == min(abs(n - keep) for n in reachable)

    def test_a_draw_leaves_the_equal_scores_out(self):
        pcs = torch.tensor([1.0, 2.0, 2.0, 3.0])
        tau = reference.pcs_threshold_quantile(pcs, torch.ones(4, dtype=torch.bool), 0.5)
        assert (pcs > tau).tolist() == [False, False, False, True]

    def test_float32_scores_compare_as_split(self):
        pcs = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float32)
        tau = reference.pcs_threshold_quantile(pcs, torch.ones(4, dtype=torch.bool), 0.5)
        assert (pcs > tau).tolist() == [False, False, True, True]

    def test_nothing_noisy(self):
        assert reference.pcs_threshold_quantile(torch.rand(3), torch.zeros(3, dtype=torch.bool), 0.5) == 0.0


@given(st.floats(-5, 5), st.lists(st.floats(-5, 5), min_size=1, max_size=20), st.floats(0, 1))
def test_controller_moves_by_the_missing_share(tau, pcs, target):
    utilisation = sum(value > tau for value in pcs) / len(pcs)
    following = reference.controller_update(tau, torch.tensor(pcs, dtype=torch.float64), target)
    assert following == pytest.approx(tau + 0.06 * (utilisation - target), abs=1e-12)


def test_target_share_rises_from_low_to_high():
    assert reference.target_share(0, 50) == 0.4
    assert reference.target_share(50, 50) == pytest.approx(0.9)
    assert reference.target_share(5, 10, 0.0, 1.0) == 0.5
