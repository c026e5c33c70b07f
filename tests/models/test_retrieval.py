"""The assembled model: names in its state dict, seeds, scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.retrieval import RetrievalModel, head_of_net, seeded_model
from pcsr_fast.ops import triplet_loss_from_scores
from pcsr_fast.reference import ScanParameters, scan_similarity

Build = Callable[..., RetrievalModel]
LINEAR = ("weight", "bias")


def gru_names(prefix: str, layers: int = 1) -> set[str]:
    parts = [f"{kind}_{gate}_l{n}" for kind in LINEAR for gate in ("ih", "hh") for n in range(layers)]
    return {f"{prefix}.gru.{part}{suffix}" for part in parts for suffix in ("", "_reverse")}


CLASSIFIER = {f"classifier.layers.{k}.{p}" for k in (0, 2) for p in LINEAR}
WORDS = gru_names("text_encoder.words") | {"text_encoder.words.embedding.weight"}


def test_documented_state_dict_names_of_vse(build: Build):
    encoder = {f"image_encoder.{m}.{p}" for m in ("project", "mlp.0", "mlp.2") for p in LINEAR}
    pool = {name for side in ("image", "text") for name in gru_names(f"{side}_encoder.pool")}
    pool |= {f"{side}_encoder.pool.score.weight" for side in ("image", "text")}
    assert set(build("vse").state_dict()) == encoder | WORDS | pool | CLASSIFIER
    assert set(build("vse", pooling="mean", num_classes=0).state_dict()) == encoder | WORDS


@pytest.mark.parametrize("kind", ["sgr", "saf"])
def test_documented_state_dict_names_of_sgraf(build: Build, kind: str):
    model = build(kind)
    head = {f"head.{name}" for name in model.head.state_dict()}
    assert set(model.state_dict()) == {f"image_encoder.project.{p}" for p in LINEAR} | WORDS | head | CLASSIFIER


def test_sgr_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = RetrievalModel(ModelConfig(), kind="sgr", feature_dim=2048, regions=36, vocabulary_size=8481)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert round(sum(sizes.values()) / 1e6, 1) == 18.1
    assert round(sizes["image_encoder"] / 1e6, 2) == 2.10


@pytest.mark.parametrize("pool", ["gpo", "mean"])
def test_scores_of_vse_are_cosines(build: Build, captions: tuple[Tensor, Tensor], pool: str):
    model = build("vse", pooling=pool)
    images = model.encode_images(torch.randn(4, 3, 8, dtype=torch.float64))
    texts = model.encode_texts(*captions)
    S = model.similarity(images, texts)
    assert S.shape == (4, 5)
    assert float(S.abs().max()) <= 1
    expected = torch.nn.functional.cosine_similarity(images[:, None], texts.values[None], dim=2)
    torch.testing.assert_close(S, expected)
    torch.testing.assert_close(model.similarity(texts.values, texts).diagonal(), torch.ones(5, dtype=torch.float64))


def test_seed_decides_the_weights_and_leaves_the_global_generator():
    arguments = {
        "config": ModelConfig(embed_dim=4, word_dim=3, sim_dim=2),
        "kind": "sgr",
        "feature_dim": 5,
        "regions": 2,
        "vocabulary_size": 6,
        "num_classes": 3,
    }
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = seeded_model(1, **arguments)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again, other = seeded_model(1, **arguments), seeded_model(2, **arguments)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert not torch.equal(first.image_encoder.project.weight, other.image_encoder.project.weight)


def test_sgraf_alternates_its_heads():
    assert [head_of_net(ModelConfig(head="sgraf"), net) for net in range(3)] == ["sgr", "saf", "sgr"]
    assert [head_of_net(ModelConfig(head="vse"), net) for net in range(2)] == ["vse", "vse"]


def test_no_classifier_says_so(build: Build):
    with pytest.raises(ValueError, match="pseudo-classifier; expected num_classes > 0"):
        build("vse", num_classes=0).image_logits(torch.zeros(1, 6, dtype=torch.float64))


def test_scan_has_no_weights_in_its_head(build: Build, captions: tuple[Tensor, Tensor]):
    model = build("scan", num_classes=0)
    assert set(model.state_dict()) == {f"image_encoder.project.{p}" for p in LINEAR} | WORDS
    images = model.encode_images(torch.randn(4, 3, 8, dtype=torch.float64))
    texts = model.encode_texts(*captions)
    expected = scan_similarity(images, texts.values, texts.lengths, ScanParameters())
    torch.testing.assert_close(model.similarity(images, texts), expected)
    assert float(expected.std()) > 1e-3


@pytest.mark.parametrize("kind", ["vse", "scan", "sgr", "saf"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_sparse_loss_is_that_of_all_similarities(
    build: Build, captions: tuple[Tensor, Tensor], kind: str, training: bool, reduction: str
):
    regions = torch.randn(5, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    options = {"margin": torch.linspace(0.1, 0.5, 5, dtype=torch.float64), "margin_mode": "row", "reduction": reduction}
    options["groups"] = torch.tensor([0, 1, 2, 2, 3])
    results = []
    for sparse in (True, False):
        model = build(kind).train(training)
        images, texts = model.encode_images(regions), model.encode_texts(*captions)
        if sparse:
            losses = model.hardest_triplet(images, texts, **options)
        else:
            losses = triplet_loss_from_scores(model.similarity(images, texts), **options)
        losses.sum().backward()
        results.append((losses.detach(), {name: value.grad for name, value in model.named_parameters()}))
    (mine, my_gradients), (theirs, gradients) = results
    assert float(mine.max()) > 0
    torch.testing.assert_close(mine, theirs)
    for name, expected in gradients.items():
        if expected is None:
            assert my_gradients[name] is None
        else:
            torch.testing.assert_close(my_gradients[name], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["sgr", "saf"])
def test_state_round_trip(build: Build, captions: tuple[Tensor, Tensor], kind: str):
    one, other = build(kind, seed=1), build(kind, seed=2)
    regions = torch.randn(4, 3, 8, dtype=torch.float64)
    before = other.similarity(other.encode_images(regions), other.encode_texts(*captions))
    other.load_state_dict(one.state_dict(), strict=True)
    S, expected = (m.similarity(m.encode_images(regions), m.encode_texts(*captions)) for m in (other, one))
    assert torch.equal(S, expected)
    assert not torch.equal(S, before)
