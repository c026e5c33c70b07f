"""Encoders: word by word against a plain GRU, padding, and unit vectors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast.models.encoders import RegionEncoder, TextFeatures, WordEncoder
from pcsr_fast.models.retrieval import RetrievalModel
from tests.models import naive
from tests.models.conftest import unsettle

Captions = tuple[Tensor, Tensor]


def test_words_are_the_mean_of_both_directions(captions: Captions):
    words, lengths = captions
    encoder = WordEncoder(11, 5, 4, layers=1, dropout=0.0)
    unsettle(encoder)
    state = encoder.state_dict()
    found = encoder(words, lengths).detach()
    for row, length, got in zip(words, lengths.tolist(), found, strict=True):
        embedded = state["embedding.weight"][row[:length]]
        torch.testing.assert_close(got[:length], naive.gru(state, "gru", embedded), rtol=0, atol=1e-12)
        assert not got[length:].any()


def test_deeper_gru_depends_on_no_other_caption(captions: Captions):
    words, lengths = captions
    encoder = WordEncoder(11, 5, 4, layers=2, dropout=0.0)
    unsettle(encoder)
    whole = encoder(words, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = encoder(words[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(whole[i, :length], alone[0], rtol=0, atol=1e-12)


def test_initial_embeddings_and_dropout():
    encoder = WordEncoder(50, 30, 4, layers=1, dropout=0.5)
    assert 0.09 < float(encoder.embedding.weight.detach().abs().max()) <= 0.1
    words, lengths = torch.ones(2, 3, dtype=torch.int64), torch.tensor([3, 2])
    assert not torch.equal(encoder(words, lengths), encoder(words, lengths))
    encoder.eval()
    assert torch.equal(encoder(words, lengths), encoder(words, lengths))


@pytest.mark.parametrize("kind", ["vse", "sgr", "saf"])
@pytest.mark.parametrize("pool", ["gpo", "mean"])
def test_embeddings_are_unit_vectors_and_know_no_neighbours(
    build: Callable[..., RetrievalModel], captions: Captions, kind: str, pool: str
):
    words, lengths = captions
    model = build(kind, pooling=pool)
    regions = torch.randn(4, 3, 8, dtype=torch.float64)
    images, texts = model.encode_images(regions), model.encode_texts(words, lengths)
    assert images.shape == ((4, 6) if kind == "vse" else (4, 3, 6))
    assert texts.values.shape == ((5, 6) if kind == "vse" else (5, 5, 6))
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(images.shape[:-1], dtype=torch.float64))
    expected = torch.ones(5, dtype=torch.float64)
    if kind != "vse":
        expected = (torch.arange(5) < lengths[:, None]).double()
    torch.testing.assert_close(texts.values.norm(dim=-1), expected)
    for i, length in enumerate(lengths.tolist()):
        alone = model.encode_texts(words[i : i + 1, :length], lengths[i : i + 1]).values[0]
        whole = texts.values[i] if kind == "vse" else texts.values[i, :length]
        torch.testing.assert_close(whole, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.encode_images(regions[2:3])[0], images[2], rtol=0, atol=1e-12)


def test_empty_regions_send_no_gradient():
    encoder = RegionEncoder(8, 6)
    regions = torch.zeros(2, 3, 8)
    encoder(regions).sum().backward()
    assert not encoder.project.bias.grad.any()
    assert not encoder.project.weight.grad.any()


def test_select_gathers_and_lets_gradients_back():
    values = torch.randn(3, 2, requires_grad=True)
    chosen = TextFeatures(values, torch.tensor([4, 5, 6])).select(torch.tensor([2, 0, 2]))
    chosen.values.sum().backward()
    assert chosen.lengths.tolist() == [6, 4, 6]
    assert values.grad.tolist() == [[1, 1], [0, 0], [2, 2]]
