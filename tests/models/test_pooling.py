"""GPO against METHODS 6, and pooling of sets that share a batch with longer ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast.models.pooling import GeneralizedPooling, MeanPooling, pooling
from tests.models import naive
from tests.models.conftest import unsettle

LENGTHS = torch.tensor([4, 1, 6, 4, 2])


@pytest.fixture
def gpo() -> GeneralizedPooling:
    made = GeneralizedPooling(position_dim=6, hidden=3)
    unsettle(made)
    return made


@pytest.fixture
def features() -> Tensor:
    return torch.randn(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_gpo_is_the_published_operator(gpo: GeneralizedPooling, features: Tensor):
    pooled = gpo(features, LENGTHS).detach()
    for one, length, got in zip(features, LENGTHS.tolist(), pooled, strict=True):
        torch.testing.assert_close(got, naive.gpo(gpo.state_dict(), one[:length]), rtol=0, atol=1e-12)


def test_gpo_defaults_are_the_published_sizes():
    made = pooling("gpo")
    assert isinstance(made, GeneralizedPooling)
    assert made.temperature == 0.1
    assert made.gru.input_size == made.gru.hidden_size == 32
    assert set(made.state_dict()) == {f"gru.{name}" for name in made.gru.state_dict()} | {"score.weight"}


@pytest.mark.parametrize("kind", ["gpo", "mean"])
def test_pooling_sees_neither_padding_nor_the_other_sets(kind: str, features: Tensor):
    pool = unsettle(pooling(kind))
    whole = pool(features, LENGTHS)
    mask = torch.arange(6)[None, :, None] < LENGTHS[:, None, None]
    noise = torch.where(mask, features, 1e3)
    torch.testing.assert_close(pool(noise, LENGTHS), whole, rtol=0, atol=1e-12)
    wider = torch.cat([features, torch.full((5, 4, 3), -7.0, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(pool(wider, LENGTHS), whole, rtol=0, atol=1e-12)
    for i, length in enumerate(LENGTHS.tolist()):
        alone = pool(features[i : i + 1, :length], LENGTHS[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["gpo", "mean"])
def test_pooling_is_of_a_set(kind: str, features: Tensor):
    pool, lengths = unsettle(pooling(kind)), torch.full((5,), 6)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    torch.testing.assert_close(pool(features[:, order], lengths), pool(features, lengths), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["gpo", "mean"])
def test_pooling_gradients(kind: str, features: Tensor):
    pool = unsettle(pooling(kind))
    assert torch.autograd.gradcheck(lambda x: pool(x, LENGTHS), [features.requires_grad_()])


def test_mean_is_over_valid_positions(features: Tensor):
    pooled = MeanPooling()(features, LENGTHS)
    for one, length, got in zip(features, LENGTHS.tolist(), pooled, strict=True):
        torch.testing.assert_close(got, one[:length].sum(0) / length)
