"""Split quality against scikit-learn, histograms against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from pcsr_fast.evaluation.split_quality import histogram, loss_histogram, split_quality

NAMES = ("clean", "refinable", "ambiguous")


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 60), st.integers(0, 10**6))
def test_quality_is_scikit_learns(count: int, seed: int):
    rng = np.random.default_rng(seed)
    is_true = rng.permutation(np.arange(count) % 3 > 0)
    part = rng.integers(0, 3, count).astype(np.uint8)
    posterior = (rng.integers(0, 8, count) / 8).astype(np.float32)
    found = split_quality(posterior, part, is_true, NAMES)
    assert found["precision"] == pytest.approx(precision_score(is_true, part == 0, zero_division=0))
    assert found["recall"] == pytest.approx(recall_score(is_true, part == 0))
    assert found["auc"] == pytest.approx(roc_auc_score(is_true, posterior))
    for k, name in enumerate(NAMES):
        of_kind = is_true[part == k]
        assert found["confusion"][name] == [int(of_kind.sum()), int((~of_kind).sum())]


def test_nothing_called_clean_has_no_precision():
    found = split_quality(np.zeros(2, np.float32), np.array([1, 2], np.uint8), np.array([True, False]), NAMES)
    assert (found["precision"], found["recall"], found["auc"]) == (0.0, 0.0, 0.5)


def test_histogram_ends_take_what_lies_outside():
    values = np.array([-3.0, 0.0, 0.1, 0.25, 0.5, 0.99, 1.0, 7.0], dtype=np.float32)
    found = histogram(values, 0.0, 1.0, 4)
    assert found == {"edges": [0.0, 0.25, 0.5, 0.75, 1.0], "counts": [3, 1, 1, 3]}


def test_loss_histogram_parts_add_up():
    rng = np.random.default_rng(0)
    losses, is_true = rng.random(200).astype(np.float32), rng.random(200) < 0.6
    found = loss_histogram(losses, is_true)
    assert len(found["edges"]) == 41
    assert sum(found["clean"]) == is_true.sum()
    assert [a + b for a, b in zip(found["clean"], found["wrong"], strict=True)] == found["all"]
    assert loss_histogram(losses, None)["clean"] is None
