"""Refinable losses and text replacement against METHODS 4.5, 4.6 #1 #6-#8 and 9 G7-G8, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.methods.base import Batch, Losses, SplitStatistics, Visited
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.pcsr import PCSR
from pcsr_fast.methods.replacement import best_clean_captions
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel
from tests.methods import naive
from tests.methods.conftest import World, configured
from tests.reference import naive as pairwise

Check = Callable[[RetrievalModel, Tensor, Tensor], None]
NOISY, CLEAN, EARLIER = [5, 12, 9, 15, 1, 7], [0, 4, 8, 11, 14], [2, 3, 10, 13, 6]
STAGES = {"apo__refinable__start_epoch": 0, "apo__ambiguous__start_epoch": 0}


def ready(world: World, config: MethodConfig) -> PCSR:
    return PCSR(config, world.held, num_nets=1, epochs=50)


def clean_step(method: PCSR, model: RetrievalModel, batch: Batch) -> tuple[Visited, Losses]:
    losses = method.training_steps(0, 0)[0].loss(model, batch, {})
    method.after_step(0, "clean", batch, losses)
    return Visited(batch, losses.encoded), losses


def refinable(method: PCSR, model: RetrievalModel, world: World, noisy: list[int] = NOISY) -> Losses | None:
    """The refinable step on `noisy` after a clean step on CLEAN."""
    visited, _ = clean_step(method, model, world.batch(CLEAN))
    return method.training_steps(0, 0)[-1].loss(model, world.batch(noisy), {"clean": visited})


def pictures(model: RetrievalModel, world: World, ids: list[int]) -> Tensor:
    return model.encode_images(torch.from_numpy(world.regions[world.held[ids]]))


def by_prediction(model: RetrievalModel, world: World, pool: list[int]) -> tuple[list[int], Tensor]:
    """Chosen caption ids and cosines for NOISY: the clean pair whose picture has the most similar prediction."""
    p, clean = (naive.probabilities(model.image_logits(pictures(model, world, ids))) for ids in (NOISY, pool))
    index, cosine = naive.best(p, clean)
    return [pool[j] for j in index], cosine


def by_similarity(model: RetrievalModel, world: World, pool: list[int]) -> tuple[list[int], Tensor]:
    """Chosen caption ids and scores for NOISY: the caption that the picture itself scores highest."""
    S = model.similarity(pictures(model, world, NOISY), world.texts(model, pool))
    index = [row.index(max(row)) for row in S.tolist()]
    return [pool[j] for j in index], torch.stack([S[i, j] for i, j in enumerate(index)])


def replaced_triplet(
    model: RetrievalModel,
    world: World,
    chosen: list[int],
    value: Tensor,
    options: Any,
    *,
    mode: str = "anchor",
    texts: TextFeatures | None = None,
) -> Tensor:
    """Triplet of NOISY with their new captions `chosen`, vouched for by `value`."""
    y = value.detach() if options.detach_margin else value
    sure = [one >= options.min_cos for one in value.tolist()]
    y = torch.stack([one if kept else one * 0 for one, kept in zip(y, sure, strict=True)])
    rows = [i for i in range(len(NOISY)) if options.below == "margin0" or sure[i]]
    texts = world.texts(model, chosen) if texts is None else texts
    S = model.similarity(pictures(model, world, [NOISY[i] for i in rows]), texts.select(torch.tensor(rows)))
    groups = torch.tensor(chosen)[rows] if options.mask_equal else None
    return pairwise.triplet(S, naive.soft_margin(y[rows].clamp(0, 1)), mode, "hardest", groups).sum()


def middle(values: Tensor) -> float:
    """A threshold that some of the values pass and some do not."""
    ordered = values.detach().sort().values
    assert float(ordered[0]) < float(ordered[-1])
    return float((ordered[1] + ordered[2]) / 2)


@pytest.mark.parametrize("kind", ["vse", "sgr"])
@pytest.mark.parametrize("by", ["prediction", "similarity"])
@pytest.mark.parametrize("below", ["drop", "margin0"])
@pytest.mark.parametrize("mask_equal", [True, False])
@pytest.mark.parametrize("detach", [True, False])
def test_captions_of_the_clean_batch(
    world: World, same_gradients: Check, kind: str, by: str, below: str, mask_equal: bool, detach: bool
):
    model = world.model(kind)
    choose = by_prediction if by == "prediction" else by_similarity
    chosen, value = choose(model, world, CLEAN)
    assert len(set(chosen)) < len(chosen)
    config = configured(
        replace__by=by,
        replace__below=below,
        replace__mask_equal=mask_equal,
        replace__detach_margin=detach,
        replace__min_cos=middle(value),
        **STAGES,
    )
    found = refinable(ready(world, config), model, world)
    expected = replaced_triplet(model, world, chosen, value, config.replace)
    same_gradients(model, found.total, expected)
    assert len(found.per_pair) == (len(NOISY) if below == "margin0" else 4)
    p = naive.probabilities(model.image_logits(pictures(model, world, NOISY))).detach()
    torch.testing.assert_close(found.image_probabilities, p)


@pytest.mark.parametrize("detach", [True, False])
def test_an_attached_margin_trains_the_head(world: World, detach: bool):
    model = world.model("vse")
    config = configured(replace__detach_margin=detach, replace__min_cos=0.0, **STAGES)
    total = refinable(ready(world, config), model, world).total
    gradients = torch.autograd.grad(total, list(model.classifier.parameters()), allow_unused=True)
    assert all(one is None for one in gradients) == detach
    assert detach or any(one.any() for one in gradients)


@pytest.mark.parametrize("mode", ["anchor", "row", "col", "official"])
def test_margin_modes(world: World, same_gradients: Check, mode: str):
    model = world.model("vse")
    chosen, value = by_prediction(model, world, CLEAN)
    config = configured(loss__margin_mode=mode, replace__min_cos=middle(value), replace__below="margin0", **STAGES)
    found = refinable(ready(world, config), model, world)
    mode = "col" if mode == "official" else mode
    same_gradients(model, found.total, replaced_triplet(model, world, chosen, value, config.replace, mode=mode))


@pytest.mark.parametrize("loss", ["infonce", "gce_infonce", "ccl_log"])
@pytest.mark.parametrize("below", ["drop", "margin0"])
def test_a_contrastive_loss_is_weighted_with_the_similarity(world: World, same_gradients: Check, loss: str, below: str):
    model = world.model("vse")
    chosen, value = by_prediction(model, world, CLEAN)
    limit = middle(value)
    options = {"loss": loss, "q": 0.3, "weight": 0.5}
    config = configured(
        **{f"apo__refinable__{key}": option for key, option in options.items()},
        replace__min_cos=limit,
        replace__below=below,
        **STAGES,
    )
    found = refinable(ready(world, config), model, world)
    rows = [i for i, one in enumerate(value.tolist()) if below == "margin0" or one >= limit]
    y = torch.where(value >= limit, value, 0).detach().clamp(0, 1)[rows]
    texts = world.texts(model, [chosen[i] for i in rows])
    S = model.similarity(pictures(model, world, [NOISY[i] for i in rows]), texts)
    values = pairwise.contrastive(S, loss, 0.05, 0.3, 0.1, torch.tensor(chosen)[rows])
    same_gradients(model, found.total, 0.5 * (y * values).sum())


def official_texts(model: RetrievalModel, world: World, chosen: list[int], noisy: list[int]) -> TextFeatures:
    """METHODS 3.2 and 4.6 #8: T_j as padded in its batch, brought to the noisy batch's width, with T_j's own length."""
    source = world.texts(model, CLEAN)
    width = max(len(world.tokens[i]) for i in noisy)
    rows = []
    for j in chosen:
        row = source.values[CLEAN.index(j)]
        if len(row) > width:
            rows.append(F.interpolate(row.T[None], size=width, mode="linear", align_corners=False)[0].T)
        else:
            left = (width - len(row)) // 2
            zeros = row.new_zeros(width, row.shape[1])
            rows.append(torch.cat([zeros[:left], row, zeros[: width - len(row) - left]]))
    lengths = torch.tensor([min(width, len(world.tokens[j])) for j in chosen])
    return TextFeatures(torch.stack(rows), lengths)


