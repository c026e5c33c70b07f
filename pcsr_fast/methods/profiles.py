"""Named sets of switches that a configuration starts from.

`plain` is the defaults of config.py: the paper's losses, for the baselines. `pcsr_official` and `pc2_official` are the
authors' code as it stands (METHODS 4.6, 3.2). `pcsr` is the method as this library recommends it; what each of its switches
brought is measured in benchmarks/results/research_log.md. The others are the published losses, labels and splits of their
methods (METHODS 2, 3, 7); numbers of epochs are left to the configuration.
"""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, dict[str, Any]] = {
    "plain": {},
    "pcsr": {
        "warmup.loss": "gce_infonce",
        "warmup.temperature": 0.1,
        "loss.temperature": 0.1,
        "split.momentum": 0.7,
        "replace.by": "similarity",
        "replace.pool": "auto",
        "replace.min_cos": 0.3,
        "apo.joint": True,
        "apo.clean.loss": "gce_infonce",
        "apo.refinable.loss": "gce_infonce",
        "apo.refinable.weight": 0.5,
    },
    "pcsr_official": {
        "loss.margin_mode": "official",
        "loss.positive_mask": "diag",
        "split.init": "kmeans",
        "head.entropy": "per_sample",
        "head.lambda_en": 10.0,
        "head.train_in_warmup": False,
        "head.text_pool": "pad_batch_max",
        "head.teacher": "argmax",
        "head.detach": False,
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
    "pc2": {
        "warmup.loss": "triplet_mean",
        "head.num_classes": 128,
        "pcs.enabled": False,
        "apo.ambiguous.enabled": False,
    },
    "pc2_official": {
        "warmup.loss": "triplet_mean",
        "loss.margin_mode": "official",
        "loss.positive_mask": "diag",
        "split.init": "kmeans",
        "head.num_classes": 128,
        "head.entropy": "per_sample",
        "head.lambda_en": 10.0,
        "head.text_pool": "pad_batch_max",
        "head.teacher": "argmax",
        "head.detach": False,
        "pcs.enabled": False,
        "po.key": "local",
        "replace.below": "margin0",
        "replace.detach_margin": False,
        "replace.resample": "official",
        "replace.mask_equal": False,
        "apo.ambiguous.enabled": False,
    },
    "ncr": {
        "warmup.loss": "triplet_mean",
        "loss.positive_mask": "diag",
        "split.init": "kmeans",
        "label.rule": "ncr",
    },
    "bicro": {
        "warmup.loss": "triplet_select",
        "warmup.select_rate": 0.3,
        "loss.positive_mask": "diag",
        "split.mixture": "beta",
        "label.rule": "bicro",
    },
    "cream": {
        "warmup.temperature": 0.07,
        "loss.temperature": 0.07,
        "loss.positive_mask": "diag",
        "split.rule": "agreement",
        "split.loss": "infonce",
        "split.init": "kmeans",
        "label.rule": "ncr",
        "label.predict": "softmax",
        "ncr.hard_start": 0.25,
        "ncr.noisy_start": 0.375,
    },
    "rcl": {"warmup.loss": "ccl_log"},
    "decl": {"warmup.loss": "evidential", "warmup.temperature": 0.1, "loss.temperature": 0.1},
    "rde": {
        "warmup.loss": "tal",
        "warmup.temperature": 0.015,
        "loss.temperature": 0.015,
        "loss.margin": 0.1,
    },
    "d2s": {
        "model.head": "vse",
        "model.dropout": 0.2,
        "model.token_drop": 0.2,
        "augment.words": 0.2,
        "train.optimizer": "adamw",
        "train.weight_decay": 1e-4,
    },
}
