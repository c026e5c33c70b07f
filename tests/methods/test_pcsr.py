"""What PCSR remembers, how it splits, and which configurations it refuses (METHODS 2.3, 3.2, 4.2-4.8)."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import METHODS, create_method
from pcsr_fast.methods.base import AMBIGUOUS, CLEAN, REFINABLE, Losses, SplitStatistics, Visited
from pcsr_fast.methods.pcsr import PCSR
from tests.methods import naive
from tests.methods.conftest import CLASSES, PAIRS, World, configured


def ready(world: World, nets: int = 2, epochs: int = 6, **settings: Any) -> PCSR:
    profile = settings.pop("profile", "plain")
    return PCSR(configured(profile, head__num_classes=CLASSES, **settings), world.held, nets, epochs)


def normalised(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def low_posterior(values: np.ndarray) -> np.ndarray:
    """Scikit-learn's posterior of the low component of min-max normalised values."""
    x = normalised(values.astype(np.float64))[:, None]
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(x)
    return mixture.predict_proba(x)[:, mixture.means_.argmin()]


def many(seed: int, count: int = 200) -> SplitStatistics:
    """A split pass over many pairs: every other one is wrong; half changed their prediction since the uniform bank."""
    rng = np.random.default_rng(seed)
    bad = np.arange(count) % 2 == 0
    losses = np.where(bad, rng.normal(0.6, 0.1, count), rng.normal(0.2, 0.1, count)).astype(np.float32)
    steady = rng.dirichlet(np.full(CLASSES, 60.0), count)
    sharp = rng.dirichlet(np.full(CLASSES, 0.3), count)
    p = np.where(rng.random((count, 1)) < 0.5, steady, 0.9 * sharp + 0.1 / CLASSES).astype(np.float32)
    return SplitStatistics(losses, p, rng.dirichlet(np.ones(CLASSES), count).astype(np.float32))


def test_each_net_is_trained_on_the_others_split(world: World):
    first, second = world.statistics(1), world.statistics(2)
    partitions, own = ready(world).partition([first, second], 0)
    for net in range(2):
        (alone,), (split,) = ready(world, nets=1).partition([(first, second)[net]], 0)
        np.testing.assert_array_equal(own[net].part, split.part)
        np.testing.assert_array_equal(own[net].posterior, split.posterior)
        for name, value in alone.arrays().items():
            np.testing.assert_array_equal(partitions[1 - net].arrays()[name], value)
        np.testing.assert_array_equal(partitions[1 - net].part, split.part)
    assert not np.array_equal(own[0].part, own[1].part)


def test_a_single_net_uses_its_own_split(world: World):
    (partition,), (own,) = ready(world, nets=1).partition([world.statistics(1)], 0)
    np.testing.assert_array_equal(partition.part, own.part)


def test_rectified_labels():
    """y = w + (1 - w) w_o t, t = [w_o > threshold], with the oscillation against the bank."""
    statistics = many(0)
    method = PCSR(configured(head__num_classes=CLASSES), np.arange(200), 1, 6)
    bank = np.random.default_rng(5).dirichlet(np.full(CLASSES, 60.0), 200)
    method.banks[0].write(torch.arange(200), torch.from_numpy(bank))
    (partition,), _ = method.partition([statistics], 0)
    w = low_posterior(statistics.losses)
    pairs = zip(torch.from_numpy(statistics.image_probabilities), method.banks[0].probabilities, strict=True)
    w_o = low_posterior(np.array([naive.oscillation(now, before) for now, before in pairs]))
    t = (w_o > 0.5).astype(np.float64)
    assert 0.2 < t.mean() < 0.8
    sure = np.abs(w_o - 0.5) > 1e-2
    np.testing.assert_allclose(partition.target[sure], (w + (1 - w) * w_o * t)[sure], atol=5e-3)
    np.testing.assert_allclose(partition.posterior, w, atol=5e-3)


def test_without_oscillation_the_label_is_the_posterior():
    (partition,), _ = PCSR(configured(head__num_classes=CLASSES, po__enabled=False), np.arange(200), 1, 6).partition(
        [many(0)], 0
    )
    np.testing.assert_array_equal(partition.target, partition.posterior)


