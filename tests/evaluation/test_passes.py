"""Passes over whole sets: per-sample losses, what is indexed by what, and shards that must not show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.methods.config import LossConfig
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops.scores import score_matrix_of
from pcsr_fast.training import passes
from pcsr_fast.training.batches import padded
from pcsr_fast.training.passes import SplitPass, encode_images, encode_texts, head_scores, split_scores
from tests.reference import naive as pairwise

Build = Callable[..., RetrievalModel]
CPU = torch.device("cpu")
HEADS = pytest.mark.parametrize("kind", ["vse", "scan", "sgr", "saf"])


def make_pass(
    planted: Dataset, held: np.ndarray, size: int, *, mask: bool = True, kind: str = "triplet_mean"
) -> SplitPass:
    options = LossConfig(positive_mask="image_id" if mask else "diag", temperature=0.3)
    return SplitPass(planted.train, held, size=size, kind=kind, options=options, device=CPU)


@torch.no_grad()
def naive_losses(
    model: RetrievalModel, planted: Dataset, held: np.ndarray, order: np.ndarray, size: int, *, mask: bool
) -> np.ndarray:
    """eval_loss of METHODS 2.2, batch by batch and pair by pair."""
    losses = np.full(len(held), np.nan)
    for start in range(0, len(order), size):
        ids = order[start : start + size]
        regions = torch.from_numpy(planted.train.regions.take(held[ids]))
        texts = model.encode_texts(*padded([planted.train.tokens[i] for i in ids]))
        S = model.similarity(model.encode_images(regions), texts).double().numpy()
        for i in range(len(ids)):
            total = 0.0
            for j in range(len(ids)):
                if j == i or (mask and held[ids[i]] == held[ids[j]]):
                    continue
                total += max(0.0, 0.2 + S[i, j] - S[i, i]) + max(0.0, 0.2 + S[j, i] - S[i, i])
            losses[ids[i]] = total / len(ids)
    return losses


@pytest.mark.parametrize("mask", [True, False])
def test_losses_may_be_infonce(build: Build, planted: Dataset, held: np.ndarray, mask: bool):
    model, order = build("vse").eval(), np.random.default_rng(0).permutation(24)
    look = make_pass(planted, held, 8, mask=mask, kind="infonce")
    found = look(model, [order], predictions=False, embeddings=False)
    for ids in np.split(order, 3):
        regions = torch.from_numpy(planted.train.regions.take(held[ids]))
        texts = model.encode_texts(*padded([planted.train.tokens[i] for i in ids]))
        S = model.similarity(model.encode_images(regions), texts).double().detach()
        groups = torch.from_numpy(held[ids]) if mask else None
        expected = pairwise.contrastive(S, "infonce", 0.3, 0.5, 0.1, groups)
        np.testing.assert_allclose(found.losses[ids], expected.numpy(), rtol=1e-5)


@HEADS
@pytest.mark.parametrize("mask", [True, False])
def test_losses_are_those_of_the_batches(build: Build, planted: Dataset, held: np.ndarray, kind: str, mask: bool):
    model = build(kind).eval()
    order = np.random.default_rng(0).permutation(24)
    found = make_pass(planted, held, 8, mask=mask)(model, [order], predictions=False, embeddings=False)
    expected = naive_losses(model, planted, held, order, 8, mask=mask)
    np.testing.assert_allclose(found.losses, expected, atol=2e-6)
    assert found.losses.dtype == np.float32
    assert found.image_probabilities is found.text_probabilities is found.image_embeddings is None


@HEADS
@pytest.mark.parametrize("pool", ["interp_valid", "pad_batch_max"])
def test_losses_do_not_show_what_was_kept(
    build: Build, planted: Dataset, held: np.ndarray, kind: str, pool: str, monkeypatch: pytest.MonkeyPatch
):
    """All encodings held, or those of a batch alone."""
    model, order = build(kind, pool), np.random.default_rng(0).permutation(24)
    found = []
    for most in (2**30, 0):
        monkeypatch.setattr(passes, "MOST_BYTES", most)
        look = make_pass(planted, held, 3)
        found.append(look(model, [order], predictions=True, embeddings=True))
        assert (look._fits(model)) == (most > 0 or kind == "vse")
    for name in ("losses", "image_probabilities", "text_probabilities", "image_embeddings", "text_embeddings"):
        np.testing.assert_allclose(getattr(found[0], name), getattr(found[1], name), atol=2e-6)


@HEADS
def test_several_passes_are_averaged(build: Build, planted: Dataset, held: np.ndarray, kind: str):
    model, look = build(kind), make_pass(planted, held, 6)
    orders = [np.random.default_rng(seed).permutation(24) for seed in range(3)]
    single = [look(model, [order], predictions=False, embeddings=False).losses for order in orders]
    together = look(model, orders, predictions=False, embeddings=False).losses
    np.testing.assert_allclose(together, np.mean(single, axis=0), atol=1e-6)
    assert not np.allclose(single[0], single[1])


@HEADS
def test_predictions_and_embeddings_belong_to_their_pair(build: Build, planted: Dataset, held: np.ndarray, kind: str):
    model, look = build(kind), make_pass(planted, held, 6)
    orders = [np.arange(24), np.random.default_rng(1).permutation(24)]
    first, second = (look(model, [order], predictions=True, embeddings=True) for order in orders)
    with torch.no_grad():
        for i in range(24):
            image = model.encode_images(torch.from_numpy(planted.train.regions.take(held[i : i + 1])))
            text = model.encode_texts(*padded([planted.train.tokens[i]]))
            p, q = model.image_logits(image).softmax(1)[0], model.text_logits(text).softmax(1)[0]
            for found in (first, second):
                np.testing.assert_allclose(found.image_probabilities[i], p, atol=1e-5)
                np.testing.assert_allclose(found.text_probabilities[i], q, atol=1e-5)
                if kind == "vse":
                    v, t = image[0], text.values[0]
                else:
                    v, t = (functional.normalize(one[0].mean(0), dim=0) for one in (image, text.values))
                np.testing.assert_allclose(found.text_embeddings[i], t, atol=1e-5)
                np.testing.assert_allclose(found.image_embeddings[held[i]], v, atol=1e-5)


def test_a_pass_leaves_no_trace(build: Build, planted: Dataset, held: np.ndarray):
    model = build("sgr").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    make_pass(planted, held, 6)(model, [np.arange(24)], predictions=True, embeddings=False)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("size", [23, 22, 10])
def test_no_pair_is_judged_by_a_small_remainder(build: Build, planted: Dataset, size: int):
    """The mean divides by the batch: with few negatives in a last, short batch, its pairs would look clean."""
    look = SplitPass(
        planted.train,
        np.arange(24) % 8,
        size=size,
        kind="triplet_mean",
        options=LossConfig(margin=1000.0, positive_mask="diag"),
        device=CPU,
    )
    order = np.random.default_rng(2).permutation(24)
    losses = look(build("vse"), [order], predictions=False, embeddings=False).losses
    assert losses.min() > 0.85 * losses.max()


@HEADS
def test_score_matrix_does_not_show_its_shards(
    build: Build, planted: Dataset, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Blocks of any size, captions held all at once or a block at a time."""
    model = build(kind)
    whole = score_matrix_of(split_scores(model, planted.dev, 100, CPU))
    assert whole.shape == (10, 30)
    assert not whole.requires_grad
    for size, most in ((1, 2**30), (4, 0), (7, 6000), (100, 0)):
        monkeypatch.setattr(passes, "MOST_BYTES", most)
        scores = score_matrix_of(split_scores(model, planted.dev, size, CPU))
        torch.testing.assert_close(scores, whole, rtol=0, atol=1e-5)
    with torch.no_grad():
        image = model.encode_images(torch.from_numpy(planted.dev.regions.take(np.array([7]))))
        text = model.encode_texts(*padded([planted.dev.tokens[11]]))
        assert float(model.similarity(image, text)) == pytest.approx(float(whole[7, 11]), abs=1e-5)


