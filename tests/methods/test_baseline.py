"""Plain training and the oracle: which loss, on which pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.methods import create_method
from pcsr_fast.methods.base import Method
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods.conftest import PAIRS, World, configured
from tests.reference import naive as pairwise
from tests.reference import naive_labels

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS = [1, 4, 6, 8, 10, 11]
IS_TRUE = np.arange(PAIRS) % 3 > 0


def make(name: str, world: World, **settings: object) -> Method:
    profile = name if name in PROFILES else "plain"
    return create_method(
        name, configured(profile, **settings), images=world.held, is_true=IS_TRUE, num_nets=2, epochs=4
    )


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


ROBUST = {"rcl": ("ccl_log", 0.05, 0.2), "rde": ("tal", 0.015, 0.1)}


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("kind", ["vse", "sgr"])
def test_robust_losses_from_the_first_epoch(world: World, same_gradients: Check, name: str, kind: str):
    method, model, batch = make(name, world), world.model(kind), world.batch(IDS)
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    loss, temperature, margin = ROBUST[name]
    expected = pairwise.contrastive(S, loss, temperature, 0.5, margin, batch.images).mean()
    same_gradients(model, method.warmup_loss(0, model, batch).total, expected)
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    expected = pairwise.contrastive(S, loss, temperature, 0.5, margin, batch.images).mean()
    (step,) = method.training_steps(0, epoch=0)
    same_gradients(model, step.loss(model, batch, {}).total, expected)


@pytest.mark.parametrize("loss", ["triplet", "gce_infonce", "rce", "ccl_tan", "ccl_gce", "evidential", "active"])
@pytest.mark.parametrize("name", ["infonce", "oracle"])
def test_any_loss_may_take_the_place(world: World, same_gradients: Check, name: str, loss: str):
    method = make(name, world, loss__kind=loss, loss__temperature=0.2, loss__q=0.4, loss__kl_weight=0.3)
    model, batch = world.model("vse"), world.batch(IDS)
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    sure = torch.ones(len(IDS), dtype=torch.float64)
    if loss == "triplet":
        margin = torch.tensor(0.2, dtype=torch.float64)
        expected = pairwise.triplet(S, margin, "scalar", "hardest", batch.images).sum()
    elif loss == "evidential":
        expected = naive_labels.evidential(S, sure, 0.2, 0.3, batch.images).mean()
    elif loss == "active":
        expected = naive_labels.labelled(S, sure, loss, 0.2, batch.images).mean()
    else:
        expected = pairwise.contrastive(S, loss, 0.2, 0.4, 0.1, batch.images).mean()
    (step,) = method.training_steps(0, epoch=0)
    same_gradients(model, step.loss(model, batch, {}).total, expected)


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
