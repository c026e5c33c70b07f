"""NCR, BiCro and CREAM: labels, margins, splits and schedules against METHODS 2.2-2.4 and 7."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import create_method
from pcsr_fast.methods.base import AMBIGUOUS, CLEAN, REFINABLE, Method, SplitStatistics, Visited
from pcsr_fast.methods.labels import Labels
from pcsr_fast.methods.ncr import NCR
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods import naive
from tests.methods.conftest import PAIRS, World, configured
from tests.reference import naive as pairwise
from tests.reference import naive_labels

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))
IDS, NOISY = [1, 4, 6, 8, 10, 11], [0, 2, 3, 5, 7]
ALL = np.ones(PAIRS, dtype=bool)
HEADS = pytest.mark.parametrize("kind", ["vse", "sgr"])


def make(name: str, world: World, nets: int = 2, epochs: int = 4, **settings: Any) -> Method:
    config = configured(name, **settings)
    return create_method(name, config, images=world.held, is_true=ALL, num_nets=nets, epochs=epochs)


def two_models(world: World, kind: str) -> list[RetrievalModel]:
    """Nets that see the same pairs differently; running statistics stay as they are, whoever looks first."""
    first, second = world.model(kind), world.model(kind)
    for module in (*first.modules(), *second.modules()):
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 0.0
    with torch.no_grad():
        for parameter in second.image_encoder.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return [first, second]


def scores(model: RetrievalModel, world: World, ids: list[int]) -> Tensor:
    batch = world.batch(ids)
    return model.similarity(model.encode_images(batch.regions), world.texts(model, ids))


def predicted(model: RetrievalModel, world: World, ids: list[int]) -> Tensor:
    S = scores(model.eval(), world, ids).detach()
    model.train()
    return torch.tensor(naive_labels.ncr_predict(S, 0.2), dtype=torch.float64)


def step_loss(method: Method, models: list[RetrievalModel], world: World, subset: str, net: int = 0, epoch: int = 3):
    """The loss of one step; the clean batch is IDS, noisy ones NOISY."""
    method.see(models)
    (step,) = (one for one in method.training_steps(net, epoch) if one.subset == subset)
    batch = world.batch(IDS if subset == "clean" else NOISY)
    return step.loss(models[net], batch, {"clean": Visited(world.batch(IDS), None)})


@HEADS
def test_clean_labels_mix_posterior_and_own_prediction(world: World, same_gradients: Check, kind: str):
    models = two_models(world, kind)
    w, p = world.batch(IDS).target, predicted(models[1], world, IDS)
    assert len(set(p.tolist())) > 2
    assert not torch.allclose(p, predicted(models[0], world, IDS))
    margin = naive.soft_margin(w + (1 - w) * p)
    expected = pairwise.triplet(scores(models[1], world, IDS), margin, "anchor", "hardest")
    found = step_loss(make("ncr", world), models, world, "clean", net=1)
    same_gradients(models[1], found.total, expected.sum())
    torch.testing.assert_close(found.per_pair, expected.detach())


@HEADS
def test_noisy_labels_are_the_mean_prediction_of_both_nets(world: World, same_gradients: Check, kind: str):
    models = two_models(world, kind)
    y = (predicted(models[0], world, NOISY) + predicted(models[1], world, NOISY)) / 2
    expected = pairwise.triplet(scores(models[0], world, NOISY), naive.soft_margin(y), "anchor", "hardest").sum()
    same_gradients(models[0], step_loss(make("ncr", world), models, world, "refinable").total, expected)


@pytest.mark.parametrize("rule", ["posterior", "mean_predict"])
@pytest.mark.parametrize("subset", ["clean", "refinable"])
def test_other_rules(world: World, same_gradients: Check, rule: str, subset: str):
    models, ids = two_models(world, "vse"), IDS if subset == "clean" else NOISY
    w = world.batch(ids).target
    p = (predicted(models[0], world, ids) + predicted(models[1], world, ids)) / 2
    y = w if rule == "posterior" else w + (1 - w) * p if subset == "clean" else p
    expected = pairwise.triplet(scores(models[0], world, ids), naive.soft_margin(y), "anchor", "hardest").sum()
    same_gradients(models[0], step_loss(make("ncr", world, label__rule=rule), models, world, subset).total, expected)


@pytest.mark.parametrize("mode", ["anchor", "row", "col", "official", "matrix"])
@pytest.mark.parametrize("subset", ["clean", "refinable"])
def test_margin_modes_of_the_public_code(world: World, same_gradients: Check, mode: str, subset: str):
    """METHODS 2.2: the shape of y decides whose margin a cell has; `matrix` is w_i + (1 - w_i) p_j."""
    models, ids = two_models(world, "vse"), IDS if subset == "clean" else NOISY
    w, p = world.batch(ids).target, predicted(models[0], world, ids)
    if subset == "clean":
        y = w[:, None] + (1 - w)[:, None] * p[None, :] if mode == "matrix" else w + (1 - w) * p
    else:
        y = (p + predicted(models[1], world, ids)) / 2
    as_read = {"official": "row", "matrix": "matrix"} if subset == "clean" else {"official": "col", "matrix": "col"}
    S = scores(models[0], world, ids)
    expected = pairwise.triplet(S, naive.soft_margin(y), as_read.get(mode, mode), "hardest").sum()
    found = step_loss(make("ncr", world, loss__margin_mode=mode), models, world, subset)
    same_gradients(models[0], found.total, expected)


class Fixed:
    """A net whose scores are those of golden.json."""

    training = True

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool) -> None:
        self.training = mode

    def encode_images(self, regions: Tensor) -> Tensor:
        assert not self.training
        return regions

    def encode_texts(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        return TextFeatures(words, lengths)

    def scores(self, images: Tensor, texts: TextFeatures) -> Tensor:
        return torch.tensor(GOLDEN["S"], dtype=torch.float64)


def test_golden_prediction(world: World):
    labels, net = Labels(configured("ncr"), 0), Fixed()
    labels.models, batch = [net], world.batch([0, 1, 4, 5])
    torch.testing.assert_close(
        labels.noisy(batch, batch), torch.tensor(GOLDEN["ncr_predict"], dtype=torch.float64), rtol=0, atol=1e-6
    )
    assert net.training


def test_asking_a_net_leaves_no_trace(world: World):
    """Evaluation mode, no graph, no draw, no statistics taken; the mode is put back."""
    models = [world.model("saf"), world.model("saf").eval()]
    before = {name: value.clone() for name, value in models[1].state_dict().items()}
    random = torch.get_rng_state()
    labels = Labels(configured("ncr"), 0)
    labels.models = models
    found = labels.noisy(world.batch(NOISY), world.batch(IDS))
    assert not found.requires_grad
    assert torch.equal(random, torch.get_rng_state())
    assert [model.training for model in models] == [True, False]
    assert all(torch.equal(value, before[name]) for name, value in models[1].state_dict().items())


@pytest.mark.parametrize(("epochs", "first"), [(40, 20), (5, 3), (1, None)])
def test_noisy_pairs_wait_for_half_of_the_epochs(world: World, epochs: int, first: int | None):
    method = make("ncr", world, epochs=epochs)
    seen = [epoch for epoch in range(epochs) if len(method.training_steps(0, epoch)) == 2]
    assert seen == ([] if first is None else list(range(first, epochs)))


def test_order_and_stages_of_cream(world: World):
    method = make("cream", world, epochs=40)
    names = {epoch: [step.subset for step in method.training_steps(0, epoch)] for epoch in (9, 10, 14, 15)}
    assert names[9] == ["clean"]
    assert names[10] == names[14] == ["clean", "ambiguous"]
    assert names[15] == ["clean", "ambiguous", "refinable"]


@pytest.mark.parametrize("name", ["ncr", "bicro"])
def test_each_net_is_trained_on_the_others_split_and_posterior(world: World, name: str):
    statistics = [world.statistics(1), world.statistics(2)]
    partitions, own = make(name, world).partition(statistics, 0)
    for net in range(2):
        (alone,), (split,) = make(name, world, nets=1).partition([statistics[net]], 0)
        np.testing.assert_array_equal(partitions[1 - net].part, alone.part)
        np.testing.assert_array_equal(partitions[1 - net].target, split.posterior)
        np.testing.assert_array_equal(own[net].part, np.where(split.posterior > 0.5, CLEAN, REFINABLE))
    assert not np.array_equal(own[0].part, own[1].part)


def test_split_by_agreement(world: World):
    statistics = [world.statistics(1), world.statistics(2)]
    partitions, own = make("cream", world).partition(statistics, 0)
    sure = np.stack([one.posterior for one in own])
    votes = (sure > 0.5).sum(0)
    part = np.array([REFINABLE, AMBIGUOUS, CLEAN])[votes]
    assert set(votes) == {0, 1, 2}
    for net in range(2):
        np.testing.assert_array_equal(own[net].part, part)
        np.testing.assert_array_equal(partitions[net].part, part)
        expected = np.where(votes == 2, sure[1 - net], sure.mean(0))
        np.testing.assert_allclose(partitions[net].target, expected, rtol=1e-6)


def test_losses_may_be_smoothed(world: World):
    method = make("ncr", world, nets=1, split__momentum=0.5)
    losses = [world.statistics(seed).losses for seed in (1, 2)]
    unit = [(one - one.min()) / (one.max() - one.min()) for one in losses]
    for one in losses:
        _, (split,) = method.partition([SplitStatistics(one)], 0)
    mixed = (unit[0] + unit[1]) / 2
    np.testing.assert_allclose(split.losses, (mixed - mixed.min()) / (mixed.max() - mixed.min()), atol=1e-5)
    again = make("ncr", world, nets=1, split__momentum=0.5)
    again.load_state(method.state())
    np.testing.assert_array_equal(again.splitter.running[0], method.splitter.running[0])


@pytest.mark.parametrize("subset", ["clean", "ambiguous", "refinable"])
def test_cream_spreads_what_a_label_lacks_over_the_negatives(world: World, same_gradients: Check, subset: str):
    models, ids = two_models(world, "vse"), IDS if subset == "clean" else NOISY
    own, other = (naive_labels.softmax_predict(scores(model, world, ids).detach(), 0.07) for model in models)
    w = world.batch(ids).target
    y = (own + other) / 2 if subset == "refinable" else w + (1 - w) * own
    expected = naive_labels.labelled(scores(models[0], world, ids), y, "soft_infonce", 0.07).mean()
    same_gradients(models[0], step_loss(make("cream", world), models, world, subset).total, expected)


def pooled(model: RetrievalModel, world: World, ids: list[int]) -> tuple[Tensor, Tensor]:
    """Means of regions and of a caption's own words."""
    images, texts = model.encode_images(world.batch(ids).regions), world.texts(model, ids)
    if images.dim() == 2:
        return images.detach(), texts.values.detach()
    words = [row[:n].mean(0) for row, n in zip(texts.values, texts.lengths.tolist(), strict=True)]
    return images.mean(1).detach(), torch.stack(words).detach()


