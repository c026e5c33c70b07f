"""Dense texts of the training pictures, for D2S-VSE (METHODS 6)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pcsr_fast.data.pairs import PairSet
from pcsr_fast.data.raw import read_lines
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import DataError
from pcsr_fast.methods.base import IdArray

_LINES = 'JSON lines of {"image": name, "text": dense text}'


def dense_texts(pairs: PairSet, held: IdArray, file: str | None) -> list[str]:
    """A text for each picture: the file's, or all captions that hold the picture joined, in order.

    A picture that no caption holds has an empty one; no batch asks for it.

    Raises:
        DataError: a broken file, or one that lacks a picture.
    """
    if file is not None:
        return _of_file(Path(file), pairs)
    texts: list[list[str]] = [[] for _ in range(pairs.num_images)]
    for caption, image in zip(pairs.captions, held, strict=True):
        texts[image].append(caption)
    return [" ".join(parts) for parts in texts]


def _of_file(path: Path, pairs: PairSet) -> list[str]:
    found: dict[str, str] = {}
    for number, line in enumerate(read_lines(path, _LINES), start=1):
        try:
            entry = json.loads(line)
            found[entry["image"]] = str(entry["text"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: line {number} is {line[:60]!r}; expected {_LINES}") from error
    if pairs.image_names is None:
        raise DataError(f"{path}: cannot be matched, for the pictures have no names; expected a set with names")
    missing = next((name for name in pairs.image_names if name not in found), None)
    if missing is not None:
        raise DataError(f"{path}: has no text for picture {missing!r}; expected one for every training picture")
    return [found[name] for name in pairs.image_names]


def dense_tokens(pairs: PairSet, held: IdArray, file: str | None, vocabulary: Vocabulary) -> list[np.ndarray]:
    """`dense_texts` as ids, cut where the tokenizer cuts."""
    return vocabulary.encode_all(dense_texts(pairs, held, file))
