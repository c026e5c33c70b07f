"""TSVC as reconstructed: who looks, who labels, who is trained on what, and what a checkpoint keeps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import create_method
from pcsr_fast.methods.base import AMBIGUOUS, CLEAN, REFINABLE, HasLookers, Losses, SplitStatistics
from pcsr_fast.methods.tsvc import ASSISTANT, MASTER, TSVC
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods.conftest import PAIRS, PICTURES, World, configured
from tests.reference import naive as pairwise

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS = [1, 4, 6, 8, 10, 11]
NOTHING = Losses(torch.zeros(()), torch.zeros(1))


def make(world: World, num_nets: int = 2, **settings: object) -> TSVC:
    config = configured(**settings)
    is_true = np.ones(PAIRS, dtype=bool)
    method = create_method("tsvc", config, images=world.held, is_true=is_true, num_nets=num_nets, epochs=4)
    assert isinstance(method, TSVC)
    return method


def seen(world: World, kind: str = "vse", **settings: object) -> tuple[TSVC, list[RetrievalModel]]:
    method, models = make(world, **settings), [world.model(kind), world.model(kind)]
    with torch.no_grad():
        for parameter in models[ASSISTANT].parameters():
            parameter.add_(0.01)
    method.see(models)
    return method, models


def looked(seed: int = 0, size: int = 12) -> list[SplitStatistics]:
    """Losses with eleven low ones, and embeddings of which some noisy pairs resemble clean ones."""
    rng = np.random.default_rng(seed)
    losses = np.where(np.arange(PAIRS) % 3 == 1, 0.8, 0.1).astype(np.float32)
    losses += rng.uniform(0, 0.05, PAIRS).astype(np.float32)
    v, t = rng.standard_normal((PICTURES, size)), rng.standard_normal((PAIRS, size))
    v, t = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (v, t))
    by_assistant = SplitStatistics(losses[::-1].copy(), None, None, v.astype(np.float32), t.astype(np.float32))
    return [SplitStatistics(losses), by_assistant]


def label_of(statistics: SplitStatistics, held: np.ndarray, noisy: int, clean: np.ndarray) -> float:
    """METHODS 5, steps 1 to 3, for one pair."""
    v, t = statistics.image_embeddings.astype(np.float64), statistics.text_embeddings.astype(np.float64)

    def information(u: np.ndarray, w: np.ndarray) -> float:
        return max(0.0, -0.5 * math.log(1 - np.corrcoef(u, w)[0, 1] ** 2 + 1e-6))

    a = max(clean, key=lambda one: v[held[one]] @ v[held[noisy]])
    base = information(v[held[a]], t[a])
    pair = abs(information(v[held[noisy]], t[noisy]) - base) / (base + 1e-6)
    image = abs(information(v[held[noisy]], t[a]) - base) / (base + 1e-6)
    text = abs(information(v[held[a]], t[noisy]) - base) / (base + 1e-6)
    return math.exp(-(pair + abs(image - text)))


def test_the_coordinator_splits_and_the_assistant_labels(world: World):
    method, _ = seen(world)
    statistics = looked()
    partitions, splits = method.partition(statistics, 0)
    clean = np.flatnonzero(np.arange(PAIRS) % 3 != 1)
    for one in partitions:
        np.testing.assert_array_equal(one.ids("clean"), clean)
        assert (one.target[clean] == 1).all()
        assert ((one.target > 0) & (one.target <= 1)).all()
        for noisy in np.flatnonzero(one.part != CLEAN):
            expected = label_of(statistics[1], world.held, noisy, clean)
            assert one.target[noisy] == pytest.approx(max(expected, torch.finfo(torch.float32).tiny), rel=1e-4)
    assert [split.pcs for split in splits] == [None, None]
    np.testing.assert_array_equal(splits[MASTER].part, partitions[MASTER].part)


def test_the_master_adopts_what_the_assistant_selected_twice(world: World):
    method, _ = seen(world)
    statistics = looked()
    first, _ = method.partition(statistics, 0)
    labels = first[ASSISTANT].target
    noisy = np.flatnonzero(first[ASSISTANT].part != CLEAN)
    method.config.tsvc.min_label = float(np.median(labels[noisy]))
    method.selected[:] = False
    chosen = noisy[labels[noisy] > method.config.tsvc.min_label]
    assert 0 < len(chosen) < len(noisy)
    first, _ = method.partition(statistics, 0)
    np.testing.assert_array_equal(first[ASSISTANT].ids("refinable"), chosen)
    assert len(first[MASTER].ids("refinable")) == 0
    second, _ = method.partition(statistics, 1)
    np.testing.assert_array_equal(second[MASTER].ids("refinable"), chosen)
    method.config.tsvc.min_label = 1.0
    third, _ = method.partition(statistics, 2)
    assert [len(one.ids("refinable")) for one in third] == [0, 0]
    assert set(third[MASTER].part) == {CLEAN, AMBIGUOUS}
    assert REFINABLE in second[MASTER].part


def similarity(world: World, model: RetrievalModel) -> Tensor:
    return model.similarity(model.encode_images(world.batch(IDS).regions), world.texts(model, IDS))


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize(
    ("net", "subset"), [(MASTER, "clean"), (MASTER, "refinable"), (ASSISTANT, "clean"), (ASSISTANT, "refinable")]
)
def test_losses_of_the_roles(world: World, same_gradients: Check, kind: str, net: int, subset: str):
    """The Master's clean step has the plain margin, every other one that of DASM; the first batch is its own measure."""
    method, models = seen(world, kind, loss__margin=0.3, loss__positive_mask="diag")
    batch, model = world.batch(IDS), models[net]
    step = {one.subset: one for one in method.training_steps(net, 2)}[subset]
    found = step.loss(model, batch, {})
    S = similarity(world, model)
    plain = (net, subset) == (MASTER, "clean")
    margin = torch.tensor(0.3, dtype=torch.float64) if plain else 0.3 * (10**batch.target - 1) / 9
    mode = "scalar" if plain else "anchor"
    same_gradients(model, found.total, pairwise.triplet(S, margin, mode, "hardest", None).sum())
    S = similarity(world, model).detach()
    gaps = [S[i, i] - max(S[i, j] for j in range(6) if j != i) for i in range(6)]
    gaps += [S[i, i] - max(S[j, i] for j in range(6) if j != i) for i in range(6)]
    spread = 0.0 if plain else float(torch.stack(gaps).std())
    assert method.spread == pytest.approx([spread, 0.0] if net == MASTER else [0.0, spread])
    if not plain:
        method.spread[net] *= 0.8  # usual is then 0.9 * 0.8 + 0.1 of this batch's
        again = step.loss(model, batch, {})
        S = similarity(world, model)
        same_gradients(model, again.total, pairwise.triplet(S, margin / 0.82, mode, "hardest", None).sum())


