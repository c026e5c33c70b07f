"""Which run a checkpoint belongs to: its configuration and the data it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pcsr_fast.data.noise import digest
from pcsr_fast.data.pairs import Dataset
from pcsr_fast.errors import CheckpointError
from pcsr_fast.methods.base import IdArray

# What may change between two sittings: places, the machine, and what is written when.
FREE_KEYS = (
    "output",
    "data.path",
    "data.check_features",
    "noise.file",
    "train.checkpoint_steps",
    "train.device",
    "train.tensorboard",
    "train.threads",
)


def differences(mine: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, my value, the other's) where two nested configurations differ, but for FREE_KEYS."""
    # Single values first: where the method differs, that is the news.
    for name in sorted({**mine, **other}, key=lambda one: isinstance(mine.get(one), Mapping)):
        key, a, b = f"{prefix}{name}", mine.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, f"{key}.")
        elif a != b and key not in FREE_KEYS:
            yield key, a, b


def _hash(texts: Iterable[np.ndarray]) -> str:
    """Short hash of word ids."""
    total = hashlib.sha256()
    for ids in texts:
        total.update(np.array([len(ids), *ids], dtype="<i8").tobytes())
    return total.hexdigest()[:12]


def fingerprint(dataset: Dataset, held: IdArray, dense: Iterable[np.ndarray] | None = None) -> dict[str, Any]:
    """What a checkpoint keeps about its training data: sizes and short hashes."""
    pairs = dataset.train
    more = {} if dense is None else {"words of the dense texts": _hash(dense)}
    ends = pairs.regions.take(np.array([0, pairs.num_images - 1]))
    return {
        "regions of a picture": list(pairs.regions.shape[1:]),
        "pictures": pairs.num_images,
        "captions": pairs.num_captions,
        "vocabulary ids": len(dataset.vocabulary),
        "words of the captions": _hash(pairs.tokens),
        "features of the first and last picture": hashlib.sha256(ends.tobytes()).hexdigest()[:12],
        "held pictures (noise)": digest(held)[:12],
        **more,
    }


def check_same_run(path: Path, facts: Mapping[str, Any], config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another configuration or other data.

    Raises:
        CheckpointError: naming the first thing that differs.
    """
    for key, mine, other in differences(config, facts["config"]):
        raise CheckpointError(
            f"{path}: was written with {key} = {other!r}, got {mine!r}; expected the same value, or another output folder"
        )
    check_same_data(path, facts, data)


def check_same_data(path: Path, facts: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other data.

    Raises:
        CheckpointError: naming the first thing that differs.
    """
    for name, mine in data.items():
        if facts["data"].get(name) != mine:
            raise CheckpointError(
                f"{path}: was trained on other data, {name}: {facts['data'].get(name)}, got {mine}; "
                "expected the same data set and noise"
            )
