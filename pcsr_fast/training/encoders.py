"""Bringing a data set and the encoders that are to read it together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.pixels import Pictures, PixelRecipe
from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.errors import ConfigError, DataError
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.huggingface import paths_of


def for_encoders(dataset: Dataset, model: ModelConfig) -> Dataset:
    """The data set with the word ids of the text encoder's tokenizer and the pixels of the image processor.

    With our own encoders it is returned as it is.

    Raises:
        ConfigError: pixels for our own encoders, region features for Hugging Face ones, or a folder that is not there.
        DataError: a folder without a tokenizer or an image processor.
    """
    pictures = isinstance(dataset.train.regions, Pictures)
    if model.backbone == "regions":
        if pictures:
            raise ConfigError("model.backbone: regions reads no pixels, as data.format pictures gives; expected hf")
        return dataset
    paths = paths_of(model)
    if not pictures:
        raise ConfigError("model.backbone: hf reads pixels, not region features; expected data.format: pictures")
    text_folder = paths.get("text_path") or paths["name_or_path"]
    recipe = PixelRecipe.load(paths.get("image_path") or paths["name_or_path"], model.image_size)
    vocabulary = TokenizerVocabulary.of_folder(text_folder, _positions(text_folder))
    train, dev, test = (_read_by(one, vocabulary, recipe) for one in (dataset.train, dataset.dev, dataset.test))
    return Dataset(dataset.name, train, dev, test, vocabulary)


def _read_by(pairs: PairSet, vocabulary: TokenizerVocabulary, recipe: PixelRecipe) -> PairSet:
    assert isinstance(pairs.regions, Pictures)
    return replace(pairs, regions=pairs.regions.made_by(recipe), tokens=vocabulary.encode_all(pairs.captions))


def _positions(folder: str) -> int | None:
    """Most tokens that a text encoder has positions for."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = config.get("text_config", config).get("max_position_embeddings")
        # RoBERTa and its like count positions from after the padding id.
        offset = 2 if "roberta" in str(config.get("model_type")) else 0
        return None if found is None else int(found) - offset
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: cannot be read; expected the configuration of a text encoder") from error
