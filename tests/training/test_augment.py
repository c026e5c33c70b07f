"""Augmentation: what is drawn depends on seed, place and pair alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.training.augment import Augmentation
from pcsr_fast.training.config import AugmentConfig
from tests.tiny_encoders import WORDS

PLACE = ("train", 1, 0, "clean", 4)
CAPTIONS = [f"w{number} w{number + 1} w{number + 2} w{number + 3}" for number in range(0, 400, 4)]
IDS = np.arange(100) * 7


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_captions(CAPTIONS, 1)


def test_pictures(vocabulary: Vocabulary) -> None:
    draw = Augmentation(AugmentConfig(), 3, vocabulary)
    crops = draw.crops(IDS, PLACE)
    assert crops is not None
    assert draw.crops(IDS[5:9], PLACE) == crops[5:9]
    others = [
        draw.crops(IDS, ("train", 1, 1, "clean", 4)),
        Augmentation(AugmentConfig(), 4, vocabulary).crops(IDS, PLACE),
    ]
    assert all(other[0] != crops[0] for other in others if other)
    values = np.array(crops)
    for column, least in ((0, 0), (1, 0), (2, 0.6), (3, 0.6)):
        assert least <= values[:, column].min() < least + 0.1
        assert 0.9 < values[:, column].max() <= 1
    assert 30 < values[:, 4].sum() < 70
    assert Augmentation(AugmentConfig(pictures=False), 3, vocabulary).crops(IDS, PLACE) is None


def test_words_are_hidden_replaced_or_left_out(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode_all(CAPTIONS * 10)
    ids = np.arange(1000)
    draw = Augmentation(AugmentConfig(words=0.4), 3, vocabulary)
    found = draw.words("words", tokens, ids, PLACE)
    some = draw.words("words", tokens[5:9], ids[5:9], PLACE)
    assert all(np.array_equal(a, b) for a, b in zip(some, found[5:9], strict=True))
    other = draw.words("dense", tokens, ids, PLACE)
    assert any(not np.array_equal(a, b) for a, b in zip(other, found, strict=True))
    hidden = sum(int((one == vocabulary.mask_id).sum()) for one in found)
    gone = sum(len(a) - len(b) for a, b in zip(tokens, found, strict=True))
    strange = sum(len(set(b[1:-1]) - set(a) - {vocabulary.mask_id}) for a, b in zip(tokens, found, strict=True))
    # Of 4000 words, 40 %: half, a tenth and the rest.
    for count, share in ((hidden, 0.5), (strange, 0.1), (gone, 0.4)):
        assert abs(count - 1600 * share) < 150
    for one in found:
        assert (one[0], one[-1]) == (1, 2)
        assert len(one) > 2
        assert not np.isin(one[1:-1], [0, 1, 2]).any()


def test_all_tokens_of_a_word_share_its_fate(encoders: Path) -> None:
    vocabulary = TokenizerVocabulary.of_folder(encoders / "bert")
    draw = Augmentation(AugmentConfig(words=0.9), 0, vocabulary)
    pieces = WORDS.index("##s")
    tokens = vocabulary.encode_all(["reds top over"] * 300)
    found = draw.words("words", tokens, np.arange(300), PLACE)
    assert sum(pieces in one for one in found) < 200
    for one in found:
        for place in np.flatnonzero(one == pieces):
            assert one[place - 1] == WORDS.index("red")


def test_without_a_mask_hidden_words_are_left_out() -> None:
    vocabulary = Vocabulary({}, 30)
    tokens = [np.array([4, 9, 11, 7])] * 200
    found = Augmentation(AugmentConfig(words=0.5), 0, vocabulary).words("words", tokens, np.arange(200), PLACE)
    assert {len(one) for one in found} == {1, 2, 3, 4}


def test_nothing_is_changed_unasked(vocabulary: Vocabulary) -> None:
    tokens = vocabulary.encode_all(CAPTIONS)
    assert Augmentation(AugmentConfig(), 0, vocabulary).words("words", tokens, IDS, PLACE) is tokens
