"""Heads that have learnt something: what bfloat16 products do to a ranking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from pcsr_fast.ops import contrastive_loss_from_scores, retrieval_ranks_from_scores
from pcsr_fast.training.batches import padded

CONFIG = ModelConfig(embed_dim=128, word_dim=32, sim_dim=32, dropout=0.0)
PAIRS = 24


def trained(kind: str) -> tuple[RetrievalModel, Tensor, Tensor, Tensor]:
    """A head after some steps on planted pairs, and those: regions, words, lengths."""
    data = synthetic_dataset(PAIRS, 1, regions=6, dim=32, num_dev=10, topics=24, noise=0.3)
    sizes = {"feature_dim": 32, "regions": 6, "vocabulary_size": len(data.vocabulary)}
    model = seeded_model(0, config=CONFIG, kind=kind, **sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    regions = torch.from_numpy(data.train.regions.take(np.arange(PAIRS)))
    words, lengths = padded(data.train.tokens)
    for _ in range(40):
        S = model.similarity(model.encode_images(regions), model.encode_texts(words, lengths))
        optimizer.zero_grad()
        contrastive_loss_from_scores(S, kind="infonce", temperature=0.05).backward()
        optimizer.step()
    return model.eval(), regions, words, lengths


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
def test_bfloat16_products_keep_the_recalls(kind: str):
    model, regions, words, lengths = trained(kind)
    with torch.no_grad():
        exact = model.similarity(model.encode_images(regions), model.encode_texts(words, lengths))
        with torch.autocast("cpu", torch.bfloat16):
            half = model.similarity(model.encode_images(regions), model.encode_texts(words, lengths))
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=2e-2)
    found = []
    for S in (exact, half.float()):
        ranks = retrieval_ranks_from_scores(S, torch.arange(PAIRS))
        found.append([float((side < k).double().mean()) for side in (ranks.i2t, ranks.t2i) for k in (1, 5, 10)])
    assert min(found[0]) > 0.9
    assert found[0] == found[1]
