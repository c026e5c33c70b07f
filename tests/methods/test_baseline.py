"""Plain training and the oracle: which loss, on which pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.methods import create_method
from pcsr_fast.methods.base import Method
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods.conftest import PAIRS, World, configured
from tests.reference import naive as pairwise

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS = [1, 4, 6, 8, 10, 11]
IS_TRUE = np.arange(PAIRS) % 3 > 0


def make(name: str, world: World, **settings: object) -> Method:
    return create_method(name, configured(**settings), images=world.held, is_true=IS_TRUE, num_nets=2, epochs=4)


@pytest.mark.parametrize("name", ["triplet", "infonce", "oracle"])
@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize("mask", ["diag", "image_id"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_losses(world: World, same_gradients: Check, name: str, kind: str, mask: str, reduction: str):
    method = make(name, world, loss__positive_mask=mask, loss__margin=0.3, loss__reduction=reduction)
    model, batch = world.model(kind), world.batch(IDS)
    (step,) = method.training_steps(1, epoch=3)
    found = step.loss(model, batch, {})
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    groups = batch.images if mask == "image_id" else None
    if name == "infonce":
        expected = pairwise.contrastive(S, "infonce", 0.05, 0.5, 0.1, groups).mean()
    else:
        values = pairwise.triplet(S, torch.tensor(0.3, dtype=torch.float64), "scalar", "hardest", groups)
        expected = values.sum() if reduction == "sum" else values.mean()
    same_gradients(model, found.total, expected)
    assert step.subset == "clean"
    assert found.per_pair.shape == (len(IDS),)
    method.after_step(1, "clean", batch, found)


@pytest.mark.parametrize("name", ["triplet", "infonce", "oracle"])
def test_warmup_is_that_of_pcsr_without_its_head(world: World, same_gradients: Check, name: str):
    model, batch = world.model("vse"), world.batch(IDS)
    found = make(name, world).warmup_loss(0, model, batch)
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    same_gradients(model, found.total, pairwise.contrastive(S, "infonce", 0.05, 0.5, 0.1, batch.images).mean())


def test_the_oracle_sees_true_pairs_alone(world: World):
    np.testing.assert_array_equal(make("oracle", world).training_ids(), np.flatnonzero(IS_TRUE))
    for name in ("triplet", "infonce"):
        np.testing.assert_array_equal(make(name, world).training_ids(), np.arange(PAIRS))


def test_nothing_is_split_or_remembered(world: World):
    method = make("triplet", world)
    assert not method.needs_split
    assert method.state() == {}
    method.load_state({})
    with pytest.raises(ValueError, match="has no partition"):
        method.partition([], 0)