@pytest.mark.parametrize("longest", [7, 4, 10], ids=["equal", "squeezed", "padded"])
@pytest.mark.parametrize("subset", ["refinable", "ambiguous"])
def test_official_replacement_on_word_sequences(
    world: World, same_gradients: Check, monkeypatch: pytest.MonkeyPatch, longest: int, subset: str
):
    """The published steps as they stand: resampled words, cosine in the graph, margin 0 below .5, diagonal mask."""
    tokens = [one[:longest] if i in NOISY else one for i, one in enumerate(world.tokens)]
    tokens[11] = np.arange(1, 8)
    tokens[5] = np.arange(1, longest + 1)
    monkeypatch.setattr(world, "tokens", tokens)
    model = world.model("sgr", "pad_batch_max")
    config = configured("pcsr_official", **STAGES, head__train_in_warmup=True)
    method = ready(world, config)
    visited, _ = clean_step(method, model, world.batch(CLEAN))
    batch = world.batch(NOISY)
    assert batch.words.shape[1] == longest
    step = {one.subset: one for one in method.training_steps(0, 0)}[subset]
    found = step.loss(model, batch, {"clean": visited})
    chosen, value = by_prediction(model, world, CLEAN)
    texts = official_texts(model, world, chosen, NOISY)
    mode = "col" if subset == "refinable" else "row"
    expected = replaced_triplet(model, world, chosen, value, config.replace, mode=mode, texts=texts)
    if subset == "ambiguous":
        p = model.image_logits(pictures(model, world, NOISY))
        classes = naive.taught(model.text_logits(world.texts(model, NOISY)), "argmax")
        expected = expected + naive.gce(p, classes, 0.7) - 10.0 * naive.entropy(p, "per_sample")
    same_gradients(model, found.total, expected)


