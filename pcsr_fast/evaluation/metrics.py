"""Retrieval metrics from ranks (METHODS 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from pcsr_fast.ops.scores import Product, Scores, mean_scores, retrieval_ranks_of, select_scores

Metrics = dict[str, float]


def direction_metrics(ranks: npt.NDArray[np.int64], prefix: str) -> Metrics:
    """R@1, R@5, R@10 in percent, median and mean rank (1 = best) from 0-based ranks; negative ranks are left out."""
    ranks = ranks[ranks >= 0]
    recalls = {f"{prefix}_r{k}": 100.0 * float(np.mean(ranks < k)) for k in (1, 5, 10)}
    return {
        **recalls,
        f"{prefix}_medr": float(np.floor(np.median(ranks)) + 1),
        f"{prefix}_meanr": float(ranks.mean() + 1),
    }


def metrics_from_ranks(i2t: npt.NDArray[np.int64], t2i: npt.NDArray[np.int64]) -> Metrics:
    """Both directions and rSum, the sum of the six recalls."""
    result = {**direction_metrics(i2t, "i2t"), **direction_metrics(t2i, "t2i")}
    result["rsum"] = sum(result[f"{side}_r{k}"] for side in ("i2t", "t2i") for k in (1, 5, 10))
    return result


def retrieval_metrics(scores: Scores, image_of_text: npt.NDArray[np.int64]) -> Metrics:
    """Metrics of scores (pictures, captions); ties count against the model."""
    ranks = retrieval_ranks_of(scores, torch.from_numpy(image_of_text), ties="pessimistic")
    return metrics_from_ranks(ranks[0].numpy(), ranks[1].numpy())


def fold_metrics(scores: Scores, image_of_text: npt.NDArray[np.int64], folds: int) -> Metrics:
    """Mean of the metrics over `folds` blocks of consecutive pictures, each with its own captions (COCO 1K: 5 folds).

    Raises:
        ValueError: more folds than pictures.
    """
    pictures = len(scores.x if isinstance(scores, Product) else scores)
    if not 1 <= folds <= pictures:
        raise ValueError(f"fold_metrics: folds: got {folds} for {pictures} pictures, expected 1..{pictures}")
    edges = np.linspace(0, pictures, folds + 1).astype(np.int64)
    blocks = []
    for start, stop in pairwise(edges):
        texts = np.flatnonzero((image_of_text >= start) & (image_of_text < stop))
        block = select_scores(scores, slice(int(start), int(stop)), torch.from_numpy(texts))
        blocks.append(retrieval_metrics(block, image_of_text[texts] - start))
    return {key: float(np.mean([block[key] for block in blocks])) for key in blocks[0]}


def evaluate_scores(
    scores: Sequence[Scores], image_of_text: npt.NDArray[np.int64], folds: int = 1
) -> dict[str, object]:
    """`nets`: metrics of each net; `ensemble`: of their mean similarity."""
    nets = [fold_metrics(one, image_of_text, folds) for one in scores]
    if len(scores) == 1:
        return {"nets": nets, "ensemble": dict(nets[0])}
    return {"nets": nets, "ensemble": fold_metrics(mean_scores(scores), image_of_text, folds)}
