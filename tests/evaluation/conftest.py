"""A small planted set with wrong pairs, and tiny models for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pcsr_fast.data.noise import inject_noise
from pcsr_fast.data.pairs import Dataset
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model


@pytest.fixture(scope="session")
def planted() -> Dataset:
    """8 + 10 + 10 pictures, three captions of 3 to 8 words each: 24 training pairs."""
    made = synthetic_dataset(8, captions_per_image=3, regions=4, dim=6, topics=6, seed=4)
    splits = {name: getattr(made, name) for name in ("train", "dev", "test")}
    ragged = {
        name: replace(pairs, tokens=[words[: 3 + 5 * number % 6] for number, words in enumerate(pairs.tokens)])
        for name, pairs in splits.items()
    }
    return replace(made, **ragged)


@pytest.fixture(scope="session")
def held(planted: Dataset) -> np.ndarray:
    """Pictures the captions hold, half of them shuffled."""
    return inject_noise(planted.train.image_of_caption, ratio=0.5, seed=1)


@pytest.fixture
def build(planted: Dataset) -> Callable[..., RetrievalModel]:
    """Tiny model of any head for the planted set."""

    def make(kind: str, text_pool: str = "interp_valid") -> RetrievalModel:
        return seeded_model(
            3,
            config=ModelConfig(embed_dim=6, word_dim=5, sim_dim=4, sgr_steps=2, dropout=0.3),
            kind=kind,
            feature_dim=6,
            regions=4,
            vocabulary_size=len(planted.vocabulary),
            num_classes=3,
            classifier_hidden=5,
            text_pool=text_pool,
        )

    return make