def test_chosen_pictures_and_captions_keep_their_places(build: Build, planted: Dataset):
    model, rows, ids = build("sgr"), np.array([3, 0, 3]), np.array([29, 2, 14, 2])
    whole = score_matrix_of(split_scores(model, planted.dev, 100, CPU))
    chosen = head_scores(model, planted.dev, rows, ids, size=2, device=CPU)
    torch.testing.assert_close(chosen, whole[rows][:, ids], rtol=0, atol=1e-5)
    assert head_scores(model, planted.dev, rows, ids[:0], size=2, device=CPU).shape == (3, 0)


@pytest.mark.parametrize("most", [0, 6000, 2**30])
def test_every_caption_is_encoded_once_and_few_are_held(
    build: Build, planted: Dataset, most: int, monkeypatch: pytest.MonkeyPatch
):
    model, seen, shards = build("scan"), [], []
    encoded, sharded = passes.encode_texts, passes._text_shards

    def witness(model, pairs, ids, *rest):
        seen.extend(ids.tolist())
        return encoded(model, pairs, ids, *rest)

    def counted(*arguments):
        for shard in sharded(*arguments):
            shards.append(sum(block.texts.values.nbytes for block in shard))
            yield shard

    monkeypatch.setattr(passes, "encode_texts", witness)
    monkeypatch.setattr(passes, "_text_shards", counted)
    monkeypatch.setattr(passes, "MOST_BYTES", most)
    split_scores(model, planted.dev, 4, CPU)
    assert sorted(seen) == list(range(30))
    assert len(shards) == {0: 8, 6000: len(shards), 2**30: 1}[most]
    if most == 6000:
        assert 1 < len(shards) < 8
        assert max(shards) <= most // 4


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
def test_passes_report_pairs_up_to_the_last(
    build: Build, planted: Dataset, held: np.ndarray, kind: str, capsys: pytest.CaptureFixture[str]
):
    model, heard = build(kind), []

    def hear(done: int, total: int) -> None:
        heard.append((done, total))

    split_scores(model, planted.dev, 4, CPU, hear)
    assert len(heard) == 3 * 8
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert {total for _, total in heard} == {300}
    assert heard[-1] == (300, 300)
    heard.clear()
    make_pass(planted, held, 8)(model, [np.arange(24)] * 2, predictions=False, embeddings=False, report=hear)
    assert heard == [(8 * batch, 48) for batch in range(1, 7)]
    assert capsys.readouterr() == ("", "")


@HEADS
@torch.no_grad()
def test_encoding_in_spans_is_encoding_at_once(build: Build, planted: Dataset, kind: str):
    model = build(kind).eval()
    ids, rows = np.array([5, 0, 23, 7, 7]), np.array([6, 2, 2, 0])
    spans, once = (encode_texts(model, planted.train, ids, size, CPU) for size in (2, 10))
    torch.testing.assert_close(spans.values, once.values, rtol=0, atol=1e-5)
    assert spans.lengths.tolist() == [len(planted.train.tokens[i]) for i in ids]
    images = encode_images(model, planted.train, rows, 3, CPU)
    regions = torch.from_numpy(planted.train.regions.take(rows))
    torch.testing.assert_close(images, model.encode_images(regions), rtol=0, atol=1e-5)