@pytest.mark.parametrize("by", ["prediction", "similarity"])
def test_queue_offers_the_recent_clean_captions(world: World, same_gradients: Check, by: str):
    model = world.model("vse")
    config = configured(replace__pool="queue", replace__queue_size=8, replace__by=by, replace__min_cos=-1.0, **STAGES)
    method = ready(world, config)
    clean_step(method, model, world.batch(EARLIER))
    found = refinable(method, model, world)
    pool = [*EARLIER, *CLEAN][-8:]
    keys = world.texts(model, pool).values
    query = pictures(model, world, NOISY)
    if by == "prediction":
        keys = naive.probabilities(model.image_logits(pictures(model, world, pool)))
        query = naive.probabilities(model.image_logits(query))
    index, value = naive.best(query, keys.detach())
    chosen = [pool[j] for j in index]
    assert set(chosen) & set(EARLIER)
    expected = replaced_triplet(model, world, chosen, value, config.replace)
    # The queue keeps its keys in float32.
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-5)


def test_queue_by_prediction_serves_word_sequences(world: World):
    model = world.model("sgr")
    config = configured(replace__pool="queue", replace__min_cos=0.0, **STAGES)
    method = ready(world, config)
    clean_step(method, model, world.batch(EARLIER))
    found = refinable(method, model, world)
    chosen, value = by_prediction(model, world, [*EARLIER, *CLEAN])
    expected = replaced_triplet(model, world, chosen, value, config.replace)
    torch.testing.assert_close(found.total, expected, rtol=1e-5, atol=1e-5)


