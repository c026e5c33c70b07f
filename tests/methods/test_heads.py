"""Methods with a cross-attention head: a step has a gradient of the pairs that count, and draws what is random once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.methods import create_method
from pcsr_fast.methods.base import Visited
from pcsr_fast.methods.pcsr import PCSR
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops._cross_attention_gradients import GRADIENT
from tests.methods.conftest import PAIRS, World, configured

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
CLEAN, NOISY = [0, 4, 8, 11, 14, 2, 3], [5, 12, 9, 15, 1, 7, 6]
STAGES = {"apo__refinable__start_epoch": 0, "apo__ambiguous__start_epoch": 0, "replace__min_cos": 0.0}


@pytest.fixture
def pairs_with_a_gradient(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of pairs whenever scores are given their gradient."""
    seen: list[int] = []
    select = backends.select

    def watched(op, *given, **options):
        run = select(op, *given, **options)
        if op != GRADIENT:
            return run

        def counting(given, upstream, rows, captions):
            seen.append(upstream.numel() if rows is None else len(rows))
            return run(given, upstream, rows, captions)

        return counting

    monkeypatch.setattr(backends, "select", watched)
    return seen


@pytest.mark.parametrize("kind", ["scan", "sgr"])
@pytest.mark.parametrize("detach", [True, False])
def test_steps_have_a_gradient_of_few_pairs(world: World, kind: str, detach: bool, pairs_with_a_gradient: list[int]):
    options = {"replace__by": "similarity", "replace__detach_margin": detach, "apo__ambiguous__pair_loss": "triplet"}
    method = PCSR(configured(**options, **STAGES), world.held, num_nets=1, epochs=50)
    model, visited = world.model(kind), {}
    gradients = {"clean": 1, "ambiguous": 1, "refinable": 1 if detach else 2}
    for step in method.training_steps(0, 0):
        batch = world.batch(CLEAN if step.subset == "clean" else NOISY)
        losses = step.loss(model, batch, visited)
        visited[step.subset] = Visited(batch, losses.encoded)
        losses.total.backward()
        assert len(pairs_with_a_gradient) == gradients[step.subset]
        assert all(7 <= pairs <= 3 * 7 for pairs in pairs_with_a_gradient)
        pairs_with_a_gradient.clear()


@pytest.mark.parametrize("name", ["triplet", "oracle"])
def test_plain_training_has_a_gradient_of_few_pairs(world: World, name: str, pairs_with_a_gradient: list[int]):
    is_true = torch.ones(PAIRS, dtype=torch.bool).numpy()
    method = create_method(name, configured(), images=world.held, is_true=is_true, num_nets=1, epochs=4)
    (step,) = method.training_steps(0, 0)
    step.loss(world.model("sgr"), world.batch(CLEAN), {}).total.backward()
    assert len(pairs_with_a_gradient) == 1
    assert pairs_with_a_gradient[0] <= 3 * len(CLEAN)


@pytest.mark.parametrize("kind", ["sgr", "saf"])
@pytest.mark.parametrize("by", ["prediction", "similarity"])
def test_statistics_are_taken_once_for_each_scoring(world: World, kind: str, by: str):
    method = PCSR(configured(replace__by=by, **STAGES), world.held, num_nets=1, epochs=50)
    model, visited, before = world.model(kind), {}, 0
    scorings = {"clean": 1, "ambiguous": 0, "refinable": 1 + (by == "similarity")}
    for step in method.training_steps(0, 0):
        batch = world.batch(CLEAN if step.subset == "clean" else NOISY)
        visited[step.subset] = Visited(batch, step.loss(model, batch, visited).encoded)
        count = int(model.head.visual.local[1].num_batches_tracked)
        assert count - before == scorings[step.subset]
        before = count


@pytest.mark.parametrize("kind", ["sgr", "scan"])
def test_negatives_are_chosen_in_bfloat16_under_autocast(world: World, kind: str, monkeypatch: pytest.MonkeyPatch):
    """Scores of the chosen, and with them the loss, are float32's."""
    model, batch = world.model(kind).float(), world.batch(CLEAN)
    batch.regions, batch.target = batch.regions.float(), batch.target.float()
    method, seen = PCSR(configured(), world.held, num_nets=1, epochs=50), []
    select = backends.select

    def watched(op, backend, *tensors, **options):
        seen.append(options.get("precision"))
        return select(op, backend, *tensors, **options)

    monkeypatch.setattr(backends, "select", watched)
    (step,) = method.training_steps(0, 0)
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = step.loss(model, batch, {})
        assert losses.per_pair.dtype == torch.float32
    assert [one for one in seen if one is not None][:3] == ["auto", "bf16", "exact"]