@pytest.mark.parametrize("profile", ["plain", "pcsr_official"])
@pytest.mark.parametrize("source", ["image", "text", "agreement"])
def test_three_kinds_over_several_epochs(profile: str, source: str):
    """METHODS 4.8: votes, PCS and threshold of each net, then clean, refinable and ambiguous by the two."""
    config = configured(profile, head__num_classes=CLASSES, pcs__source=source, warmup__epochs=2)
    method = PCSR(config, np.arange(200), 2, 4)
    votes = [[Counter() for _ in range(200)] for _ in range(2)]
    official, taus = profile == "pcsr_official", [0.0, 0.0]
    seen = set()
    for epoch in range(4):
        statistics = [many(10 * epoch + net) for net in range(2)]
        _, own = method.partition(statistics, epoch)
        for net, one in enumerate(statistics):
            kinds = {"image": [one.image_probabilities], "text": [one.text_probabilities]}
            for p in kinds.get(source, [one.image_probabilities, one.text_probabilities]):
                for pair, row in enumerate(p.tolist()):
                    votes[net][pair][row.index(max(row))] += 2 if official else 1
            score = "gap" if official else "gap_ratio"
            pcs = np.array([naive.consistency(counter, score, CLASSES) for counter in votes[net]])
            np.testing.assert_allclose(own[net].pcs, pcs, rtol=1e-6)
            clean = low_posterior(one.losses) > 0.5
            assert (clean == (own[net].part == CLEAN)).mean() > 0.99
            noisy = own[net].part != CLEAN
            share = 0.4 + 0.5 * (epoch + 2) / 6
            if official:
                tau = pcs.mean() if epoch == 0 else taus[net]
                taus[net] = tau + 0.06 * ((pcs > tau).mean() - share)
                assert own[net].pcs_threshold == pytest.approx(taus[net], rel=1e-6)
                np.testing.assert_array_equal(own[net].part == REFINABLE, noisy & (pcs > taus[net]))
            else:
                wanted = round(share * noisy.sum())
                reachable = {int((pcs[noisy] > at).sum()) for at in pcs} | {int(noisy.sum())}
                nearest = min(abs(count - wanted) for count in reachable)
                assert abs((own[net].part == REFINABLE).sum() - wanted) == nearest
            seen |= set(own[net].part.tolist())
    assert seen == {CLEAN, REFINABLE, AMBIGUOUS}


def test_without_pcs_every_noisy_pair_is_refinable():
    (partition,), _ = PCSR(configured(head__num_classes=CLASSES, pcs__enabled=False), np.arange(200), 1, 6).partition(
        [many(3)], 0
    )
    assert set(partition.part.tolist()) == {CLEAN, REFINABLE}


def test_losses_are_smoothed_over_epochs():
    method = PCSR(configured(head__num_classes=CLASSES, split__momentum=0.75), np.arange(200), 1, 6)
    running: np.ndarray | None = None
    for epoch in range(3):
        statistics = many(epoch)
        now = normalised(statistics.losses.astype(np.float64))
        running = now if running is None else 0.75 * running + 0.25 * now
        _, (own,) = method.partition([statistics], epoch)
        np.testing.assert_allclose(own.losses, normalised(running), atol=1e-5)
        np.testing.assert_allclose(own.posterior, low_posterior(running), atol=5e-3)


def test_without_momentum_an_epoch_stands_alone():
    method = PCSR(configured(head__num_classes=CLASSES), np.arange(200), 1, 6)
    method.partition([many(0)], 0)
    _, (own,) = method.partition([many(1)], 1)
    np.testing.assert_allclose(own.losses, normalised(many(1).losses), atol=1e-6)


def test_captions_of_the_whole_clean_set(world: World):
    statistics = world.statistics(4)
    rng = np.random.default_rng(1)
    statistics.image_embeddings = rng.standard_normal((9, 3)).astype(np.float32)
    statistics.text_embeddings = rng.standard_normal((PAIRS, 3)).astype(np.float32)
    method = ready(world, nets=1, replace__pool="clean_set", replace__by="similarity")
    assert method.needs_embeddings
    (partition,), _ = method.partition([statistics], 0)
    clean = np.flatnonzero(partition.part == CLEAN)
    for pair in range(PAIRS):
        scores = statistics.text_embeddings @ statistics.image_embeddings[world.held[pair]]
        expected = -1 if pair in clean else clean[scores[clean].argmax()]
        assert partition.replacement[pair] == expected


def predictions(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(CLASSES, 0.4), count))


@pytest.mark.parametrize("key", ["global", "local"])
@pytest.mark.parametrize("subset", ["warmup", "clean", "refinable", "ambiguous"])
def test_who_writes_the_bank(world: World, key: str, subset: str):
    method = ready(world, po__key=key)
    batch, p = world.batch([9, 3, 12], local=[1, 0, 2]), predictions(3, 0)
    before = method.banks[1].probabilities.clone()
    method.after_step(1, subset, batch, Losses(torch.zeros(()), torch.zeros(3), p, p))
    assert torch.equal(method.banks[0].probabilities, before)
    rows = [1, 0, 2] if key == "local" and subset in ("refinable", "ambiguous") else [9, 3, 12]
    expected = before.clone()
    if subset != "clean":
        expected[rows] = p.float()
    torch.testing.assert_close(method.banks[1].probabilities, expected)


