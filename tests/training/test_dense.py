"""Dense texts: joined captions of the held pictures, or a file's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.data.pairs import PairSet
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.errors import DataError
from pcsr_fast.training.dense import dense_texts, dense_tokens


@pytest.fixture(scope="module")
def pairs() -> PairSet:
    return synthetic_dataset(4, 2, regions=2, dim=3, topics=4, num_dev=1, num_test=1).train


def test_captions_that_hold_the_picture_are_joined(pairs: PairSet) -> None:
    held = np.array([0, 2, 2, 0, 3, 3, 3, 3])
    c = pairs.captions
    expected = [f"{c[0]} {c[3]}", "", f"{c[1]} {c[2]}", " ".join(c[4:])]
    assert dense_texts(pairs, held, None) == expected


def test_a_file_of_dense_texts(pairs: PairSet, tmp_path: Path) -> None:
    path = tmp_path / "dense.jsonl"
    names = pairs.image_names or []
    lines = [json.dumps({"image": name, "text": f"dense {row}", "more": 1}) for row, name in enumerate(names)]
    path.write_text("\n".join(reversed(lines)))
    assert dense_texts(pairs, pairs.image_of_caption, str(path)) == [f"dense {row}" for row in range(4)]
    vocabulary = synthetic_dataset(4, 2, regions=2, dim=3, topics=4, num_dev=1, num_test=1).vocabulary
    assert [len(one) for one in dense_tokens(pairs, pairs.image_of_caption, str(path), vocabulary)] == [4] * 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ('{"image": "x"}\n', r"line 1 is '\{\"image\": \"x\"\}'; expected JSON lines"),
        ("dense\n", "line 1 is 'dense'; expected"),
        ('{"image": "x", "text": "y"}\n', "has no text for picture 'train/000000'"),
    ],
)
def test_bad_files_are_named(text: str | None, message: str, pairs: PairSet, tmp_path: Path) -> None:
    path = tmp_path / "dense.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        dense_texts(pairs, pairs.image_of_caption, str(path))
    assert str(caught.value).startswith(str(path))
