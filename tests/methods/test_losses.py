"""Warm-up, clean and ambiguous losses of both profiles against METHODS 2.2, 3.1, 4.5 and 4.7, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.methods.base import Batch
from pcsr_fast.methods.config import HeadConfig, MethodConfig
from pcsr_fast.methods.losses import warmup_losses
from pcsr_fast.methods.pcsr import PCSR
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods import naive
from tests.methods.conftest import World, configured
from tests.reference import naive as pairwise

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
# Pairs 1 and 10, 4 and 6 hold the same pictures.
IDS = [1, 4, 6, 8, 10, 11, 13]


def method(config: MethodConfig, world: World) -> PCSR:
    return PCSR(config, world.held, num_nets=2, epochs=50)


def scores(model: RetrievalModel, batch: Batch) -> Tensor:
    return model.similarity(model.encode_images(batch.regions), model.encode_texts(batch.words, batch.lengths))


def logits(model: RetrievalModel, batch: Batch, detach: bool = True) -> tuple[Tensor, Tensor]:
    images, texts = model.encode_images(batch.regions), model.encode_texts(batch.words, batch.lengths)
    return model.image_logits(images.detach() if detach else images), model.text_logits(texts)


def head_terms(model: RetrievalModel, batch: Batch, head: HeadConfig) -> Tensor:
    p, q = logits(model, batch, head.detach)
    classes = naive.taught(q, head.teacher)
    return naive.cross_entropy(p, classes) - head.lambda_en * naive.entropy(p, head.entropy)


def soft_triplet(S: Tensor, y: Tensor, mode: str, groups: Tensor | None, kind: str = "exponential") -> Tensor:
    return pairwise.triplet(S, naive.soft_margin(y, kind=kind), mode, "hardest", groups)


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize("loss", ["infonce", "gce_infonce", "rce", "ccl_log", "triplet_mean", "select"])
@pytest.mark.parametrize("mask", ["diag", "image_id"])
def test_warmup(world: World, same_gradients: Check, kind: str, loss: str, mask: str):
    options = {"warmup__loss": loss, "warmup__select_rate": 0.4, "warmup__temperature": 0.1, "warmup__q": 0.3}
    config = configured(**options, loss__positive_mask=mask, head__lambda_en=3.0)
    model, batch = world.model(kind), world.batch(IDS)
    found = method(config, world).warmup_loss(0, model, batch)
    groups = batch.images if mask == "image_id" else None
    S = scores(model, batch)
    if loss == "triplet_mean":
        values = pairwise.triplet(S, torch.tensor(0.2, dtype=torch.float64), "scalar", "mean", groups)
        expected = values.sum()
    else:
        values = pairwise.contrastive(S, "infonce" if loss == "select" else loss, 0.1, 0.3, 0.1, groups)
        # floor(0.4 * 7) = 2 of the batch are kept.
        values = values.sort().values[:2] if loss == "select" else values
        expected = values.mean()
    same_gradients(model, found.total, expected + head_terms(model, batch, config.head))
    torch.testing.assert_close(found.per_pair, values.detach())
    p, q = logits(model, batch)
    torch.testing.assert_close(found.image_probabilities, naive.probabilities(p).detach())
    torch.testing.assert_close(found.text_probabilities, naive.probabilities(q).detach())
    assert not found.image_probabilities.requires_grad


@pytest.mark.parametrize("kind", ["vse", "sgr"])
def test_official_warmup_is_infonce_alone_but_keeps_predictions(world: World, same_gradients: Check, kind: str):
    model, batch = world.model(kind, "pad_batch_max"), world.batch(IDS)
    found = method(configured("pcsr_official"), world).warmup_loss(1, model, batch)
    S = scores(model, batch) / 0.05
    target = torch.arange(len(IDS))
    symmetric = (torch.nn.functional.cross_entropy(S, target) + torch.nn.functional.cross_entropy(S.T, target)) / 2
    same_gradients(model, found.total, symmetric)
    torch.testing.assert_close(found.image_probabilities, naive.probabilities(logits(model, batch)[0]).detach())


def test_warmup_without_a_head(world: World, same_gradients: Check):
    config = configured(
        head__enabled=False, pcs__enabled=False, replace__by="similarity", apo__ambiguous__enabled=False
    )
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).warmup_loss(0, model, batch)
    expected = pairwise.contrastive(scores(model, batch), "infonce", 0.05, 0.5, 0.1, batch.images).mean()
    same_gradients(model, found.total, expected)
    assert found.image_probabilities is found.text_probabilities is None


def test_warmup_losses_of_equal_reduction(world: World):
    config = configured(warmup__loss="triplet_mean", loss__reduction="mean")
    found = warmup_losses(world.model("vse"), world.batch(IDS), config.warmup, config.loss, None)
    torch.testing.assert_close(found.total, found.per_pair.mean(), check_dtype=False)


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize("profile", ["plain", "pcsr_official"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_clean(world: World, same_gradients: Check, kind: str, profile: str, reduction: str):
    config = configured(profile, loss__reduction=reduction)
    model, batch = world.model(kind, config.head.text_pool), world.batch(IDS)
    (step,) = method(config, world).training_steps(0, epoch=0)
    found = step.loss(model, batch, {})
    official = profile == "pcsr_official"
    values = soft_triplet(
        scores(model, batch), batch.target, "row" if official else "anchor", None if official else batch.images
    )
    same_gradients(model, found.total, getattr(values, reduction)() + head_terms(model, batch, config.head))
    torch.testing.assert_close(found.per_pair, values.detach())


@pytest.mark.parametrize("teacher", ["standardised", "argmax"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("entropy", ["batch_mean", "per_sample"])
def test_pseudo_classification(world: World, same_gradients: Check, teacher: str, detach: bool, entropy: str):
    head = {"teacher": teacher, "detach": detach, "entropy": entropy, "lambda_en": 2.0}
    config = configured(**{f"head__{key}": value for key, value in head.items()})
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[0].loss(model, batch, {})
    values = soft_triplet(scores(model, batch), batch.target, "anchor", batch.images)
    same_gradients(model, found.total, values.sum() + head_terms(model, batch, config.head))
    p, q = logits(model, batch)
    assert naive.taught(q, "argmax") != naive.taught(q, "standardised")
    torch.testing.assert_close(found.image_probabilities, naive.probabilities(p).detach())
    torch.testing.assert_close(found.text_probabilities, naive.probabilities(q).detach())


@pytest.mark.parametrize("mode", ["anchor", "row", "col", "official"])
@pytest.mark.parametrize("curve", ["exponential", "linear", "sin"])
def test_clean_margins(world: World, same_gradients: Check, mode: str, curve: str):
    config = configured(loss__margin_mode=mode, loss__soft_margin=curve, loss__margin=0.3, head__lambda_en=0.0)
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[0].loss(model, batch, {})
    margin = naive.soft_margin(batch.target, 0.3, curve)
    mode = "row" if mode == "official" else mode
    values = pairwise.triplet(scores(model, batch), margin, mode, "hardest", batch.images)
    same_gradients(model, found.total, values.sum() + head_terms(model, batch, config.head))


@pytest.mark.parametrize("loss", ["infonce", "gce_infonce", "ccl_log"])
def test_clean_pairs_may_weigh_a_contrastive_loss_with_their_label(world: World, same_gradients: Check, loss: str):
    config = configured(apo__clean__loss=loss, apo__clean__q=0.3, loss__temperature=0.08)
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[0].loss(model, batch, {})
    values = batch.target * pairwise.contrastive(scores(model, batch), loss, 0.08, 0.3, 0.1, batch.images)
    same_gradients(model, found.total, values.sum() + head_terms(model, batch, config.head))


def test_clean_without_a_head(world: World, same_gradients: Check):
    config = configured(
        head__enabled=False, pcs__enabled=False, replace__by="similarity", apo__ambiguous__enabled=False
    )
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[0].loss(model, batch, {})
    same_gradients(model, found.total, soft_triplet(scores(model, batch), batch.target, "anchor", batch.images).sum())


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize("pair_loss", ["none", "ccl_log", "gce_infonce", "triplet"])
@pytest.mark.parametrize("official", [True, False])
def test_ambiguous(world: World, same_gradients: Check, kind: str, pair_loss: str, official: bool):
    config = configured(
        head__entropy="per_sample" if official else "batch_mean",
        head__teacher="argmax" if official else "standardised",
        head__detach=not official,
        head__lambda_en=2.0,
        apo__ambiguous__start_epoch=0,
        apo__ambiguous__pair_loss=pair_loss,
        apo__ambiguous__pair_weight=0.5,
        apo__ambiguous__q=0.4,
        loss__reduction="mean",
        loss__temperature=0.08,
    )
    model, batch = world.model(kind), world.batch(IDS)
    step = method(config, world).training_steps(0, epoch=0)[1]
    found = step.loss(model, batch, {})
    p, q = logits(model, batch, config.head.detach)
    expected = naive.gce(p, naive.taught(q, config.head.teacher), 0.4) - 2.0 * naive.entropy(p, config.head.entropy)
    S = scores(model, batch)
    if pair_loss == "triplet":
        expected = expected + 0.5 * soft_triplet(S, batch.target, "anchor", batch.images).mean()
    elif pair_loss != "none":
        expected = expected + 0.5 * pairwise.contrastive(S, pair_loss, 0.08, 0.4, 0.1, batch.images).mean()
    same_gradients(model, found.total, expected)
    assert step.subset == "ambiguous"
    assert len(found.per_pair) == len(IDS)
    torch.testing.assert_close(found.image_probabilities, naive.probabilities(p).detach())


def test_ambiguous_without_a_head_is_its_pair_loss(world: World, same_gradients: Check):
    config = configured(
        head__enabled=False,
        pcs__enabled=False,
        replace__by="similarity",
        apo__ambiguous__start_epoch=0,
        apo__ambiguous__pair_loss="gce_infonce",
    )
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[1].loss(model, batch, {})
    expected = pairwise.contrastive(scores(model, batch), "gce_infonce", 0.05, 0.7, 0.1, batch.images)
    same_gradients(model, found.total, expected.sum())
    assert found.image_probabilities is None


def test_the_teacher_of_ambiguous_pairs_is_their_own_caption_and_learns_nothing(world: World):
    config = configured(apo__ambiguous__start_epoch=0, head__detach=False)
    model, batch = world.model("vse"), world.batch(IDS)
    found = method(config, world).training_steps(0, epoch=0)[1].loss(model, batch, {})
    gradients = torch.autograd.grad(found.total, list(model.text_encoder.parameters()), allow_unused=True)
    assert all(one is None or not one.any() for one in gradients)


@pytest.mark.parametrize(("epoch", "subsets"), [(0, "c"), (4, "c"), (5, "cr"), (8, "cr"), (9, "car"), (30, "car")])
def test_order_of_steps_and_start_of_stages(world: World, epoch: int, subsets: str):
    config = configured(apo__refinable__start_epoch=5, apo__ambiguous__start_epoch=9)
    steps = method(config, world).training_steps(1, epoch)
    assert "".join(step.subset[0] for step in steps) == subsets


def test_default_stages_are_the_published_ones(world: World):
    steps = {epoch: len(method(configured(), world).training_steps(0, epoch)) for epoch in (24, 25, 39, 40)}
    assert steps == {24: 1, 25: 2, 39: 2, 40: 3}


@pytest.mark.parametrize(
    ("off", "left"), [("refinable", ["clean", "ambiguous"]), ("ambiguous", ["clean", "refinable"])]
)
def test_stages_can_be_left_out(world: World, off: str, left: list[str]):
    config = configured(**{f"apo__{off}__enabled": False})
    assert [step.subset for step in method(config, world).training_steps(0, 49)] == left


def test_dtype_of_the_model_is_kept(world: World):
    model, batch = world.model("vse").float(), world.batch(IDS)
    batch.regions, batch.target = batch.regions.float(), batch.target.float()
    found = method(configured(), world).warmup_loss(0, model, batch)
    assert found.total.dtype == torch.float32
    assert np.isfinite(float(found.total.detach()))
