"""A Hugging Face tokenizer in the place of a vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import DataError
from tests.tiny_encoders import SPECIALS, WORDS


def test_ids_are_the_tokenizers(encoders: Path) -> None:
    words = TokenizerVocabulary.of_folder(encoders / "bert", 6)
    assert len(words) == len(WORDS)
    expected = ["[CLS]", "the", "red", "##s", "[UNK]", "[SEP]"]
    ids = words.encode_all(["The reds of over", "a"])
    assert [WORDS[one] for one in words.encode("The reds xyz of over of")] == expected
    assert ids[1].dtype == np.int64
    assert [WORDS[one] for one in ids[1]] == ["[CLS]", "a", "[SEP]"]
    assert words.mask_id == SPECIALS.index("[MASK]")
    assert [WORDS[one] for one in words.special_ids] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    assert [WORDS[one] for one in np.flatnonzero(words.continuations())] == ["##s"]


def test_its_files_know_the_limit(encoders: Path, tmp_path: Path) -> None:
    TokenizerVocabulary.of_folder(encoders / "clip", 6).save_files(tmp_path)
    again = TokenizerVocabulary.of_folder(tmp_path)
    assert again.limit == 6
    assert len(again.encode("a a a a a a a a")) == 6


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer; expected one of tokenizer.json, "):
        TokenizerVocabulary.of_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"its tokenizer cannot be loaded \("):
        TokenizerVocabulary.of_folder(tmp_path)


def test_our_own_vocabulary_says_the_same_things() -> None:
    words = Vocabulary.from_captions(["a red cat"], 1)
    assert words.mask_id == 3
    assert words.special_ids == [0, 1, 2]
    assert not words.continuations().any()
    assert Vocabulary({}, 5).mask_id is None
