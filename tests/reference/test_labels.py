"""Soft margins, label rules and the pseudo-classifier's losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from pcsr_fast import reference

SEEDS = st.integers(0, 2**31 - 1)
FLOAT64 = torch.float64


def logits_of(seed: int, rows: int, classes: int) -> torch.Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


class TestSoftMargin:
    @pytest.mark.parametrize("kind", ["exponential", "linear", "sin"])
    def test_runs_from_nothing_to_alpha_without_falling(self, kind):
        y = torch.linspace(0, 1, 101, dtype=FLOAT64)
        margin = reference.soft_margin(y, 0.3, kind)
        torch.testing.assert_close(margin[[0, -1]], torch.tensor([0.0, 0.3], dtype=FLOAT64))
        assert (margin.diff() >= 0).all()

    def test_formulas(self):
        y = torch.tensor([0.25], dtype=FLOAT64)
        torch.testing.assert_close(reference.soft_margin(y, 0.2, "linear"), 0.2 * y)
        torch.testing.assert_close(reference.soft_margin(y, 0.2, "sin"), torch.tensor([0.0292893219], dtype=FLOAT64))

    def test_gradient_reaches_the_label(self):
        y = torch.rand(3, dtype=FLOAT64, requires_grad=True)
        for kind in ("exponential", "linear", "sin"):
            assert torch.autograd.gradcheck(lambda v, kind=kind: reference.soft_margin(v, 0.2, kind), (y,))

    def test_unknown_kind(self):
        with pytest.raises(ValueError, match=r"kind: got 'cubic', expected one of exponential"):
            reference.soft_margin(torch.ones(1), kind="cubic")


class TestNcrPredict:
    @given(SEEDS, st.integers(1, 40))
    def test_labels_lie_in_the_unit_interval_and_fall_with_the_loss(self, seed, size):
        losses = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)
        labels = reference.ncr_predict(losses, 0.2)
        assert ((labels >= 0) & (labels <= 1)).all()
        assert (labels[losses.argsort()].diff() <= 1e-12).all()

    def test_hopeless_pairs_have_label_zero(self):
        assert reference.ncr_predict(torch.full((5,), 3.0), 0.2).tolist() == [0.0] * 5


class TestGce:
    @given(SEEDS, st.integers(1, 8), st.integers(2, 6), st.sampled_from((0.1, 0.7, 1.0)))
    def test_is_between_mae_and_cross_entropy(self, seed, rows, classes, q):
        logits = logits_of(seed, rows, classes)
        targets = logits_of(seed + 1, rows, classes).argmax(1)
        losses = reference.gce(logits, targets, q, reduction="none")
        p = logits.softmax(1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(losses, (1 - p**q) / q)
        assert (losses >= 1 - p - 1e-12).all()
        assert (losses <= functional.cross_entropy(logits, targets, reduction="none") + 1e-12).all()

    def test_small_q_tends_to_cross_entropy(self):
        logits, targets = logits_of(0, 4, 3), torch.tensor([0, 1, 2, 0])
        near = reference.gce(logits, targets, q=1e-9)
        torch.testing.assert_close(near, reference.gce(logits, targets, q=0.0), rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(reference.gce(logits, targets, q=0.0), functional.cross_entropy(logits, targets))

    def test_gradient(self):
        logits = logits_of(1, 4, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: reference.gce(z, torch.tensor([0, 2, 1, 1]), 0.7), (logits,))

    def test_impossible_targets_stay_finite(self):
        logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
        loss = reference.gce(logits, torch.tensor([1]))
        loss.backward()
        torch.testing.assert_close(loss, torch.tensor(1 / 0.7))
        assert torch.isfinite(logits.grad).all()


class TestEntropy:
    @given(SEEDS, st.integers(1, 8), st.integers(1, 6))
    def test_bounds(self, seed, rows, classes):
        logits = logits_of(seed, rows, classes)
        each, batch = reference.entropy(logits, "per_sample"), reference.entropy(logits, "batch_mean")
        assert -1e-12 <= each <= batch + 1e-12  # entropy is concave
        assert batch <= torch.tensor(float(classes)).log() + 1e-6

    @pytest.mark.parametrize("kind", ["per_sample", "batch_mean"])
    def test_gradient_and_extremes(self, kind):
        logits = logits_of(2, 4, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: reference.entropy(z, kind), (logits,))
        sure = torch.tensor([[900.0, 0.0], [900.0, 0.0]], requires_grad=True)
        value = reference.entropy(sure, kind)
        value.backward()
        assert value.item() == pytest.approx(0.0, abs=1e-6)
        assert torch.isfinite(sure.grad).all()

    def test_unknown_kind(self):
        with pytest.raises(ValueError, match="kind: got 'x', expected per_sample or batch_mean"):
            reference.entropy(torch.ones(2, 2), "x")


class TestPredictionOscillation:
    @given(SEEDS, st.integers(1, 8), st.integers(2, 6))
    def test_is_a_divergence(self, seed, rows, classes):
        now, bank = logits_of(seed, rows, classes).softmax(1), logits_of(seed + 1, rows, classes).softmax(1)
        torch.testing.assert_close(
            reference.prediction_oscillation(now, bank),
            functional.kl_div(bank.log(), now, reduction="none").sum(1),
        )
        assert (reference.prediction_oscillation(now, bank) >= -1e-12).all()
        assert not reference.prediction_oscillation(now, now).any()

    def test_zero_probabilities_stay_finite(self):
        now = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        bank = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float16)
        values = reference.prediction_oscillation(now, bank)
        torch.testing.assert_close(values, torch.tensor([18.420681, 0.0]))


class TestMatchTexts:
    @given(SEEDS, st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
    def test_finds_the_largest_cosine(self, seed, noisy, clean, classes):
        p, q = logits_of(seed, noisy, classes).softmax(1), logits_of(seed + 1, clean, classes).softmax(1)
        index, cosine = reference.match_texts(p, q)
        every = functional.cosine_similarity(p[:, None], q[None], dim=2)
        torch.testing.assert_close(every.gather(1, index[:, None])[:, 0], every.amax(1))
        torch.testing.assert_close(cosine, every.amax(1), rtol=1e-6, atol=1e-6)

    def test_ties_take_the_lowest_index(self):
        p = torch.tensor([[0.2, 0.8]])
        assert reference.match_texts(p, p.repeat(4, 1))[0].item() == 0
