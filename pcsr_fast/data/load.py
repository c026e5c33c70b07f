"""From a configuration to a checked data set: everything that could stop a training run later is found here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from pcsr_fast.data.arrays import check_finite, same_rows
from pcsr_fast.data.pairs import Dataset, PairSet, Regions
from pcsr_fast.data.pairs_layout import read_pairs_split
from pcsr_fast.data.pictures_layout import CAPTIONS, read_picture_splits
from pcsr_fast.data.precomp import read_precomp_split
from pcsr_fast.data.raw import RawSplit
from pcsr_fast.data.vocabulary import SPECIALS, UNK, Vocabulary
from pcsr_fast.errors import ConfigError, DataError

SPLITS = ("train", "dev", "test")
DEMO = "clipart"


@dataclass
class DataConfig:
    """Which pairs to train on and to test with.

    Args:
        name: "clipart" (no path) is the demo set inside the package; with a path it is only a label.
        path: folder of the data set.
        format: "pairs" (the demo set's layout), "precomp" (the SCAN/NCR layout), "pictures" (raw pictures, for Hugging
            Face encoders: captions.csv with image,caption[,split] beside them, or a pairs layout with thumbnails), or
            "auto", by the files found.
        vocab: vocabulary json {word2idx, idx2word, idx}; without it one is built from the train and dev captions.
        min_word_count: least count of a word in a vocabulary that is built.
        im_div: precomp: captions a picture row; "auto" takes 1 or 5 from the counts.
        test_split: precomp: "test", or "testall" (all 5000 MS-COCO pictures).
        dev_limit: precomp: dev keeps its first dev_limit * im_div captions, as published; 0 keeps all; not for NoW.
        captions_suffix: precomp: "bpe", "bert" or "jieba" reads token ids (NoW) in place of words.
        image_ids: precomp: group captions by {split}_ids.txt; "auto" does so where rows of one id are equal.
        limit_images: only the first pictures of each split, for a quick look.
        check_features: look for NaN and infinity in all features before training (reads every file once); of pictures,
            open each without decoding it.
    """

    name: str = DEMO
    path: str | None = None
    format: Literal["auto", "pairs", "precomp", "pictures"] = "auto"
    vocab: str | None = None
    min_word_count: int = 4
    im_div: int | Literal["auto"] = "auto"
    test_split: Literal["test", "testall"] = "test"
    dev_limit: int = 1000
    captions_suffix: Literal["bpe", "bert", "jieba"] | None = None
    image_ids: bool | Literal["auto"] = "auto"
    limit_images: int | None = None
    check_features: bool = True


def data_folder(config: DataConfig) -> Path:
    """The folder that `config` names, the package's own for the demo set.

    Raises:
        ConfigError: neither a path nor the demo set's name.
        DataError: no such folder.
    """
    if config.path is None:
        if config.name != DEMO:
            raise ConfigError(
                f"data.path: is not set for data set {config.name!r}; expected a folder, or data.name {DEMO!r}"
            )
        return Path(str(resources.files("pcsr_fast.data"))) / DEMO
    folder = Path(config.path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a data set in the pairs or precomp layout")
    return folder


def layout_of(config: DataConfig, folder: Path) -> str:
    """ "pairs", "precomp" or "pictures", as configured or by the files in `folder`."""
    if config.format != "auto":
        return config.format
    for layout, mark in (("pairs", "train_regions.npy"), ("precomp", "train_ims.npy"), ("pictures", CAPTIONS)):
        if (folder / mark).exists():
            return layout
    raise DataError(
        f"{folder}: holds neither train_regions.npy (pairs layout) nor train_ims.npy (precomp layout) nor {CAPTIONS} "
        "(pictures)"
    )


def _check_config(config: DataConfig) -> None:
    choices = {
        "format": ("auto", "pairs", "precomp", "pictures"),
        "test_split": ("test", "testall"),
        "captions_suffix": (None, "bpe", "bert", "jieba"),
        "image_ids": ("auto", True, False),
    }
    for key, allowed in choices.items():
        if getattr(config, key) not in allowed:
            raise ConfigError(f"data.{key}: {getattr(config, key)!r}; expected one of {', '.join(map(repr, allowed))}")
    if config.im_div != "auto" and not (isinstance(config.im_div, int) and config.im_div >= 1):
        raise ConfigError(f"data.im_div: {config.im_div}; expected 'auto' or an integer >= 1")
    for key, least in (("min_word_count", 1), ("dev_limit", 0), ("limit_images", 1)):
        value = getattr(config, key)
        if value is not None and value < least:
            raise ConfigError(f"data.{key}: {value}; expected an integer >= {least}")


def _read_splits(config: DataConfig, folder: Path, layout: str) -> list[RawSplit]:
    """All splits, checked."""
    if layout == "pictures":
        return read_picture_splits(folder, config.check_features)
    splits = [_read_split(config, folder, layout, split) for split in SPLITS]
    _check_together(splits, layout)
    if config.check_features:
        for split in splits:
            check_finite(_array(split), str(split.regions_file))
    return splits


def _read_split(config: DataConfig, folder: Path, layout: str, split: str) -> RawSplit:
    if layout == "pairs":
        return read_pairs_split(folder, split)
    return read_precomp_split(
        folder,
        config.test_split if split == "test" else split,
        im_div=config.im_div,
        suffix=config.captions_suffix,
        image_ids=config.image_ids,
        limit=config.dev_limit if split == "dev" and config.captions_suffix is None else 0,
        name=split,
    )


def _check_together(splits: list[RawSplit], layout: str) -> None:
    """Splits must have the same region shape and must neither be copies of each other nor share a picture by name."""
    train = splits[0]
    for other in splits[1:]:
        if other.regions.shape[1:] != train.regions.shape[1:]:
            raise DataError(
                f"{other.regions_file}: has regions of shape {other.regions.shape[1:]}; "
                f"expected {train.regions.shape[1:]} as in {train.regions_file.name}"
            )
    for a, b in combinations(splits, 2):
        if a.captions == b.captions and same_rows(_array(a), _array(b)):
            raise DataError(f"{b.regions_file}: holds the same pairs as {a.regions_file.name}; expected splits apart")
        # Ids of published precomputed files are not known to be unique over splits, names in our own layout are.
        shared = set(a.image_names or ()) & set(b.image_names or ()) if layout == "pairs" else set()
        if shared:
            raise DataError(
                f"{b.regions_file}: picture {min(shared)!r} is also in {a.regions_file.name}; expected splits apart"
            )


def _array(split: RawSplit) -> np.ndarray:
    """Its features as they are stored; one of pictures has none."""
    return split.regions.array if isinstance(split.regions, Regions) else np.empty((0, 0, 0))


def _vocabulary(config: DataConfig, splits: list[RawSplit]) -> Vocabulary:
    tokens = [split.token_ids for split in splits if split.token_ids is not None]
    if config.vocab is not None:
        return Vocabulary.load(config.vocab, words=not tokens)
    if tokens:
        return Vocabulary({}, size=1 + max(int(ids.max()) for part in tokens for ids in part))
    train, dev = splits[0], splits[1]
    return Vocabulary.from_captions([*train.captions, *dev.captions], config.min_word_count)


def _wrap_ids(config: DataConfig, split: RawSplit, vocabulary: Vocabulary) -> list[np.ndarray]:
    """Token ids of a split, checked, and put between <start> and <end> where the vocabulary has them (PC2's rule)."""
    start, end = (vocabulary.word2idx.get(SPECIALS[index]) for index in (1, 2))
    wrapped = []
    for line, ids in enumerate(split.token_ids or (), start=1):
        if ids.max() >= len(vocabulary):
            raise DataError(
                f"{split.captions_file}: line {line} has token id {ids.max()}; "
                f"expected 0..{len(vocabulary) - 1}, the ids of {config.vocab}"
            )
        wrapped.append(ids if start is None or end is None else np.array([start, *ids, end], dtype=np.int64))
    return wrapped


def _encode(config: DataConfig, split: RawSplit, vocabulary: Vocabulary) -> PairSet:
    if split.token_ids is not None:
        tokens = _wrap_ids(config, split, vocabulary)
    else:
        tokens = vocabulary.encode_all(split.captions)
        words = np.concatenate([ids[1:-1] for ids in tokens])
        if config.vocab is not None and words.size and np.mean(words == UNK) > 0.9:
            raise DataError(
                f"{config.vocab}: knows under 10 % of the words of {split.captions_file}; expected its vocabulary"
            )
    pairs = PairSet(
        name=split.name,
        regions=split.regions,
        captions=split.captions,
        tokens=tokens,
        image_of_caption=split.image_of_caption,
        image_names=split.image_names,
        thumbnails=split.thumbnails,
    )
    if config.limit_images is None or config.limit_images >= pairs.num_images:
        return pairs
    return pairs.subset_images(np.arange(config.limit_images))


def load_dataset(config: DataConfig) -> Dataset:
    """Load and check train, dev and test.

    Features stay on disk, memory-mapped.

    Raises:
        ConfigError: a value of `config` that cannot be used.
        DataError: a file is missing, broken or does not fit the others; the message names file, row and expectation.
    """
    _check_config(config)
    folder = data_folder(config)
    layout = layout_of(config, folder)
    splits = _read_splits(config, folder, layout)
    vocabulary = _vocabulary(config, splits)
    train, dev, test = (_encode(config, split, vocabulary) for split in splits)
    return Dataset(name=config.name, train=train, dev=dev, test=test, vocabulary=vocabulary)
