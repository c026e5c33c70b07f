"""SCAN, SGR and SAF against the equations of METHODS 2.1 written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from pcsr_fast import reference
from pcsr_fast.models.sgraf import SGRAFHead
from pcsr_fast.reference import ScanParameters
from pcsr_fast.reference.attention import attended_regions, attention_weights
from tests.models import naive
from tests.models.conftest import unsettle

LENGTHS = [4, 1, 3, 2]


def items(images: int, regions: int, size: int, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Unit regions and words; what lies beyond a caption is NaN."""
    V = normalize(torch.randn(images, regions, size, dtype=torch.float64), dim=2)
    T = normalize(torch.randn(len(lengths), max(lengths), size, dtype=torch.float64), dim=2)
    counts = torch.tensor(lengths)
    return V, T.masked_fill((torch.arange(max(lengths)) >= counts[:, None])[..., None], torch.nan), counts


def scan_of_pair(image: Tensor, words: Tensor, sharpness: float) -> float:
    """One image (R, d), one caption (n, d), numbers alone."""
    products = [[float(v @ t) for t in words] for v in image]
    rows = [[a if a >= 0 else 0.1 * a for a in row] for row in products]
    rows = [[a / (math.sqrt(sum(b * b for b in row)) + 1e-8) for a in row] for row in rows]
    cosines = []
    for n, word in enumerate(words):
        weights = [math.exp(sharpness * row[n]) for row in rows]
        context = sum(w / sum(weights) * v for w, v in zip(weights, image, strict=True))
        lengths = math.sqrt(float(context @ context)) * math.sqrt(float(word @ word))
        cosines.append(float(context @ word) / max(lengths, 1e-8))
    return sum(cosines) / len(cosines)


@given(st.integers(0, 999), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from([9.0, 4.0]))
@settings(max_examples=50)
def test_scan_is_the_mean_cosine_of_words_and_contexts(seed: int, lengths: list[int], sharpness: float):
    torch.manual_seed(seed)
    V, T, counts = items(3, 4, 5, lengths)
    S = reference.scan_similarity(V, T, counts, ScanParameters(sharpness))
    expected = [[scan_of_pair(v, t[:n], sharpness) for t, n in zip(T, lengths, strict=True)] for v in V]
    torch.testing.assert_close(S, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["sgr", "saf"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_sgraf_is_as_written_out(kind: str, training: bool):
    head = unsettle(SGRAFHead(kind, 6, 4, 3, 5, 0.0), seed=7).train(training)
    V, T, counts = items(3, 5, 6, LENGTHS)
    words = [t[:n] for t, n in zip(T, LENGTHS, strict=True)]
    expected = naive.similarity(head.state_dict(), kind, 3, list(V), words, training)
    with torch.no_grad():
        parameters = head.head_parameters(V, T, counts)
        S = reference.cross_attention_similarity(V, T, counts, parameters)
    torch.testing.assert_close(S, expected, rtol=0, atol=1e-12)


def test_attention_of_a_word_sums_to_one_and_contexts_are_unit_vectors():
    V, T, _ = items(3, 5, 6, [4])
    weights = attention_weights(V, T[0])
    torch.testing.assert_close(weights.sum(1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(attended_regions(V, T[0]).norm(dim=2), torch.ones(3, 4, dtype=torch.float64))


def test_nothing_has_a_finite_similarity_and_gradient():
    V, T = (torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    S = reference.scan_similarity(V, T, torch.tensor([2]), ScanParameters())
    S.sum().backward()
    assert S.item() == 0
    assert V.grad.isfinite().all()
    assert T.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeps_the_dtype(dtype: torch.dtype):
    V, T, counts = items(2, 3, 4, [2, 1])
    S = reference.cross_attention_similarity(V.to(dtype), T.to(dtype), counts, ScanParameters())
    assert S.dtype == dtype
