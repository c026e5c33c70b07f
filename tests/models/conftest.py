"""Small double-precision models whose every parameter matters: biases and normalisation statistics are not at rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.retrieval import RetrievalModel


def unsettle(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and buffers in float64."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64) / value.shape[-1] ** 0.5)
        for name, value in module.named_buffers():
            if value.is_floating_point():
                random = torch.rand(value.shape, generator=generator, dtype=torch.float64)
                value.copy_(random + 0.5 if name.endswith("var") else random - 0.5)
    return module


@pytest.fixture
def build() -> Callable[..., RetrievalModel]:
    """Tiny unsettled model of any head, in evaluation mode."""

    def make(kind: str, seed: int = 0, **settings: object) -> RetrievalModel:
        options = {"embed_dim": 6, "word_dim": 5, "sim_dim": 4, "sgr_steps": 2, "dropout": 0.0}
        arguments = {"num_classes": 4, "classifier_hidden": 7, "text_pool": "interp_valid"}
        for name, value in settings.items():
            (arguments if name in arguments else options)[name] = value
        model = RetrievalModel(
            ModelConfig(**options), kind=kind, feature_dim=8, regions=3, vocabulary_size=11, **arguments
        )
        return unsettle(model, seed).eval()

    return make


@pytest.fixture
def captions() -> tuple[torch.Tensor, torch.Tensor]:
    """Five captions of 1 to 5 words, zero-padded, and their lengths."""
    lengths = torch.tensor([3, 5, 1, 4, 2])
    words = torch.randint(1, 11, (5, 5), generator=torch.Generator().manual_seed(3))
    return words * (torch.arange(5) < lengths[:, None]), lengths
