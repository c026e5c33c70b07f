"""The configurations of the published data sets: the papers' settings, and runs on such files of a small size."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import write_precomp
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.models.config import ModelConfig, PromptConfig
from pcsr_fast.training.config import AugmentConfig, TrainConfig, as_dict, check_config, settle
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train

# METHODS 3.2, 4.9: epochs, lr_update, warm-up epochs, first refinable and first ambiguous epoch.
SCHEDULES = {
    "flickr30k_pcsr": (50, 30, 5, 25, 40),
    "coco_pcsr": (20, 10, 10, 10, 16),
    "cc152k_pcsr": (40, 30, 10, 20, 32),
    "now_pcsr": (50, 30, 10, 25, 40),
}
EVERY = pytest.mark.parametrize("name", SCHEDULES)
SMALL = """
--data.min_word_count 1 --model.embed_dim 8 --model.word_dim 6 --model.sim_dim 6 --head.num_classes 6 --head.hidden 8
--warmup.epochs 1 --train.epochs 1 --train.batch_size 40 --train.lr 0.005 --train.device cpu --train.tensorboard false
--apo.refinable.start_epoch 0 --apo.ambiguous.start_epoch 0 --replace.min_cos 0
""".split()


@EVERY
def test_settings_are_the_papers(name: str) -> None:
    config = settle(parse_config(["--config", name])[0])
    check_config(config)
    apo, t = config.apo, config.train
    schedule = (t.epochs, t.lr_update, config.warmup.epochs, apo.refinable.start_epoch, apo.ambiguous.start_epoch)
    assert schedule == SCHEDULES[name]
    assert (t.batch_size, t.lr, t.lr_decay, t.grad_clip, t.num_nets) == (128, 2e-4, 0.1, 2.0, 2)
    assert config.model == ModelConfig("sgr", embed_dim=1024, word_dim=300, sim_dim=256, sgr_steps=3, dropout=0.4)
    plain = MethodConfig()
    plain.warmup.epochs = config.warmup.epochs
    plain.apo.refinable.start_epoch = apo.refinable.start_epoch
    plain.apo.ambiguous.start_epoch = apo.ambiguous.start_epoch
    settled = as_dict(config)
    assert {key: settled[key] for key in as_dict(plain)} == as_dict(plain)
    assert replace(t, epochs=50, lr_update=30) == TrainConfig()
    assert config.noise.ratio == (0.4 if name in ("flickr30k_pcsr", "coco_pcsr") else 0)


@pytest.mark.parametrize("profile", ["pc2", "pc2_official"])
def test_settings_of_pc2_on_now(profile: str) -> None:
    """METHODS 3.2: K 128, warm-up 10, pseudo-captions from epoch 25, mean triplet; the code's entropy weighs 10."""
    config = settle(parse_config(["--config", "now_pc2", "--profile", profile])[0])
    check_config(config)
    official, t, head = profile == "pc2_official", config.train, config.head
    assert (config.method, t.epochs, t.lr_update, config.warmup.epochs) == ("pc2", 50, 30, 10)
    assert (config.apo.refinable.start_epoch, config.warmup.loss, head.num_classes) == (25, "triplet_mean", 128)
    assert (config.pcs.enabled, config.apo.ambiguous.enabled, head.train_in_warmup) == (False, False, True)
    assert (head.entropy, head.lambda_en) == (("per_sample", 10.0) if official else ("batch_mean", 1.0))
    assert config.loss.margin_mode == ("official" if official else "anchor")
    assert config.replace.below == ("margin0" if official else "drop")
    assert (config.po.key, config.replace.min_cos) == ("local" if official else "global", 0.5)


@EVERY
@pytest.mark.parametrize("profile", ["plain", "pcsr", "pcsr_official"])
def test_profiles_fit(name: str, profile: str) -> None:
    check_config(settle(parse_config(["--config", name, "--profile", profile])[0]))


def written(name: str, folder: Path) -> list[str]:
    """A planted set of 36 regions a picture in the files that the configuration reads, and the words that lead there."""
    captions = 5 if name in ("flickr30k_pcsr", "coco_pcsr") else 1
    planted = synthetic_dataset(90 // captions, captions, dim=8, topics=6, num_dev=10, num_test=12, seed=5)
    style = {"cc152k_pcsr": "cc152k", "now_pcsr": "now", "now_pc2": "now"}.get(name, "f30k")
    write_precomp(planted, folder, style=style, suffix="bert")
    if name == "coco_pcsr":
        for path in folder.glob("test_*"):
            path.rename(path.with_name(path.name.replace("test_", "testall_")))
    words = ["--config", name, "--data.path", str(folder)]
    return [*words, "--data.vocab", str(folder / "vocab.json")] if style == "now" else words


@pytest.mark.parametrize("name", [*SCHEDULES, "now_pc2"])
def test_an_epoch_on_such_files(name: str, tmp_path: Path) -> None:
    words = [*written(name, tmp_path / "data"), "--output", str(tmp_path / "run"), *SMALL]
    metrics, dataset = train(parse_config(words)[0], console=Console(file=io.StringIO()))
    assert dataset.train.regions.shape[1] == 36
    assert len(metrics["test"]["nets"]) == 2
    assert np.isfinite(metrics["test"]["ensemble"]["rsum"])
    assert sum(metrics["split"][0]["counts"].values()) == 90


def test_d2s_has_the_settings_of_the_paper(
    album: Path, encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """METHODS 6; and an epoch of each stage, in small, on raw pictures with dense texts from a file."""
    config = settle(parse_config(["--config", "d2s_flickr30k"])[0])
    check_config(config)
    t, m = config.train, config.model
    assert (t.optimizer, t.lr, t.weight_decay, t.epochs, t.milestones) == ("adamw", 2e-4, 1e-4, 30, [9, 15, 20, 25])
    assert (t.lr_decay, t.decay_in_warmup, config.warmup.epochs, t.batch_size) == (0.3, True, 30, 128)
    assert (m.embed_dim, m.dropout, m.token_drop, m.encoder_lr, m.prompt) == (
        512,
        0.2,
        0.2,
        0.1,
        PromptConfig(100, 4, 4),
    )
    assert (config.augment, config.loss.margin) == (AugmentConfig(True, 0.6, 0.5, 0.2), 0.2)
    dense = tmp_path / "dense.jsonl"
    names = [path.name for path in sorted(album.glob("train*.png"))]
    dense.write_text("\n".join(json.dumps({"image": name, "text": "a picture of red over grey"}) for name in names))
    monkeypatch.chdir(encoders)
    words = """--config d2s_flickr30k --model.image_path swin --model.text_path bert --model.image_size 16
    --model.embed_dim 8 --model.prompt.tokens 3 --model.prompt.blocks 1 --model.prompt.heads 2 --warmup.epochs 1
    --train.epochs 1 --train.batch_size 24 --train.device cpu --train.tensorboard false""".split()
    paths = ["--data.path", str(album), "--d2s.dense_file", str(dense), "--output", str(tmp_path / "run")]
    metrics, _ = train(parse_config([*words, *paths])[0], console=Console(file=io.StringIO()))
    assert np.isfinite(metrics["test"]["ensemble"]["rsum"])
