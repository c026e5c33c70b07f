"""Plain numbers about an epoch: what goes into history.jsonl, the progress line and the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from pcsr_fast.evaluation.split_quality import histogram, loss_histogram, split_quality
from pcsr_fast.methods.base import PART_NAMES, IdArray, NetSplit, Partition
from pcsr_fast.training.state import Progress


def split_summary(split: NetSplit, partition: Partition | None, held: IdArray, truth: IdArray) -> dict[str, Any]:
    """What one net's split found; its quality where wrong pairs are known.

    Args:
        split: the net's split.
        partition: the partition made of it, if its replacements are to be judged.
        held, truth: (N,) rows of the held and of the true pictures.
    """
    is_true = held == truth
    known = bool((~is_true).any() and is_true.any())
    return {
        "counts": {name: int((split.part == k).sum()) for k, name in enumerate(PART_NAMES)},
        "pcs_threshold": split.pcs_threshold,
        "classes": split.classes,
        "mixture": split.mixture,
        "loss_histogram": loss_histogram(split.losses, is_true if known else None),
        "pcs_histogram": None if split.pcs is None else _pcs_histogram(split.pcs),
        "quality": split_quality(split.posterior, split.part, is_true, PART_NAMES) if known else None,
        "replacement": None if partition is None else _replacement_quality(partition, held, truth),
    }


def _pcs_histogram(pcs: np.ndarray[Any, Any]) -> dict[str, list[Any]]:
    low, high = float(min(0.0, pcs.min())), float(max(1.0, pcs.max()))
    return histogram(pcs, low, high, 20)


def _replacement_quality(partition: Partition, held: IdArray, truth: IdArray) -> dict[str, float] | None:
    """Share of replaced captions that truly belong to the picture they were given to, where a partition names them."""
    if partition.replacement is None or partition.similarity is None:
        return None
    rows = np.flatnonzero(partition.replacement >= 0)
    if len(rows) == 0:
        return None
    hit = truth[partition.replacement[rows]] == held[rows]
    return {
        "count": len(rows),
        "image_accuracy": float(hit.mean()),
        "median_similarity": float(np.median(partition.similarity[rows])),
    }


def epoch_line(progress: Progress, rate: float, dev: dict[str, Any]) -> dict[str, Any]:
    """The epoch's entry in the history."""
    position = progress.position
    return {
        "stage": position.stage,
        "epoch": position.epoch,
        "lr": rate,
        "seconds": progress.epoch_seconds,
        "loss": {name: total / count for name, (total, count) in progress.sums.items() if count},
        "replaced": {"count": progress.replaced[1], "hits": progress.replaced[0]},
        "dev": dev,
        "split": progress.split,
    }