@HEADS
@pytest.mark.parametrize("subset", ["clean", "refinable"])
def test_bicro_labels_are_the_other_nets(world: World, same_gradients: Check, kind: str, subset: str):
    models = two_models(world, kind)
    clean = [1, 4, 6, 8, 10, 11, 12, 13, 14, 15, 9]
    p = predicted(models[1], world, clean)
    anchors = p.topk(2).indices
    v, t = pooled(models[1], world, clean)
    ids = clean if subset == "clean" else NOISY
    mean = naive_labels.bicro(*pooled(models[1], world, ids), v[anchors], t[anchors])
    if subset == "clean":
        y = 0.5 + mean / 2
        y[anchors] = 1
    else:
        y = torch.where(mean < 0.8, 0, mean)
        assert len(set((y > 0).tolist())) == 2
    method = make("bicro", world, label__min_label=0.8)
    method.see(models)
    step = method.training_steps(0, 3)[0 if subset == "clean" else 1]
    found = step.loss(models[0], world.batch(ids), {"clean": Visited(world.batch(clean), None)})
    expected = pairwise.triplet(scores(models[0], world, ids), naive.soft_margin(y), "anchor", "hardest").sum()
    same_gradients(models[0], found.total, expected)


def test_bicro_warms_up_on_the_smallest_losses(world: World, same_gradients: Check):
    model, batch = world.model("vse"), world.batch([*IDS, *NOISY])
    values = pairwise.triplet(
        scores(model, world, [*IDS, *NOISY]), torch.tensor(0.2, dtype=torch.float64), "scalar", "mean"
    )
    expected = values.sort().values[:3].sum()
    same_gradients(model, make("bicro", world).warmup_loss(0, model, batch).total, expected)