def test_whole_clean_set(world: World, same_gradients: Check):
    model, batch = world.model("vse"), world.batch(NOISY)
    config = configured(replace__pool="clean_set", replace__by="similarity", **STAGES)
    chosen, value = [4, 0, 4, 13, 8, 2], torch.tensor([0.9, 0.6, 0.4, 0.7, 1.0, 0.55], dtype=torch.float64)
    new = world.batch(chosen)
    batch.replacement, batch.similarity = torch.tensor(chosen), value
    batch.new_words, batch.new_lengths = new.words, new.lengths
    method = ready(world, config)
    visited, _ = clean_step(method, model, world.batch(CLEAN))
    found = method.training_steps(0, 0)[-1].loss(model, batch, {"clean": visited})
    same_gradients(model, found.total, replaced_triplet(model, world, chosen, value, config.replace))


@pytest.mark.parametrize("by", ["prediction", "similarity"])
def test_embeddings_of_the_clean_step_can_be_used_again(world: World, same_gradients: Check, by: str):
    """They are a step old and constants: the clean step's graph is gone by then (METHODS 4.10)."""
    model = world.model("vse")
    config = configured(replace__reuse_clean_emb=True, replace__by=by, replace__min_cos=-1.0, **STAGES)
    method = ready(world, config)
    visited, losses = clean_step(method, model, world.batch(CLEAN))
    losses.total.backward()
    with torch.no_grad():
        stale = world.texts(model, CLEAN)
        stale_images = pictures(model, world, CLEAN)
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.sign(parameter))
    found = method.training_steps(0, 0)[-1].loss(model, world.batch(NOISY), {"clean": visited})
    images = pictures(model, world, NOISY)
    if by == "prediction":
        clean = naive.probabilities(model.image_logits(stale_images))
        index, value = naive.best(naive.probabilities(model.image_logits(images)), clean)
    else:
        scores = model.similarity(images, stale)
        index, value = scores.argmax(1).tolist(), scores.max(1).values
    texts = stale.select(torch.tensor(index))
    expected = replaced_triplet(model, world, [CLEAN[j] for j in index], value, config.replace, texts=texts)
    same_gradients(model, found.total, expected)


@pytest.mark.parametrize("sure", [0, 1, 2])
def test_a_batch_needs_two_sure_replacements(world: World, sure: int):
    model = world.model("vse")
    _, value = by_prediction(model, world, CLEAN)
    ordered = value.detach().sort(descending=True).values
    limit = 1.1 if sure == 0 else float((ordered[sure - 1] + ordered[sure]) / 2)
    method = ready(world, configured(replace__min_cos=limit, **STAGES))
    found = refinable(method, model, world)
    assert (found is None) == (sure < 2)


def test_ambiguous_survives_without_a_sure_replacement(world: World, same_gradients: Check):
    model = world.model("vse")
    config = configured(replace__min_cos=1.1, apo__ambiguous__replace_text=True, **STAGES)
    method = ready(world, config)
    visited, _ = clean_step(method, model, world.batch(CLEAN))
    found = method.training_steps(0, 0)[1].loss(model, world.batch(NOISY), {"clean": visited})
    p = model.image_logits(pictures(model, world, NOISY).detach())
    classes = naive.taught(model.text_logits(world.texts(model, NOISY)), "standardised")
    same_gradients(model, found.total, naive.gce(p, classes, 0.7) - naive.entropy(p, "batch_mean"))


def test_best_clean_captions_searches_the_whole_set(world: World):
    rng = np.random.default_rng(0)
    v, t = rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal((16, 4)).astype(np.float32)
    statistics = SplitStatistics(np.zeros(16, np.float32), image_embeddings=v, text_embeddings=t)
    noisy, clean = np.array([0, 3, 9]), np.array([1, 2, 7, 15])
    chosen, value = best_clean_captions(statistics, world.held, noisy, clean)
    assert chosen.dtype == np.int64
    for pair in range(16):
        scores = [float(v[world.held[pair]] @ t[j]) for j in clean]
        if pair in noisy:
            assert chosen[pair] == clean[int(np.argmax(scores))]
            assert value[pair] == pytest.approx(max(scores), abs=1e-6)
        else:
            assert (chosen[pair], value[pair]) == (-1, 0)
    nothing, zeros = best_clean_captions(statistics, world.held, noisy, np.array([], dtype=np.int64))
    assert (nothing == -1).all()
    assert not zeros.any()
