"""Optimisers: groups of weights, rates, schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pcsr_fast.models.retrieval import seeded_model
from pcsr_fast.training.config import Config, check_config
from pcsr_fast.training.optimizers import make_optimizer, set_rate
from pcsr_fast.training.state import Position, Progress
from pcsr_fast.training.trainer import Trainer


def configured(encoders: Path, trained: bool = True) -> Config:
    config = Config()
    config.model.backbone, config.model.head, config.model.train_encoders = "hf", "vse", trained
    config.model.image_path, config.model.text_path = str(encoders / "vit"), str(encoders / "bert")
    return config


def net(config: Config) -> Any:
    return seeded_model(0, config=config.model, kind="vse", feature_dim=4, regions=2, vocabulary_size=17)


def test_pretrained_encoders_have_a_rate_of_their_own(encoders: Path) -> None:
    config = configured(encoders)
    config.train.optimizer, config.train.weight_decay = "adamw", 0.01
    model = net(config)
    optimizer = make_optimizer(model, config)
    assert type(optimizer) is torch.optim.AdamW
    new, old = optimizer.param_groups
    assert {id(one) for one in old["params"]} == {id(one) for one in model.pretrained_parameters()}
    assert len(new["params"]) + len(old["params"]) == len(list(model.parameters()))
    set_rate(optimizer, 0.5)
    assert (new["lr"], old["lr"]) == (0.5, 0.05)
    assert new["weight_decay"] == old["weight_decay"] == 0.01


def test_frozen_encoders_are_left_out(encoders: Path) -> None:
    config = configured(encoders, trained=False)
    model = net(config)
    (group,) = make_optimizer(model, config).param_groups
    assert len(group["params"]) == len(list(model.parameters())) - len(model.pretrained_parameters())


def test_our_own_encoders_are_one_group_of_adam() -> None:
    config = Config()
    optimizer = make_optimizer(net(config), config)
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]


@pytest.mark.parametrize(
    ("milestones", "in_warmup", "expected"),
    [([], False, [1, 1, 1, 1, 1, 0.5, 0.5]), ([1, 3], False, [1, 1, 1, 1, 0.5, 0.5, 0.25]), ([1], True, [1, 0.5, 0.5])],
)
def test_schedule(milestones: list[int], in_warmup: bool, expected: list[float]) -> None:
    """Three epochs of warm-up, then training."""
    trainer = object.__new__(Trainer)
    trainer.config, trainer.progress = Config(), Progress()
    train = trainer.config.train
    train.lr, train.lr_decay, train.lr_update = 1.0, 0.5, 2
    train.milestones, train.decay_in_warmup = milestones, in_warmup
    places = [Position("warmup", 0), Position("warmup", 1), Position("warmup", 2)]
    places += [Position("train", epoch) for epoch in range(4)]
    rates = []
    for trainer.progress.position in places[: len(expected)]:
        rates.append(trainer.rate())
    assert rates == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.milestones", [3, 2], "train.milestones: got .*, expected rising epochs from 1 on"),
        ("train.milestones", [0], "train.milestones: got"),
        ("augment.crop", 0.0, "augment.crop: got 0.0, expected a number from 0.01 to 1"),
        ("augment.words", 1.5, "augment.words: got 1.5, expected a number from 0 to 1"),
        ("model.backbone", "hf", "model.backbone: hf gives one vector an item, got model.head sgr; expected vse"),
        ("model.text_path", "bert", "model.text_path: is not read with model.backbone regions; expected"),
    ],
)
def test_values_that_cannot_be(key: str, value: Any, message: str) -> None:
    config = Config()
    group: Any = config
    *parents, name = key.split(".")
    for parent in parents:
        group = getattr(group, parent)
    setattr(group, name, value)
    with pytest.raises(ValueError, match=message):
        check_config(config)
