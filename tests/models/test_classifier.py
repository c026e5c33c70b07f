"""The pseudo-classifier: how captions are brought to its size (METHODS 3.2, 4.6 #9, 4.10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.models.classifier import resize_words
from pcsr_fast.models.retrieval import RetrievalModel

LENGTHS = torch.tensor([2, 7, 4])


def words(width: int, dim: int = 3) -> Tensor:
    values = torch.randn(3, width, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(width))
    return values * (torch.arange(width) < LENGTHS[:, None])[..., None]


def linear_resize(row: Tensor, size: int) -> Tensor:
    """Linear interpolation of (n, d) to (size, d), half-pixel centres, by hand."""
    length = len(row)
    result = []
    for k in range(size):
        at = max(0.0, (k + 0.5) * length / size - 0.5)
        low = min(int(at), length - 1)
        high = min(low + 1, length - 1)
        result.append((1 - (at - low)) * row[low] + (at - low) * row[high])
    return torch.stack(result)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_interp_valid_stretches_each_captions_own_words(size: int):
    values = words(7)
    found = resize_words(values, LENGTHS, size, "interp_valid")
    for got, row, length in zip(found, values, LENGTHS.tolist(), strict=True):
        torch.testing.assert_close(got, linear_resize(row[:length], size), rtol=0, atol=1e-12)


def test_interp_valid_depends_on_no_other_caption():
    values = words(7)
    whole = resize_words(values, LENGTHS, 5, "interp_valid")
    alone = resize_words(values[:1, :2], LENGTHS[:1], 5, "interp_valid")
    torch.testing.assert_close(alone[0], whole[0], rtol=0, atol=0)


def test_pad_batch_max_squeezes_a_batch_that_is_too_long():
    values = words(7)
    expected = F.interpolate(values.transpose(1, 2), size=5, mode="linear", align_corners=False).transpose(1, 2)
    found = resize_words(values, LENGTHS, 5, "pad_batch_max")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(found[0], linear_resize(values[0], 5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "left"), [(7, 0), (8, 0), (9, 1), (10, 1), (12, 2)])
def test_pad_batch_max_centres_a_batch_that_is_too_short(size: int, left: int):
    values = words(7)
    expected = torch.zeros(3, size, 3, dtype=torch.float64)
    expected[:, left : left + 7] = values
    torch.testing.assert_close(resize_words(values, LENGTHS, size, "pad_batch_max"), expected, rtol=0, atol=0)


@pytest.mark.parametrize("pool", ["interp_valid", "pad_batch_max"])
def test_logits_are_two_layers_on_the_flat_item(
    build: Callable[..., RetrievalModel], captions: tuple[Tensor, Tensor], pool: str
):
    model = build("sgr", text_pool=pool)
    state = model.classifier.state_dict()
    assert set(state) == {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"}
    images = model.encode_images(torch.randn(2, 3, 8, dtype=torch.float64))
    texts = model.encode_texts(*captions)

    def logits(flat: Tensor) -> Tensor:
        hidden = (state["layers.0.weight"] @ flat + state["layers.0.bias"]).clamp(min=0)
        return state["layers.2.weight"] @ hidden + state["layers.2.bias"]

    for got, image in zip(model.image_logits(images), images, strict=True):
        torch.testing.assert_close(got, logits(torch.cat(list(image))))
    resized = resize_words(texts.values, texts.lengths, 3, pool)
    for got, text in zip(model.text_logits(texts), resized, strict=True):
        torch.testing.assert_close(got, logits(torch.cat(list(text))))


def test_one_head_serves_both_vectors_of_vse(build: Callable[..., RetrievalModel], captions: tuple[Tensor, Tensor]):
    model = build("vse")
    texts = model.encode_texts(*captions)
    assert model.classifier.layers[0].in_features == 6
    torch.testing.assert_close(model.text_logits(texts), model.image_logits(texts.values), rtol=0, atol=0)
