"""What the files of a run folder hold, as far as the report relies on it."""

from __future__ import annotations

from pcsr_fast.report.shape import ANY, INTEGER, NUMBER, POSITIVE, TEXT, Each, Items, Maybe

PARTS = ("clean", "refinable", "ambiguous")
SIDES = ("i2t", "t2i")
RECALLS = (1, 5, 10)

_METRICS = {f"{side}_{name}": NUMBER for side in SIDES for name in ("r1", "r5", "r10", "medr")} | {"rsum": NUMBER}
_SCORES = {"nets": Items(_METRICS), "ensemble": _METRICS}
_BINS, _TWO = Items(NUMBER), Items(NUMBER, 2)
_SPLIT = {
    "counts": {name: INTEGER for name in PARTS},
    "pcs_threshold": Maybe(NUMBER),
    "mixture": Maybe({"means": _TWO, "variances": Items(POSITIVE, 2), "weights": _TWO, "separation": NUMBER}),
    "loss_histogram": {"edges": _BINS, "all": _BINS, "clean": Maybe(_BINS), "wrong": Maybe(_BINS)},
    "pcs_histogram": Maybe({"edges": _BINS, "counts": _BINS}),
    "quality": Maybe(
        {"precision": NUMBER, "recall": NUMBER, "auc": NUMBER, "confusion": {name: Items(INTEGER, 2) for name in PARTS}}
    ),
    "replacement": Maybe({"image_accuracy": NUMBER, "median_similarity": NUMBER}),
}
_SPLITS = Maybe(Items(_SPLIT))
EPOCH = {
    "stage": TEXT,
    "epoch": INTEGER,
    "lr": NUMBER,
    "seconds": NUMBER,
    "loss": Each(NUMBER),
    "dev": _SCORES,
    "split": _SPLITS,
}
RUN = {
    "method": TEXT,
    "profile": TEXT,
    "dataset": TEXT,
    "seed": INTEGER,
    "best": {"stage": TEXT, "epoch": INTEGER, "rsum": NUMBER},
    "dev": _SCORES,
    "test": _SCORES,
    "split": _SPLITS,
    "seconds": NUMBER,
    "machine": Each(ANY),
}
NOISE = {"ratio": Maybe(NUMBER), "level": Maybe(TEXT), "seed": Maybe(INTEGER), "source": TEXT, "wrong_share": NUMBER}
_ROWS = Items(INTEGER)
_QUERY = {"query": INTEGER, "top": _ROWS, "scores": _BINS}
RETRIEVAL = {
    "split": TEXT,
    "text_to_image": Items(_QUERY | {"image": INTEGER}),
    "image_to_text": Items(_QUERY | {"true": _ROWS}),
}
SPLIT_OPTIONS = {"split": {"mixture": TEXT, "p_threshold": NUMBER, "monotone": TEXT}}
FINDINGS = {"p_clean": "f", "loss": "f", "part": "u", "replacement": "i", "replacement_similarity": "f"}
