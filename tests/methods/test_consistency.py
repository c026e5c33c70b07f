"""PCS and its thresholds against counters and formulas (METHODS 4.3, 4.4, 4.7; 9 G1-G3)."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from pcsr_fast.methods.config import PcsConfig, SplitConfig
from pcsr_fast.methods.consistency import Consistency
from tests.methods import naive

PAIRS, CLASSES = 300, 5
SCORES = ("gap", "gap_ratio", "majority", "neg_entropy")
SOURCES = ("image", "text", "agreement")


class Voted:
    """A Consistency and the same votes in plain deques; half of the pairs are undecided."""

    def __init__(self, options: PcsConfig, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.options = options
        self.subject = Consistency(PAIRS, CLASSES, options, SplitConfig())
        depth = options.window * (2 if options.source == "agreement" else 1)
        self.votes: list[deque[tuple[int, int]]] = [deque(maxlen=depth or None) for _ in range(PAIRS)]
        self.noisy = self.rng.random(PAIRS) < 0.6

    def probabilities(self) -> torch.Tensor:
        own = np.eye(CLASSES)[np.arange(PAIRS) % CLASSES] * (np.arange(PAIRS) % 2)[:, None] * 0.8
        return torch.from_numpy((own + self.rng.dirichlet(np.ones(CLASSES), PAIRS)).astype(np.float32))

    def cast(self, weight: int = 1) -> None:
        image, text = self.probabilities(), self.probabilities()
        self.subject.vote(torch.arange(PAIRS), image, text, weight)
        for source in {"image": [image], "text": [text], "agreement": [image, text]}[self.options.source]:
            for pair, row in enumerate(source.tolist()):
                self.votes[pair].append((row.index(max(row)), weight))

    def scores(self) -> np.ndarray:
        counts = []
        for one in self.votes:
            counter: Counter[int] = Counter()
            for choice, weight in one:
                counter[choice] += weight
            counts.append(naive.consistency(counter, self.options.score, CLASSES))
        return np.array(counts)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("window", [0, 2])
def test_score_is_that_of_a_counter(score: str, source: str, window: int):
    voted = Voted(PcsConfig(score=score, source=source, window=window))
    np.testing.assert_allclose(voted.subject.score(), voted.scores(), rtol=1e-6)
    for weight in (1, 2, 1, 1):
        voted.cast(weight)
        np.testing.assert_allclose(voted.subject.score(), voted.scores(), rtol=1e-6, atol=1e-7)
    assert len(np.unique(voted.scores())) > 1


def test_a_missing_voter_is_named():
    subject = Consistency(3, 2, PcsConfig(source="agreement"), SplitConfig())
    with pytest.raises(ValueError, match="source is agreement, its predictions are missing"):
        subject.vote(torch.arange(3), torch.rand(3, 2), None, 1)


def reachable(pcs: np.ndarray, share: float) -> int:
    """How many of `pcs` a threshold can put above itself, nearest to the share, fewer on a draw."""
    wanted = round(share * len(pcs))
    counts = {int((pcs > at).sum()) for at in pcs} | {len(pcs)}
    return min(counts, key=lambda count: (abs(count - wanted), count))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("threshold", ["quantile", "mean", "gmm", "controller"])
def test_refinable_pairs_lie_above_the_threshold(score: str, source: str, threshold: str):
    voted = Voted(PcsConfig(score=score, source=source, threshold=threshold), seed=2)
    total, tau = 8, 0.0
    for epoch in range(6):
        voted.cast()
        pcs, exact = voted.subject.score(), voted.scores()
        steady = voted.subject.refinable(pcs, voted.noisy, epoch, epoch + 2, total)
        assert not steady[~voted.noisy].any()
        share = 0.4 + 0.5 * (epoch + 2) / total
        if threshold == "quantile":
            assert steady.sum() == reachable(pcs[voted.noisy], share)
            if steady.any() and not steady[voted.noisy].all():
                assert pcs[steady].min() > pcs[voted.noisy & ~steady].max()
        elif threshold == "mean":
            np.testing.assert_allclose(voted.subject.threshold, exact[voted.noisy].mean(), rtol=1e-5)
            assert (exact[steady] > voted.subject.threshold).all()
        elif threshold == "controller":
            tau = exact.mean() if epoch == 0 else tau
            utilisation = (pcs > np.float32(tau)).mean()
            tau = 0.7 * tau + 0.3 * (tau - 0.2 * (share - utilisation))
            assert voted.subject.threshold == pytest.approx(tau, rel=1e-5)
            clear = np.abs(exact - tau) > 1e-5
            np.testing.assert_array_equal(steady[clear], (voted.noisy & (exact > tau))[clear])
        elif epoch == 5:
            values = pcs[voted.noisy].astype(np.float64)
            values = (values - values.min()) / (values.max() - values.min())
            mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(values[:, None])
            high = mixture.predict_proba(values[:, None])[:, mixture.means_.argmax()]
            assert (steady[voted.noisy] == (high > 0.5)).mean() > 0.9


def test_a_share_in_the_middle_is_met_where_scores_differ():
    subject = Consistency(100, 2, PcsConfig(), SplitConfig())
    pcs = np.random.default_rng(0).permutation(np.linspace(0, 1, 100)).astype(np.float32)
    noisy = np.arange(100) % 2 == 0
    for passed in range(11):
        steady = subject.refinable(pcs, noisy, passed, passed, 10)
        assert steady.sum() == round((0.4 + 0.05 * passed) * 50)


@pytest.mark.parametrize("value", [1.0, 1 / 3, 0.0, -1.25])
def test_equal_scores_are_all_refinable_when_most_should_be(value: float):
    """As after the first vote, when every gap ratio is 1: a share of 0.9 is nearest to all, one of 0.4 to none."""
    subject = Consistency(40, 3, PcsConfig(), SplitConfig())
    noisy = np.arange(40) < 30
    pcs = np.full(40, value, dtype=np.float32)
    np.testing.assert_array_equal(subject.refinable(pcs, noisy, 9, 10, 10), noisy)
    assert not subject.refinable(pcs, noisy, 0, 0, 10).any()


def test_controller_moves_also_while_nothing_is_noisy():
    subject = Consistency(4, 3, PcsConfig(threshold="controller"), SplitConfig())
    pcs, none = np.array([0, 1, 2, 5], dtype=np.float32), np.zeros(4, dtype=bool)
    subject.refinable(pcs, none, 0, 0, 10)
    assert subject.threshold == pytest.approx(2 + 0.06 * (0.25 - 0.4))


@pytest.mark.parametrize("threshold", ["quantile", "mean", "gmm", "controller"])
def test_few_noisy_pairs_do_no_harm(threshold: str):
    subject = Consistency(4, 3, PcsConfig(threshold=threshold), SplitConfig())
    pcs = np.array([0.5, 0.2, 0.9, 0.9], dtype=np.float32)
    for count in range(4):
        steady = subject.refinable(pcs, np.arange(4) < count, 0, 1, 10)
        assert not steady[count:].any()
        assert np.isfinite(subject.threshold)


def test_without_pcs_every_noisy_pair_is_refinable():
    voted = Voted(PcsConfig(enabled=False))
    voted.cast()
    steady = voted.subject.refinable(voted.subject.score(), voted.noisy, 0, 0, 10)
    np.testing.assert_array_equal(steady, voted.noisy)


@pytest.mark.parametrize("threshold", ["quantile", "controller"])
def test_goes_on_after_a_checkpoint(threshold: str):
    first = Voted(PcsConfig(threshold=threshold, window=3))
    for epoch in range(4):
        first.cast()
        first.subject.refinable(first.subject.score(), first.noisy, epoch, epoch, 8)
    second = Voted(first.options)
    second.subject.load_state({name: value.clone() for name, value in first.subject.state().items()})
    second.rng.bit_generator.state = first.rng.bit_generator.state
    for epoch in range(4, 8):
        masks = []
        for one in (first, second):
            one.cast()
            masks.append(one.subject.refinable(one.subject.score(), first.noisy, epoch, epoch, 8))
        np.testing.assert_array_equal(*masks)
        assert first.subject.threshold == second.subject.threshold
