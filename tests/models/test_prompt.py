"""The prompt learner against its equations, the two stages, and the frozen teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.errors import ConfigError
from pcsr_fast.models.config import ModelConfig, PromptConfig
from pcsr_fast.models.layers import drop_tokens
from pcsr_fast.models.prompt import PromptedTextEncoder, PromptLearner
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from tests.models.conftest import unsettle

WORDS = torch.tensor([[1, 5, 6, 9, 2], [1, 7, 2, 0, 0]])
LENGTHS = torch.tensor([5, 3])


def build(inference: str = "trained", head: str = "vse") -> RetrievalModel:
    config = ModelConfig(head=head, embed_dim=6, word_dim=5, dropout=0.0, prompt=PromptConfig(4, 2, 2, inference))
    model = seeded_model(0, config=config, kind=head, feature_dim=8, regions=3, vocabulary_size=11, prompted=True)
    return unsettle(model)


def encoder(model: RetrievalModel) -> PromptedTextEncoder:
    assert isinstance(model.text_encoder, PromptedTextEncoder)
    return model.text_encoder


def attended(layer: Any, x: Tensor) -> Tensor:
    """Self-attention with two heads of three dimensions, all positions valid."""
    q, k, v = (x @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=-1)
    heads = [torch.softmax(q[:, h] @ k[:, h].T / 3**0.5, dim=-1) @ v[:, h] for h in (slice(0, 3), slice(3, 6))]
    return torch.cat(heads, dim=-1) @ layer.out_proj.weight.T + layer.out_proj.bias


def test_prompt_learner_is_its_equations() -> None:
    learner = unsettle(PromptLearner(6, PromptConfig(4, 2, 2))).train()
    words = torch.randn(2, 5, 6, dtype=torch.float64)
    found = learner(words, LENGTHS)
    for row, length in enumerate(LENGTHS):
        x = torch.cat([words[row, :length], learner.tokens])
        for block in learner.blocks:
            x = x + attended(block.self_attn, block.norm1(x))
            x = x + block.linear2(F.gelu(block.linear1(block.norm2(x))))
        torch.testing.assert_close(found[row], learner.norm(x[length:]).mean(0))
    learner.eval()
    with torch.no_grad():
        torch.testing.assert_close(learner(words, LENGTHS), found)


@pytest.mark.parametrize("inference", ["trained", "published"])
def test_stages_and_inference(inference: str) -> None:
    model = build(inference).train()
    text = encoder(model)
    pooled, tokens = text.base.parts(WORDS, LENGTHS)
    t, e = text.norm(pooled), text.prompt(tokens, LENGTHS)
    torch.testing.assert_close(model.encode_texts(WORDS, LENGTHS).values, F.normalize(t, dim=1))
    text.distil()
    trained, published = F.normalize(t + e, dim=1), F.normalize(t + F.normalize(e, dim=1), dim=1)
    torch.testing.assert_close(model.encode_texts(WORDS, LENGTHS).values, trained)
    model.eval()
    expected = published if inference == "published" else trained
    torch.testing.assert_close(model.encode_texts(WORDS, LENGTHS).values, expected)
    assert not torch.allclose(trained, published, atol=1e-3)


def test_the_stage_travels_with_the_weights() -> None:
    one, two = build(), build()
    encoder(one).distil()
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.encode_texts(WORDS, LENGTHS).values, two.encode_texts(WORDS, LENGTHS).values)


def test_the_teacher_is_a_frozen_copy_of_the_first_stage() -> None:
    model = build()
    before = model.encode_texts(WORDS, LENGTHS).values
    teacher = encoder(model).teacher()
    encoder(model).distil()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    assert torch.equal(teacher(WORDS, LENGTHS).values, before)
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert not teacher.training


def test_captions_do_not_depend_on_their_batch() -> None:
    model = build().eval()
    encoder(model).distil()
    both = model.encode_texts(WORDS, LENGTHS).values
    torch.testing.assert_close(model.encode_texts(WORDS[1:, :3], LENGTHS[1:]).values, both[1:])


def test_what_cannot_be_prompted() -> None:
    with pytest.raises(ConfigError, match=r"method: d2s pools the words of a caption; expected model.head vse"):
        build(head="sgr")
    config = ModelConfig(head="vse", embed_dim=6, word_dim=5, prompt=PromptConfig(heads=4))
    with pytest.raises(ConfigError, match=r"model.prompt.heads: got 4, expected a divisor of embed_dim 6"):
        RetrievalModel(config, kind="vse", feature_dim=8, regions=3, vocabulary_size=11, prompted=True)


def test_dropped_tokens_leave_the_others_in_order() -> None:
    torch.manual_seed(0)
    tokens = torch.arange(1.0, 21)[None, :, None].expand(300, -1, 2)
    kept, lengths = drop_tokens(tokens, 0.9)
    for row, length in zip(kept[..., 0], lengths.tolist(), strict=True):
        assert (row[:length].diff() > 0).all()
    assert lengths.min() >= 1
    # r > 0.9 for a tenth of the items, which lose 0.9 r of their tokens.
    touched = lengths < 20
    assert 10 < touched.sum() < 60
    assert 0.05 < (lengths[touched] / 20).mean() < 0.3
    state = torch.get_rng_state()
    same, whole = drop_tokens(tokens, 0.0)
    assert same is tokens
    assert (whole == 20).all()
    assert torch.equal(torch.get_rng_state(), state)
