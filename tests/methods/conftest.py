"""A tiny world in float64: pictures, captions, batches by pair id, models with outspoken pseudo-classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.methods.base import Batch, SplitStatistics
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from pcsr_fast.training.batches import padded

PAIRS, PICTURES, REGIONS, CLASSES = 16, 9, 3, 4


def configured(profile: str = "plain", **settings: Any) -> MethodConfig:
    """A configuration from a profile and dotted keys, their dots written as double underscores."""
    config = MethodConfig()
    for key, value in {**PROFILES[profile], **{k.replace("__", "."): v for k, v in settings.items()}}.items():
        group: Any = config
        *parents, name = key.split(".")
        for parent in parents:
            group = getattr(group, parent)
        assert hasattr(group, name), key
        setattr(group, name, value)
    return config


class World:
    """16 pairs over 9 pictures; captions of 2 to 7 words; pairs 0-3 hold short captions only."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.regions = rng.standard_normal((PICTURES, REGIONS, 5))
        lengths = [2, 3, 3, 2, 7, 4, 5, 2, 6, 3, 4, 7, 2, 5, 3, 6]
        self.tokens = [rng.integers(1, 12, n) for n in lengths]
        self.held = np.array([0, 1, 0, 2, 3, 4, 3, 5, 6, 7, 1, 8, 8, 2, 5, 6])
        self.labels = rng.random(PAIRS)

    def batch(self, ids: list[int], local: list[int] | None = None) -> Batch:
        """The pairs `ids`."""
        words, lengths = padded([self.tokens[i] for i in ids])
        return Batch(
            regions=torch.from_numpy(self.regions[self.held[ids]]),
            words=words,
            lengths=lengths,
            ids=torch.tensor(ids),
            images=torch.from_numpy(self.held[ids]),
            local=torch.tensor(ids if local is None else local),
            target=torch.from_numpy(self.labels[ids]),
        )

    def texts(self, model: RetrievalModel, ids: list[int]) -> TextFeatures:
        """Encoded captions `ids`."""
        return model.encode_texts(*padded([self.tokens[i] for i in ids]))

    def model(self, kind: str, text_pool: str = "interp_valid") -> RetrievalModel:
        """A model in training mode without dropout, whose predictions differ from picture to picture."""
        made = seeded_model(
            11,
            config=ModelConfig(embed_dim=6, word_dim=5, sim_dim=4, sgr_steps=2, dropout=0.0),
            kind=kind,
            feature_dim=5,
            regions=REGIONS,
            vocabulary_size=12,
            num_classes=CLASSES,
            classifier_hidden=6,
            text_pool=text_pool,
        ).double()
        with torch.no_grad():
            for parameter in made.classifier.parameters():
                parameter.mul_(3.0)
            if kind in ("sgr", "saf"):
                made.head.output.weight.mul_(8.0)
        return made.train()

    def statistics(self, seed: int, wrong: float = 0.5) -> SplitStatistics:
        """What a split pass may have seen: two humps of losses, some undecided predictions."""
        rng = np.random.default_rng(seed)
        bad = rng.random(PAIRS) < wrong
        losses = np.where(bad, rng.normal(0.6, 0.05, PAIRS), rng.normal(0.1, 0.03, PAIRS)).astype(np.float32)
        p, q = (rng.dirichlet(np.full(CLASSES, 0.5), PAIRS).astype(np.float32) for _ in range(2))
        return SplitStatistics(losses, p, q)


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture
def same_gradients() -> Callable[[RetrievalModel, Tensor, Tensor], None]:
    """Assert that two scalars agree, and their gradients in every parameter of the model."""

    def check(model: RetrievalModel, found: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        names, parameters = zip(*model.named_parameters(), strict=True)
        mine, theirs = (torch.autograd.grad(one, parameters, allow_unused=True) for one in (found, expected))
        for name, a, b in zip(names, mine, theirs, strict=True):
            zero = torch.zeros((), dtype=torch.float64)
            torch.testing.assert_close(
                zero if a is None else a,
                (zero if a is None else torch.zeros_like(a)) if b is None else b,
                rtol=1e-8,
                atol=1e-10,
                msg=lambda text, name=name: f"{name}: {text}",
            )

    return check
