"""Nothing breaks where a kind of pair is missing altogether (METHODS 4.6 #16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.data.noise import inject_noise
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.methods import METHODS
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.training.config import Config, check_config
from pcsr_fast.training.findings import find
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.trainer import Trainer

TINY: dict[str, Any] = {
    "model.head": "vse",
    "model.embed_dim": 6,
    "model.word_dim": 4,
    "model.sim_dim": 3,
    "model.sgr_steps": 1,
    "model.prompt.heads": 2,
    "head.num_classes": 4,
    "head.hidden": 5,
    "head.train_in_warmup": True,
    "warmup.epochs": 1,
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.device": "cpu",
    "apo.refinable.start_epoch": 0,
    "apo.ambiguous.start_epoch": 0,
}
ALL_NOISY = {"split.p_threshold": 1.0}
ALL_CLEAN = {"split.p_threshold": 0.0, "split.min_noisy_frac": 0.0}
ONE_NOISY = {"split.p_threshold": 0.0, "split.min_noisy_frac": 0.03}
ALL_REFINABLE = {"pcs.enabled": False}
ALL_AMBIGUOUS = {"pcs.share_min": 0.0, "pcs.share_max": 0.0}
WHOLE_SET = {"replace.pool": "clean_set", "replace.by": "similarity", "replace.min_cos": 0.0}
OFFICIAL = {**PROFILES["pcsr_official"], "head.train_in_warmup": True}


def trained(folder: Path, ratio: float, **settings: Any) -> Trainer:
    """A run of three epochs on 36 pairs."""
    dataset = synthetic_dataset(12, captions_per_image=3, regions=3, dim=5, topics=6, seed=0)
    config: Any = Config(output=str(folder))
    profile = PROFILES.get(settings.get("method", "plain"), {})
    for key, value in {**profile, **TINY, **settings}.items():
        group = config
        *parents, name = key.split(".")
        for parent in parents:
            group = getattr(group, parent)
        assert hasattr(group, name), key
        setattr(group, name, value)
    check_config(config)
    held = inject_noise(dataset.train.image_of_caption, ratio=ratio, seed=1)
    trainer = Trainer(config, dataset, held, folder, Observer())
    trainer.fit()
    return trainer


@pytest.mark.parametrize(
    ("head", "settings", "kinds"),
    [
        ("vse", ALL_NOISY, set()),
        ("vse", ALL_CLEAN, {"clean"}),
        ("vse", ONE_NOISY, {"clean"}),
        ("sgr", {**ONE_NOISY, **OFFICIAL}, {"clean"}),
        ("vse", ALL_REFINABLE, {"clean", "refinable"}),
        ("vse", ALL_AMBIGUOUS, {"clean", "ambiguous"}),
        ("saf", {**OFFICIAL, "replace.min_cos": 1.0, "replace.below": "drop"}, None),
    ],
    ids=["noisy", "clean", "one-noisy", "one-noisy-official", "refinable", "ambiguous", "nothing-similar"],
)
def test_missing_kinds(tmp_path: Path, head: str, settings: dict[str, Any], kinds: set[str] | None):
    trainer = trained(tmp_path, 0.5, **{"model.head": head, "replace.min_cos": 0.0, **settings})
    history = trainer.progress.history
    assert [line["stage"] for line in history] == ["warmup", "train", "train"]
    if kinds is not None:
        assert all(set(line["loss"]) == kinds for line in history[1:])
    assert all(np.isfinite(value) for line in history for value in line["loss"].values())
    findings, _ = find(trainer)
    assert len(findings.part) == 36


@pytest.mark.parametrize("settings", [ALL_NOISY, ALL_CLEAN, ONE_NOISY, {}], ids=["noisy", "clean", "one", "some"])
def test_missing_kinds_with_the_whole_clean_set(tmp_path: Path, settings: dict[str, Any]):
    trainer = trained(tmp_path, 0.5, **WHOLE_SET, **settings)
    assert len(trainer.progress.history) == 3
    find(trainer)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_no_wrong_pair_and_hardly_a_right_one(tmp_path: Path, method: str, ratio: float):
    trainer = trained(tmp_path, ratio, method=method)
    assert len(trainer.progress.history) == 3


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("window", [0, 2])
def test_queue_and_window_in_a_run(tmp_path: Path, nets: int, window: int):
    settings = {"replace.pool": "queue", "replace.queue_size": 10, "replace.min_cos": 0.0, "pcs.window": window}
    trainer = trained(tmp_path, 0.5, **settings, **{"train.num_nets": nets, "split.passes": 2})
    losses = [line["loss"] for line in trainer.progress.history]
    assert any("refinable" in loss for loss in losses)
