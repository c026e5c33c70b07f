"""Hugging Face folders as encoders: unit vectors, padding, freezing, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pcsr_fast.errors import ConfigError
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.huggingface import Pretrained, paths_of
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model

WAYS = pytest.mark.parametrize("way", ["clip", "vit", "swin"])
WORDS = torch.tensor([[2, 5, 6, 9, 3], [2, 7, 3, 0, 0]])
LENGTHS = torch.tensor([5, 3])


def build(encoders: Path, way: str, **settings: Any) -> RetrievalModel:
    if way == "clip":
        paths = {"name_or_path": str(encoders / "clip")}
    else:
        paths = {"image_path": str(encoders / way), "text_path": str(encoders / "bert")}
    config = ModelConfig(head="vse", backbone="hf", embed_dim=6, dropout=0.0, **paths, **settings)
    return seeded_model(0, config=config, kind="vse", feature_dim=0, regions=0, vocabulary_size=17)


@WAYS
def test_unit_vectors_that_padding_and_neighbours_do_not_change(encoders: Path, way: str) -> None:
    model = build(encoders, way).eval()
    pixels = torch.rand(2, 3, 16, 16)
    images, texts = model.encode_images(pixels), model.encode_texts(WORDS, LENGTHS).values
    for vectors in (images, texts):
        assert vectors.shape == (2, 6)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(model.encode_images(pixels[1:]), images[1:])
    torch.testing.assert_close(model.encode_texts(WORDS[1:, :3], LENGTHS[1:]).values, texts[1:])


def test_a_dual_encoder_is_used_as_it_is(encoders: Path) -> None:
    from transformers import CLIPModel

    clip = CLIPModel.from_pretrained(encoders / "clip").eval()
    model, pixels = build(encoders, "clip").eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = clip(input_ids=WORDS, attention_mask=(WORDS > 0).long(), pixel_values=pixels)
        torch.testing.assert_close(model.encode_images(pixels), expected.image_embeds)
        torch.testing.assert_close(model.encode_texts(WORDS, LENGTHS).values, expected.text_embeds)
    assert len(model.state_dict()) == len(clip.state_dict())


@WAYS
@pytest.mark.parametrize("side", [24, 32])
def test_pictures_of_another_size(encoders: Path, way: str, side: int) -> None:
    assert build(encoders, way).encode_images(torch.rand(1, 3, side, side)).shape == (1, 6)


@WAYS
def test_frozen_encoders_have_no_gradient_and_stay_in_evaluation_mode(encoders: Path, way: str) -> None:
    model = build(encoders, way, train_encoders=False).train()
    values = model.encode_images(torch.rand(2, 3, 16, 16)), model.encode_texts(WORDS, LENGTHS).values
    assert not any(one.model.training for one in model.modules() if isinstance(one, Pretrained))
    assert not any(weight.requires_grad for weight in model.pretrained_parameters())
    assert [value.requires_grad for value in values] == [way != "clip"] * 2
    trained = build(encoders, way).train()
    assert all(one.model.training for one in trained.modules() if isinstance(one, Pretrained))
    trained.encode_texts(WORDS, LENGTHS).values[:, 0].sum().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in trained.pretrained_parameters())


def test_new_weights_depend_on_the_seed_alone(encoders: Path) -> None:
    one = build(encoders, "vit").state_dict()
    torch.rand(3)
    two = build(encoders, "vit").state_dict()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "hf with no folder; expected model.name_or_path, or model.image_path and model.text_path"),
        ({"image_path": "vit"}, "hf with model.image_path; expected"),
        ({"name_or_path": "clip", "text_path": "bert"}, "hf with model.name_or_path, model.text_path; expected"),
        ({"name_or_path": "nowhere"}, "model.name_or_path: .*nowhere holds no config.json; expected a local folder"),
        ({"image_path": "vit", "text_path": "none"}, "model.text_path: .*none holds no config.json"),
    ],
)
def test_folders_that_do_not_fit(encoders: Path, keys: dict[str, str], message: str) -> None:
    paths = {key: str(encoders / name) for key, name in keys.items()}
    with pytest.raises(ConfigError, match=message):
        paths_of(ModelConfig(backbone="hf", **paths))


def test_a_single_encoder_is_no_dual_one(encoders: Path) -> None:
    config = ModelConfig(head="vse", backbone="hf", name_or_path=str(encoders / "vit"))
    with pytest.raises(ConfigError, match=r"model.name_or_path: a vit is no dual encoder; expected one such as CLIP"):
        RetrievalModel(config, kind="vse", feature_dim=0, regions=0, vocabulary_size=17)


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        ("bert", "bert", "model.image_path: a bert is none; expected a picture encoder such as ViT or Swin"),
        ("clip", "bert", "model.image_path: a clip is none; expected a picture encoder"),
        ("vit", "swin", "model.text_path: a swin is none; expected a text encoder such as BERT"),
    ],
)
def test_encoders_of_the_wrong_kind(encoders: Path, image: str, text: str, message: str) -> None:
    paths = {"image_path": str(encoders / image), "text_path": str(encoders / text)}
    with pytest.raises(ConfigError, match=message):
        RetrievalModel(
            ModelConfig(head="vse", backbone="hf", **paths), kind="vse", feature_dim=0, regions=0, vocabulary_size=17
        )


@pytest.mark.parametrize("damage", ["weights", "type", "no weights"])
def test_damaged_folders_are_named(encoders: Path, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(encoders / "clip", tmp_path / "clip"))
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"\0" * 40)
    elif damage == "no weights":
        (folder / "model.safetensors").unlink()
    else:
        (folder / "config.json").write_text(json.dumps({"model_type": "no such thing"}))
    config = ModelConfig(head="vse", backbone="hf", name_or_path=str(folder))
    with pytest.raises(ConfigError, match=r"model.name_or_path: .*clip cannot be loaded \(.*\); expected a folder"):
        RetrievalModel(config, kind="vse", feature_dim=0, regions=0, vocabulary_size=17)


def test_siglip_reads_captions_of_full_length(tmp_path: Path) -> None:
    """Its text half was trained on padding, without a mask."""
    import transformers as hf

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    ends = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    text = {**small, **ends, "vocab_size": 17, "max_position_embeddings": 12, "projection_size": 8}
    siglip = hf.SiglipModel(
        hf.SiglipConfig(text_config=text, vision_config={**small, "image_size": 16, "patch_size": 8})
    ).eval()
    siglip.save_pretrained(tmp_path)
    config = ModelConfig(head="vse", backbone="hf", name_or_path=str(tmp_path))
    model = RetrievalModel(config, kind="vse", feature_dim=0, regions=0, vocabulary_size=17).eval()
    padded, pixels = torch.ones(2, 12, dtype=torch.int64), torch.rand(2, 3, 16, 16)
    padded[0, :5], padded[1, :3] = WORDS[0], WORDS[1, :3]
    with torch.no_grad():
        expected = siglip(input_ids=padded, pixel_values=pixels)
        torch.testing.assert_close(model.encode_texts(WORDS, LENGTHS).values, expected.text_embeds)
        torch.testing.assert_close(model.encode_images(pixels), expected.image_embeds)
