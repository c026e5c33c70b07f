"""PC2 as PCSR without consistency: what is trained, and who writes the bank (METHODS 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import CLEAN, REFINABLE, Losses, Visited
from pcsr_fast.methods.pc2 import PC2
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods import naive
from tests.methods.conftest import CLASSES, World, configured
from tests.reference import naive as pairwise

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS, NOISY = [1, 4, 6, 8, 10, 11], [0, 2, 3, 5, 7]
MARGIN = torch.tensor(0.2, dtype=torch.float64)
PROFILES = pytest.mark.parametrize("profile", ["pc2", "pc2_official"])


def make(world: World, profile: str = "pc2", nets: int = 2, **settings: Any) -> PC2:
    return PC2(configured(profile, head__num_classes=CLASSES, **settings), world.held, nets, 50)


def scores(model: RetrievalModel, world: World, ids: list[int]) -> Tensor:
    return model.similarity(model.encode_images(world.batch(ids).regions), world.texts(model, ids))


def head_terms(model: RetrievalModel, world: World, ids: list[int], official: bool) -> Tensor:
    """CE(p, argmax q) - lambda H(p): per-sample entropy times 10 as coded, of the batch mean as in the paper."""
    images, texts = model.encode_images(world.batch(ids).regions), world.texts(model, ids)
    if not official:
        images, texts = images.detach(), type(texts)(texts.values.detach(), texts.lengths)
    p, q = model.image_logits(images), model.text_logits(texts)
    classes = naive.taught(q, "argmax" if official else "standardised")
    weight = 10.0 if official else 1.0
    return naive.cross_entropy(p, classes) - weight * naive.entropy(p, "per_sample" if official else "batch_mean")


@PROFILES
@pytest.mark.parametrize("kind", ["vse", "sgr"])
def test_warm_up_is_the_mean_triplet_and_trains_the_head(world: World, same_gradients: Check, profile: str, kind: str):
    official = profile == "pc2_official"
    model, batch = world.model(kind, "pad_batch_max" if official else "interp_valid"), world.batch(IDS)
    groups = None if official else batch.images
    expected = pairwise.triplet(scores(model, world, IDS), MARGIN, "scalar", "mean", groups).sum()
    found = make(world, profile).warmup_loss(0, model, batch)
    same_gradients(model, found.total, expected + head_terms(model, world, IDS, official))


@PROFILES
def test_clean_pairs(world: World, same_gradients: Check, profile: str):
    official = profile == "pc2_official"
    model, batch = world.model("vse"), world.batch(IDS)
    mode, groups = ("row", None) if official else ("anchor", batch.images)
    values = pairwise.triplet(scores(model, world, IDS), naive.soft_margin(batch.target), mode, "hardest", groups)
    found = make(world, profile).training_steps(0, 0)[0].loss(model, batch, {})
    same_gradients(model, found.total, values.sum() + head_terms(model, world, IDS, official))


def test_pseudo_captions_as_coded(world: World, same_gradients: Check):
    """The clean batch's caption of the most similar prediction; its cosine is a column's label, 0 below .5."""
    model = world.model("vse")
    p = [naive.probabilities(model.image_logits(model.encode_images(world.batch(ids).regions))) for ids in (NOISY, IDS)]
    chosen, cosine = naive.best(*p)
    y = torch.where(cosine < 0.5, 0.0, cosine)
    texts = world.texts(model, [IDS[j] for j in chosen])
    S = model.similarity(model.encode_images(world.batch(NOISY).regions), texts)
    expected = pairwise.triplet(S, naive.soft_margin(y), "col", "hardest").sum()
    (_, step) = make(world, "pc2_official").training_steps(0, 25)
    found = step.loss(model, world.batch(NOISY), {"clean": Visited(world.batch(IDS), None)})
    assert step.subset == "refinable"
    assert found is not None
    same_gradients(model, found.total, expected)


@PROFILES
def test_every_noisy_pair_is_refinable_from_epoch_25_on(world: World, profile: str):
    method = make(world, profile)
    partitions, _ = method.partition([world.statistics(1), world.statistics(2)], 0)
    assert {kind for one in partitions for kind in one.part.tolist()} == {CLEAN, REFINABLE}
    steps = {epoch: [step.subset for step in method.training_steps(0, epoch)] for epoch in (0, 24, 25, 49)}
    assert steps[0] == steps[24] == ["clean"]
    assert steps[25] == steps[49] == ["clean", "refinable"]


@pytest.mark.parametrize("key", ["global", "local"])
def test_bank_of_noisy_and_clean_pairs(world: World, key: str):
    """Clean predictions are banked with those of the noisy step, by pair id, or by the public code's local index."""
    method = make(world, po__key=key)
    p, q = (torch.from_numpy(world.statistics(seed).image_probabilities[:3]) for seed in (1, 2))
    clean, noisy = world.batch([9, 3, 12], local=[1, 0, 2]), world.batch([5, 2, 7], local=[4, 3, 5])
    zero = torch.zeros(())
    before = method.banks[1].probabilities.clone()
    method.after_step(1, "clean", clean, Losses(zero, torch.zeros(3), p, p))
    assert torch.equal(method.banks[1].probabilities, before)
    method.after_step(1, "refinable", noisy, Losses(zero, torch.zeros(3), q))
    before[[1, 0, 2] if key == "local" else [9, 3, 12]] = p
    before[[4, 3, 5] if key == "local" else [5, 2, 7]] = q
    torch.testing.assert_close(method.banks[1].probabilities, before)
    assert not torch.equal(method.banks[0].probabilities, before)


@pytest.mark.parametrize("key", ["pcs__enabled", "apo__ambiguous__enabled"])
def test_what_pc2_has_not_is_refused(world: World, key: str):
    with pytest.raises(ConfigError, match="method: pc2 has a pseudo-classifier, no consistency score"):
        make(world, **{key: True})


def test_a_pseudo_classifier_is_needed(world: World):
    with pytest.raises(ConfigError, match=r"expected head.enabled: true"):
        make(world, head__enabled=False)
