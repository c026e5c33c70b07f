"""D2S-VSE: its losses from their equations, the two stages, the teacher's state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import METHODS, create_method
from pcsr_fast.methods.base import Batch
from pcsr_fast.methods.d2s import D2S
from pcsr_fast.models.config import ModelConfig, PromptConfig
from pcsr_fast.models.layers import l2norm
from pcsr_fast.models.prompt import PromptedTextEncoder
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from pcsr_fast.training.batches import padded
from tests.methods.conftest import PAIRS, World, configured
from tests.reference import naive

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS = [0, 2, 4, 6, 8, 9]  # pictures 0, 0, 3, 3, 6, 7


def make(nets: int = 1, **settings: object) -> D2S:
    config, everything = configured(**settings), np.arange(PAIRS)
    held, truth = np.zeros(PAIRS, dtype=np.int64), np.ones(PAIRS, dtype=bool)
    method = create_method("d2s", config, images=held, is_true=truth, num_nets=nets, epochs=4)
    assert isinstance(method, D2S)
    np.testing.assert_array_equal(method.training_ids(), everything)
    return method


def build(seed: int = 3) -> RetrievalModel:
    config = ModelConfig(head="vse", embed_dim=6, word_dim=5, dropout=0.0, prompt=PromptConfig(3, 1, 2))
    arguments = {"kind": "vse", "feature_dim": 5, "regions": 3, "vocabulary_size": 12, "prompted": True}
    return seeded_model(seed, config=config, **arguments).double().train()


def batch_of(world: World, epoch: int = 1, share: float = 0.25) -> Batch:
    batch = world.batch(IDS)
    rng = np.random.default_rng(7)
    batch.dense_words, batch.dense_lengths = padded([rng.integers(1, 12, 4 + one % 3) for one in IDS])
    batch.epoch, batch.share = epoch, share
    return batch


def text(model: RetrievalModel) -> PromptedTextEncoder:
    assert isinstance(model.text_encoder, PromptedTextEncoder)
    return model.text_encoder


@pytest.mark.parametrize(("epoch", "share", "negatives"), [(0, 0.25, "sum"), (0, 0.0, "sum"), (1, 0.25, "hardest")])
@pytest.mark.parametrize("rises", [True, False])
def test_first_stage(
    world: World, same_gradients: Check, epoch: int, share: float, negatives: str, rises: bool
) -> None:
    """The triplet loss with dense texts: all violations, then the hardest; captions of one picture are no negatives."""
    method, model, batch = make(d2s__loss_warmup=rises, loss__margin=0.3), build(), batch_of(world, epoch, share)
    found = method.warmup_loss(0, model, batch)
    S = model.similarity(model.encode_images(batch.regions), model.encode_texts(batch.dense_words, batch.dense_lengths))
    values = naive.triplet(S, torch.tensor(0.3, dtype=torch.float64), "scalar", negatives, batch.images)
    weight = share if rises and epoch == 0 else 1.0
    same_gradients(model, found.total, weight * values.sum())
    torch.testing.assert_close(found.per_pair, values.detach())
    assert not text(model).stage


@pytest.mark.parametrize("distill", ["cosine", "l2"])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_second_stage(world: World, same_gradients: Check, distill: str, weight: float) -> None:
    method, model, batch = make(d2s__distill=distill, d2s__weight=weight), build(), batch_of(world)
    dense = model.encode_texts(batch.dense_words, batch.dense_lengths).values.detach()
    (step,) = method.training_steps(0, 1)
    assert step.subset == "clean"
    found = step.loss(model, batch, {})
    assert found is not None
    assert text(model).stage
    pooled, tokens = text(model).base.parts(batch.words, batch.lengths)
    joined = l2norm(text(model).norm(pooled) + text(model).prompt(tokens, batch.lengths))
    S = model.encode_images(batch.regions) @ joined.T
    values = naive.triplet(S, torch.tensor(0.2, dtype=torch.float64), "scalar", "hardest", batch.images)
    apart = 1 - (joined * dense).sum(1).mean() if distill == "cosine" else ((joined - dense) ** 2).mean()
    same_gradients(model, found.total, values.sum() + weight * apart)


def test_the_teacher_stays_what_it_was(world: World) -> None:
    method, model, batch = make(), build(), batch_of(world)
    step = method.training_steps(0, 0)[0].loss
    step(model, batch, {})
    before = {name: value.clone() for name, value in method.state().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.5
    step(model, batch, {})
    after = method.state()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_state_brings_the_teachers_back(world: World) -> None:
    """Also where only one net has begun its second stage."""
    method, models, batch = make(2), [build(3), build(4)], batch_of(world)
    method.training_steps(1, 0)[0].loss(models[1], batch, {})
    saved = method.state()
    assert {name.split(".")[1] for name in saved} == {"1"}
    other = make(2)
    other.load_state(saved)
    assert all(torch.equal(value, saved[name]) for name, value in other.state().items())
    with torch.no_grad():
        for model in models:
            for weight in model.parameters():
                weight *= 1.5
    found, expected = (
        [one.training_steps(net, 0)[0].loss(models[net], batch, {}).total for net in (0, 1)] for one in (other, method)
    )
    assert found == expected
    fresh = make(2).training_steps(1, 0)[0].loss(models[1], batch, {}).total
    assert fresh != expected[1]


def test_it_needs_a_first_stage_and_a_prompt_learner(world: World) -> None:
    assert "d2s" in METHODS
    with pytest.raises(ConfigError, match=r"warmup.epochs: 0 leaves d2s without a teacher; expected at least 1"):
        make(warmup__epochs=0)
    with pytest.raises(ValueError, match="no prompt learner"):
        make().training_steps(0, 0)[0].loss(world.model("vse"), batch_of(world), {})
    with pytest.raises(ValueError, match="no dense texts"):
        make().warmup_loss(0, build(), world.batch(IDS))
