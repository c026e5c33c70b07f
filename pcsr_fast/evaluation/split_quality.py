"""How good a split is, measured against the known truth of a research set."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def split_quality(
    posterior: npt.NDArray[np.float32], part: npt.NDArray[np.uint8], is_true: Mask, names: tuple[str, ...]
) -> dict[str, Any]:
    """Precision and recall of the clean subset, AUC of the posterior, and counts (true, wrong) of each part.

    Args:
        posterior: (N,) probability of being clean.
        part: (N,) index into `names`; part 0 is the clean one.
        is_true: (N,) which pairs are right; both kinds must occur.
        names: names of the parts.
    """
    from sklearn.metrics import roc_auc_score  # takes two seconds, which no command but training should wait for

    clean = part == 0
    return {
        "precision": float(is_true[clean].mean()) if clean.any() else 0.0,
        "recall": float(clean[is_true].mean()),
        "auc": float(roc_auc_score(is_true, posterior)),
        "confusion": {
            name: [int((is_true & (part == k)).sum()), int((~is_true & (part == k)).sum())]
            for k, name in enumerate(names)
        },
    }


def histogram(values: npt.NDArray[np.float32], low: float, high: float, bins: int) -> dict[str, list[Any]]:
    """Counts of `values` in equal bins of [low, high]; what lies outside goes into the end bins."""
    edges = np.linspace(low, high, bins + 1)
    counts, _ = np.histogram(np.clip(values, low, high), bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def loss_histogram(losses: npt.NDArray[np.float32], is_true: Mask | None) -> dict[str, Any]:
    """Histogram of normalised losses: all, and apart by truth where that is known."""
    whole = histogram(losses, 0.0, 1.0, 40)
    result: dict[str, Any] = {"edges": whole["edges"], "all": whole["counts"], "clean": None, "wrong": None}
    if is_true is not None:
        result["clean"] = histogram(losses[is_true], 0.0, 1.0, 40)["counts"]
        result["wrong"] = histogram(losses[~is_true], 0.0, 1.0, 40)["counts"]
    return result