def test_the_coordinator_is_the_master_in_the_warm_up_and_then_follows_it(world: World):
    method, models = seen(world, tsvc__ema=0.75)
    name = "image_encoder.project.weight"

    def weight(model: RetrievalModel) -> Tensor:
        return model.state_dict()[name].clone()

    def moved(net: int, subset: str) -> None:
        with torch.no_grad():
            models[net].image_encoder.project.weight.add_(1.0)
        method.after_step(net, subset, world.batch(IDS), NOTHING)

    start = weight(models[MASTER])
    assert isinstance(method, HasLookers)
    assert [id(one) for one in method.lookers()] == [id(method.coordinator), id(models[ASSISTANT])]
    moved(MASTER, "warmup")
    torch.testing.assert_close(weight(method.coordinator), start + 1)
    moved(ASSISTANT, "warmup")
    moved(ASSISTANT, "clean")
    torch.testing.assert_close(weight(method.coordinator), start + 1)
    moved(MASTER, "clean")
    torch.testing.assert_close(weight(method.coordinator), start + 1.25)
    moved(MASTER, "refinable")
    torch.testing.assert_close(weight(method.coordinator), start + 1.25 + 0.25 * 1.75)
    torch.testing.assert_close(weight(models[MASTER]), start + 3)
    assert not any(parameter.requires_grad for parameter in method.coordinator.parameters())


def test_statistics_of_batch_norm_are_taken_over(world: World):
    method, models = seen(world, "saf", tsvc__ema=0.9)
    buffers = dict(models[MASTER].named_buffers())
    assert buffers
    for value in buffers.values():
        value.add_(3)
    method.after_step(MASTER, "clean", world.batch(IDS), NOTHING)
    for name, value in method.coordinator.named_buffers():
        assert torch.equal(value, buffers[name])


def test_state_comes_back(world: World):
    method, models = seen(world)
    method.partition(looked(), 0)
    method.selected[3] = True
    method.spread = [0.1, 1 / 3]
    method.after_step(MASTER, "clean", world.batch(IDS), NOTHING)
    state = {name: value.clone() for name, value in method.state().items()}
    other, _ = seen(world)
    with torch.no_grad():
        other.coordinator.image_encoder.project.weight.zero_()
    other.load_state(state)
    assert {name: value.tolist() for name, value in other.state().items()} == {n: v.tolist() for n, v in state.items()}
    assert other.models[MASTER] is not models[MASTER]


def test_losses_may_be_smoothed(world: World):
    method, _ = seen(world, split__momentum=0.5)
    both = looked(1), looked(2)
    unit = [(one.losses - one.losses.min()) / np.ptp(one.losses) for one, _ in both]
    for statistics in both:
        _, splits = method.partition(statistics, 0)
    mixed = (unit[0] + unit[1]) / 2
    np.testing.assert_allclose(splits[0].losses, (mixed - mixed.min()) / np.ptp(mixed), atol=1e-5)
    again, _ = seen(world, split__momentum=0.5)
    again.load_state(method.state())
    np.testing.assert_array_equal(again.splitter.running[0], method.splitter.running[0])


def test_without_a_clean_pair_nothing_is_informative(world: World):
    method, _ = seen(world)
    labels = method._labels(looked()[1], np.zeros(PAIRS, dtype=bool))
    assert labels.tolist() == [0.0] * PAIRS


def test_one_net_is_refused(world: World):
    with pytest.raises(
        ConfigError, match=r"^train\.num_nets: got 1, expected 2: tsvc trains a Master and an Assistant$"
    ):
        make(world, num_nets=1)