@pytest.mark.parametrize("count", [True, False])
@pytest.mark.parametrize("subset", ["warmup", "clean", "refinable", "ambiguous"])
@pytest.mark.parametrize("source", ["image", "text", "agreement"])
def test_who_votes_while_training(world: World, count: bool, subset: str, source: str):
    method = ready(world, pcs__count_warmup=count, pcs__votes_per_epoch=2, pcs__source=source)
    batch, p, q = world.batch([9, 3, 12]), predictions(3, 0), predictions(3, 1)
    method.after_step(0, subset, batch, Losses(torch.zeros(()), torch.zeros(3), p, q))
    expected = torch.zeros(PAIRS, CLASSES, dtype=torch.int16)
    if count and subset == "warmup":
        for one in {"image": [p], "text": [q], "agreement": [p, q]}[source]:
            for pair, row in zip([9, 3, 12], one, strict=True):
                expected[pair, int(row.argmax())] += 1
    assert torch.equal(method.consistency[0].votes.counts, expected)
    assert not method.consistency[1].votes.counts.any()


def test_all_pairs_may_be_trained_on(world: World):
    np.testing.assert_array_equal(ready(world).training_ids(), np.arange(PAIRS))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"profile": "pcsr"},
        {"profile": "pcsr_official", "head__train_in_warmup": True},
        {"pcs__window": 2, "split__momentum": 0.5, "pcs__source": "agreement", "replace__pool": "queue"},
    ],
)
def test_a_restored_method_goes_on_identically(world: World, settings: dict[str, Any]):
    stages = {"apo__refinable__start_epoch": 0, "apo__ambiguous__start_epoch": 0}
    model = world.model("vse", "interp_valid")

    def epoch(method: PCSR, number: int) -> list[Any]:
        found: list[Any] = []
        for net in range(2):
            losses = method.warmup_loss(net, model, world.batch([number, 7, 9]))
            method.after_step(net, "warmup", world.batch([number, 7, 9]), losses)
        partitions, own = method.partition([world.statistics(10 * number + net) for net in range(2)], number)
        found += [value for one in partitions for value in one.arrays().values()]
        found += [one.pcs_threshold for one in own]
        for net in range(2):
            visited: dict[str, Visited] = {}
            for step in method.training_steps(net, number):
                ids = {"clean": [0, 4, 8, 11], "refinable": [5, 12, 9], "ambiguous": [1, 2, 3]}[step.subset]
                batch = world.batch(ids, local=[2, 1, 0, 3][: len(ids)])
                losses = step.loss(model, batch, visited)
                if losses is None:
                    continue
                method.after_step(net, step.subset, batch, losses)
                if step.subset == "clean":
                    visited["clean"] = Visited(batch, losses.encoded)
                found.append(losses.total.detach().numpy())
        return found

    first = ready(world, **stages, **settings)
    for number in range(2):
        epoch(first, number)
    second = ready(world, **stages, **settings)
    second.load_state(load(save(first.state())))
    for number in range(2, 4):
        for mine, theirs in zip(epoch(first, number), epoch(second, number), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    states = first.state(), second.state()
    assert set(states[0]) == set(states[1])
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_fresh_state_can_be_restored(world: World):
    method = ready(world)
    saved = load(save(method.state()))
    other = ready(world)
    other.load_state(copy.deepcopy(saved))
    for name, value in other.state().items():
        assert torch.equal(value, saved[name]), name


NO_HEAD = {"head__enabled": False, "pcs__enabled": False, "replace__by": "similarity", "apo__ambiguous__enabled": False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**NO_HEAD, "pcs__enabled": True}, r"head\.enabled: false.* expected pcs\.enabled: false"),
        ({**NO_HEAD, "replace__by": "prediction"}, r"head\.enabled: false.* replace\.by: similarity"),
        ({**NO_HEAD, "apo__ambiguous__enabled": True}, r"apo\.ambiguous\.\w+"),
        ({"replace__pool": "clean_set"}, r"replace\.pool: clean_set .* expected replace\.by: similarity"),
        ({"apo__refinable__start_epoch": 0, "head__train_in_warmup": False}, r"apo\.refinable\.start_epoch: 0"),
        ({"apo__refinable__start_epoch": 0, "warmup__epochs": 0}, r"apo\.refinable\.start_epoch: 0"),
    ],
)
def test_contradictory_switches_are_refused(world: World, settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        ready(world, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        NO_HEAD,
        {"apo__refinable__start_epoch": 0},
        {"apo__refinable__start_epoch": 0, "head__train_in_warmup": False, "replace__by": "similarity"},
        {"apo__refinable__start_epoch": 1, "head__train_in_warmup": False, "warmup__epochs": 0},
        {"apo__refinable__start_epoch": 0, "apo__refinable__enabled": False, "head__train_in_warmup": False},
        {"replace__pool": "clean_set", "replace__by": "similarity"},
        {"profile": "pcsr"},
        {"profile": "pcsr_official"},
    ],
)
def test_what_can_work_is_accepted(world: World, settings: dict[str, Any]):
    assert ready(world, **settings).needs_split


def test_an_unknown_method_is_refused(world: World):
    with pytest.raises(ConfigError, match=f"method: got 'pcs', expected one of {', '.join(METHODS)}"):
        create_method("pcs", configured(), images=world.held, is_true=np.ones(PAIRS, dtype=bool), num_nets=1, epochs=1)
