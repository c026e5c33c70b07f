"""save_pretrained and from_pretrained: to the bit and back, and no damaged file goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pcsr_fast.errors import CheckpointError
from pcsr_fast.models.config import ModelConfig, PromptConfig
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from pcsr_fast.models.saved import SETTINGS, WEIGHTS

WORDS, LENGTHS = torch.tensor([[2, 5, 6, 9, 3], [2, 7, 3, 0, 0]]), torch.tensor([5, 3])


def made(kind: str, encoders: Path) -> tuple[RetrievalModel, torch.Tensor]:
    """A model whose running statistics are not at rest, and pictures for it."""
    options: dict[str, Any] = {
        "embed_dim": 6,
        "word_dim": 5,
        "sim_dim": 4,
        "head": kind,
        "prompt": PromptConfig(3, 1, 2),
    }
    pictures = torch.rand(2, 3, 8)
    if kind in ("clip", "pair"):
        pictures, options["head"], options["backbone"] = torch.rand(2, 3, 16, 16), "vse", "hf"
        paths = {"clip": {"name_or_path": "clip"}, "pair": {"image_path": "swin", "text_path": "bert"}}[kind]
        options |= {key: str(encoders / name) for key, name in paths.items()}
    model = seeded_model(
        1,
        config=ModelConfig(**options),
        kind=options["head"],
        feature_dim=8,
        regions=3,
        vocabulary_size=17,
        num_classes=4,
        prompted=kind in ("vse", "pair"),
    ).train()
    if kind in ("vse", "pair"):
        model.text_encoder.distil()
    with torch.no_grad():
        for _ in range(3):
            model.similarity(model.encode_images(pictures), model.encode_texts(WORDS, LENGTHS))
    return model.eval(), pictures


@pytest.mark.parametrize("kind", ["vse", "scan", "sgr", "saf", "clip", "pair"])
def test_round_trip_to_the_bit(kind: str, encoders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures = made(kind, encoders)
    model.save_pretrained(tmp_path / "one")
    # The folder is enough: the encoders it began with are gone.
    monkeypatch.setattr("pcsr_fast.models.huggingface.load_encoder", None)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    loaded = RetrievalModel.from_pretrained(tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    weights = model.state_dict()
    assert list(loaded.state_dict()) == list(weights)
    for name, value in loaded.state_dict().items():
        assert value.dtype == weights[name].dtype
        assert torch.equal(value, weights[name])
    with torch.no_grad():
        found, expected = (
            one.similarity(one.encode_images(pictures), one.encode_texts(WORDS, LENGTHS)) for one in (loaded, model)
        )
    assert torch.equal(found, expected)
    loaded.save_pretrained(tmp_path / "two")
    for name in (SETTINGS, WEIGHTS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a weight": (WEIGHTS, flip, "does not match the SHA-256 in config.json; expected an undamaged file"),
    "cut weights": (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-9]), "does not match the SHA-256"),
    "no weights": (WEIGHTS, Path.unlink, "no such file; expected a folder that save_pretrained"),
    "no settings": (SETTINGS, Path.unlink, "cannot be read"),
    "text": (SETTINGS, lambda path: path.write_text("{"), "is no JSON"),
    "a list": (SETTINGS, lambda path: path.write_text("[]"), "format is None"),
    "another format": (SETTINGS, lambda path: edit(path, lambda v: v.update(format="x")), "format is 'x', expected"),
    "no arguments": (SETTINGS, lambda path: edit(path, lambda v: v.pop("arguments")), "lacks arguments"),
    "an unknown key": (SETTINGS, lambda path: edit(path, lambda v: v["model"].update(x=1)), "describes no model"),
    "another size": (SETTINGS, lambda path: edit(path, lambda v: v["model"].update(embed_dim=8)), "does not fit"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused_by_name(damage: str, encoders: Path, tmp_path: Path) -> None:
    made("scan", encoders)[0].save_pretrained(tmp_path)
    name, change, message = DAMAGES[damage]
    change(tmp_path / name)
    with pytest.raises(CheckpointError) as caught:
        RetrievalModel.from_pretrained(tmp_path)
    file = WEIGHTS if message == "does not fit" else name
    assert str(caught.value).startswith(f"{tmp_path / file}: {message}")
