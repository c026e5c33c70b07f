"""Metrics against a plain sort, folds against blocks cut by hand, the ensemble against the mean of the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast.evaluation.metrics import direction_metrics, evaluate_scores, fold_metrics, retrieval_metrics

KEYS = {f"{side}_{name}" for side in ("i2t", "t2i") for name in ("r1", "r5", "r10", "medr", "meanr")} | {"rsum"}


def naive_metrics(S: np.ndarray, image_of_text: np.ndarray) -> dict[str, float]:
    """METHODS 1.3 with a full sort of each query; scores must be distinct."""
    i2t = []
    for image, row in enumerate(S):
        order = list(np.argsort(-row))
        own = [order.index(text) for text in np.flatnonzero(image_of_text == image)]
        if own:
            i2t.append(min(own))
    t2i = [list(np.argsort(-S[:, text])).index(image) for text, image in enumerate(image_of_text)]
    result = {}
    for side, ranks in (("i2t", i2t), ("t2i", t2i)):
        for k in (1, 5, 10):
            result[f"{side}_r{k}"] = 100 * sum(rank < k for rank in ranks) / len(ranks)
        result[f"{side}_medr"] = int(np.median(ranks)) + 1
        result[f"{side}_meanr"] = sum(ranks) / len(ranks) + 1
    result["rsum"] = sum(result[f"{side}_r{k}"] for side in ("i2t", "t2i") for k in (1, 5, 10))
    return result


def drawn(num_images: int, captions: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    image_of_text = rng.permutation(np.repeat(np.arange(num_images), captions))
    S = rng.permutation(num_images * len(image_of_text)).reshape(num_images, -1).astype(np.float64)
    # Some pairs are found, so that no recall is 0 or 100 by construction.
    S[image_of_text, np.arange(len(image_of_text))] += rng.integers(0, 2, len(image_of_text)) * S.size
    return torch.from_numpy(S), image_of_text


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 15), st.integers(1, 5), st.integers(0, 10**6))
def test_metrics_are_those_of_a_sort(num_images: int, captions: int, seed: int):
    S, image_of_text = drawn(num_images, captions, seed)
    found = retrieval_metrics(S, image_of_text)
    assert set(found) == KEYS
    assert found == pytest.approx(naive_metrics(S.numpy(), image_of_text), abs=1e-9)


def test_pictures_without_a_caption_are_no_queries():
    S = torch.tensor([[3.0, 1.0], [0.0, 2.0], [9.0, 9.0]])
    found = retrieval_metrics(S, np.array([0, 1]))
    assert (found["i2t_r1"], found["t2i_r1"], found["t2i_meanr"]) == (100.0, 0.0, 2.0)


def test_a_collapsed_model_ranks_last():
    found = retrieval_metrics(torch.zeros(20, 20), np.arange(20))
    assert found["rsum"] == 0.0
    assert found["i2t_medr"] == 20.0


def test_median_rank_is_floored_as_published():
    found = direction_metrics(np.array([0, 1, -1], dtype=np.int64), "t2i")
    assert found == {"t2i_r1": 50.0, "t2i_r5": 100.0, "t2i_r10": 100.0, "t2i_medr": 1.0, "t2i_meanr": 1.5}


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_folds_are_blocks_of_consecutive_pictures(folds: int):
    S, image_of_text = drawn(10, 3, seed=folds)
    blocks, size = [], 10 // folds
    for start in range(0, 10, size):
        texts = [j for j, image in enumerate(image_of_text) if start <= image < start + size]
        block = S.numpy()[start : start + size][:, texts]
        blocks.append(naive_metrics(block, image_of_text[texts] - start))
    expected = {key: sum(block[key] for block in blocks) / folds for key in KEYS}
    assert fold_metrics(S, image_of_text, folds) == pytest.approx(expected)


@pytest.mark.parametrize("folds", [0, 11])
def test_impossible_folds_are_refused(folds: int):
    S, image_of_text = drawn(10, 1, seed=0)
    with pytest.raises(ValueError, match=rf"folds: got {folds} for 10 pictures, expected 1\.\.10"):
        fold_metrics(S, image_of_text, folds)


def test_ensemble_is_of_the_mean_similarity():
    (A, image_of_text), B = drawn(8, 2, seed=1), torch.rand(8, 16, dtype=torch.float64) * 100
    found = evaluate_scores([A, B], image_of_text)
    assert found["nets"] == [retrieval_metrics(A, image_of_text), retrieval_metrics(B, image_of_text)]
    assert found["ensemble"] == retrieval_metrics((A + B) / 2, image_of_text)
    assert found["ensemble"] not in found["nets"]
    assert evaluate_scores([A], image_of_text)["ensemble"] == retrieval_metrics(A, image_of_text)