def test_ncr_warms_up_on_the_mean_of_all_negatives(world: World, same_gradients: Check):
    model = world.model("vse")
    expected = pairwise.triplet(
        scores(model, world, IDS), torch.tensor(0.2, dtype=torch.float64), "scalar", "mean"
    ).sum()
    same_gradients(model, make("ncr", world).warmup_loss(0, model, world.batch(IDS)).total, expected)


@pytest.mark.parametrize("kind", ["infonce", "tal", "ccl_tan", "evidential", "active"])
def test_the_loss_is_a_switch(world: World, same_gradients: Check, kind: str):
    models = two_models(world, "vse")
    w, p = world.batch(IDS).target, predicted(models[0], world, IDS)
    y, S = w + (1 - w) * p, scores(models[0], world, IDS)
    if kind == "evidential":
        expected = naive_labels.evidential(S, y, 0.05, 0.1)
    elif kind == "active":
        expected = naive_labels.labelled(S, y, kind, 0.05)
    else:
        expected = y * pairwise.contrastive(S, kind, 0.05, 0.7, 0.2)
    found = step_loss(make("ncr", world, loss__kind=kind), models, world, "clean")
    same_gradients(models[0], found.total, expected.mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label__rule": "po"}, "label.rule: po asks the pseudo-classifier"),
        (
            {"loss__margin_mode": "matrix", "label__rule": "posterior"},
            "with label.rule posterior; expected the triplet",
        ),
        ({"loss__margin_mode": "matrix", "loss__kind": "tal"}, "got loss tal with label.rule ncr"),
    ],
)
def test_contradictions(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        NCR(configured("ncr", **settings), PAIRS, 2, 4, "triplet")
