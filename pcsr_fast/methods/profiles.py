"""Named sets of switches. `pcsr` is the defaults of config.py; `pcsr_official` is the authors' code as it stands (METHODS 4.6)."""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, dict[str, Any]] = {
    "pcsr": {},
    "pcsr_official": {
        "loss.margin_mode": "official",
        "loss.positive_mask": "diag",
        "split.init": "kmeans",
        "head.entropy": "per_sample",
        "head.lambda_en": 10.0,
        "head.train_in_warmup": False,
        "head.text_pool": "pad_batch_max",
        "pcs.score": "gap",
        "pcs.threshold": "controller",
        "pcs.count_warmup": True,
        "pcs.votes_per_epoch": 2,
        "po.key": "local",
        "replace.below": "margin0",
        "replace.detach_margin": False,
        "replace.resample": "official",
        "replace.mask_equal": False,
        "apo.ambiguous.replace_text": True,
    },
}
