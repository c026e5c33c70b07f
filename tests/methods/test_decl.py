"""DECL: whom the evidence trusts, and a triplet over ever fewer negatives (METHODS 7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import Losses
from pcsr_fast.methods.decl import DECL
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods.conftest import World, configured
from tests.reference import naive as pairwise
from tests.reference import naive_labels

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
IDS = [1, 4, 6, 8, 10, 11, 5]
MARGIN = torch.tensor(0.2, dtype=torch.float64)


def make(**settings: object) -> DECL:
    return DECL(configured("decl", **settings), torch.arange(16).numpy(), num_nets=2)


def trusted(S: Tensor, groups: Tensor) -> Tensor:
    e = torch.exp(torch.tanh(S.detach()) / 0.1)
    both = (e + e.T).tolist()
    found = []
    for i, row in enumerate(both):
        seen = [i, *(j for j in range(len(both)) if groups[j] != groups[i])]
        found.append(float(max(seen, key=lambda j: row[j]) == i))
    return torch.tensor(found, dtype=torch.float64)


def expected_loss(S: Tensor, groups: Tensor, y: Tensor, negatives: int) -> Tensor:
    triplet = pairwise.triplet(S.tanh(), MARGIN, "scalar", f"topk:{negatives}", groups)
    return naive_labels.evidential(S, y, 0.1, 0.1, groups).mean() + 0.8 * (triplet * y).sum()


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize(("steps", "negatives"), [(0, 7), (4, 5), (5, 4), (100, 3)])
def test_loss(world: World, same_gradients: Check, kind: str, steps: int, negatives: int):
    """Of a batch of 7 int(7 - .5 t) negatives are left after t steps, at least 3."""
    method = make(decl__eta=0.5, decl__negatives=3)
    model, batch = world.model(kind), world.batch(IDS)
    for _ in range(steps):
        method.after_step(1, "warmup", batch, Losses(torch.zeros(()), torch.zeros(7)))
    for train in (False, True):
        S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
        y = trusted(S, batch.images) if train else torch.ones(7, dtype=torch.float64)
        assert not train or kind == "sgr" or 0 < y.mean() < 1
        (step,) = method.training_steps(1, epoch=0)
        found = step.loss(model, batch, {}) if train else method.warmup_loss(1, model, batch)
        same_gradients(model, found.total, expected_loss(S, batch.images, y, negatives))


def test_steps_survive_a_stop():
    method, again = make(), make()
    for net in (0, 1, 1):
        method.after_step(net, "clean", None, None)
    again.load_state(method.state())
    assert again.steps == [1, 2]


def test_another_warm_up(world: World, same_gradients: Check):
    model, batch = world.model("vse"), world.batch(IDS)
    S = model.similarity(model.encode_images(batch.regions), world.texts(model, IDS))
    expected = pairwise.contrastive(S, "infonce", 0.1, 0.5, 0.1, batch.images).mean()
    same_gradients(model, make(warmup__loss="infonce").warmup_loss(0, model, batch).total, expected)


def test_another_loss_is_refused():
    with pytest.raises(ConfigError, match=r"loss.kind: got tal with method decl, expected auto or evidential"):
        make(loss__kind="tal")
