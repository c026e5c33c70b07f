"""Folders as Hugging Face users have them, tiny and random, and an album of coloured pictures with captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (20, 40, 210), "grey": (120, 120, 120)}
WORDS = (*SPECIALS, *COLOURS, "a", "of", "picture", "##s", "top", "over", "the")
LIMIT = 12


def tokenizer() -> Any:
    """A WordPiece tokenizer that knows the album's words and the ending ##s."""
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordPiece({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIALS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **{f"{key}_token": name for key, name in names.items()})


def write_processor(folder: Path, side: int, **more: Any) -> None:
    """An image processor's JSON."""
    values = {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps({**values, **more}))


def write_encoders(folder: Path) -> None:
    """clip, vit, swin and bert."""
    import transformers as hf

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    vision = {**small, "image_size": 16, "patch_size": 8}
    text = {**small, "vocab_size": len(WORDS), "max_position_embeddings": LIMIT, "pad_token_id": 0}
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(5)
    clip = hf.CLIPConfig(text_config={**text, **ends}, vision_config=vision, projection_dim=6)
    swin = hf.SwinConfig(image_size=16, patch_size=2, embed_dim=4, depths=[1, 1], num_heads=[1, 2], window_size=4)
    made = {
        "clip": hf.CLIPModel(clip),
        "vit": hf.ViTModel(hf.ViTConfig(**vision)),
        "swin": hf.SwinModel(swin),
        "bert": hf.BertModel(hf.BertConfig(**text)),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
        if name != "bert":
            write_processor(folder / name, 16)
        if name in ("clip", "bert"):
            tokenizer().save_pretrained(folder / name)


def write_album(folder: Path, train: int = 20, other: int = 6) -> None:
    """Pictures of two colours, one over the other, three captions each, and captions.csv with splits."""
    folder.mkdir(parents=True)
    names, rng = list(COLOURS), np.random.default_rng(3)
    lines = ["image,caption,split"]
    for split, count in (("train", train), ("dev", other), ("test", other)):
        for number in range(count):
            first, second = (names[one] for one in rng.integers(len(names), size=2))
            pixels = np.empty((20, 24, 3), dtype=np.uint8)
            pixels[:10], pixels[10:] = COLOURS[first], COLOURS[second]
            pixels += rng.integers(0, 20, pixels.shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{split}{number}.png")
            texts = (f"{first} over {second}", f"a picture of {first} and {second}", f"the top {first}s")
            lines += [f"{split}{number}.png,{text},{split}" for text in texts]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
