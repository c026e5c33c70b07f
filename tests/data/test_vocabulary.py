from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.data.vocabulary import END, PAD, START, UNK, Vocabulary, words_of
from pcsr_fast.errors import DataError

# What nltk 3.9's word_tokenize gives for these captions, lower-cased.
SAME_AS_NLTK = {
    "A man in a blue shirt.": "a man in a blue shirt .",
    "Two dogs, one ball; a dog's t-shirt": "two dogs , one ball ; a dog 's t-shirt",
    "She can't, won't and doesn't go!": "she ca n't , wo n't and does n't go !",
    "I'm sure they're what we've got; he'd say it'll do": ("i 'm sure they 're what we 've got ; he 'd say it 'll do"),
    "You cannot, gonna or wanna": "you can not , gon na or wan na",
    'a sign says "stop" here': "a sign says `` stop '' here",
    "10,000 men at 12:30 -- really...": "10,000 men at 12:30 -- really ...",
    "the two boys' bikes": "the two boys ' bikes",
    "o'clock and/or 50% (maybe)": "o'clock and/or 50 % ( maybe )",
}


@pytest.mark.parametrize("text", SAME_AS_NLTK)
def test_words_agree_with_nltk_on_plain_english(text: str) -> None:
    assert words_of(text) == SAME_AS_NLTK[text].split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u.s. flag", ["u.s", ".", "flag"]),
        ("c++ 2x4=8", ["c", "+", "+", "2x4", "=", "8"]),
        ("it\u2019s \u201cfine\u201d", ["it", "'s", "``", "fine", "''"]),
        ("\ufb01ne caf\u00e9 \u4f60\u597d", ["fine", "caf\u00e9", "\u4f60\u597d"]),
        ("  \t ", []),
    ],
)
def test_documented_differences(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text(max_size=60) | st.text(alphabet="abcnot wn'.,-:`\"01_", max_size=30))
def test_words_hold_no_space_and_cutting_them_again_changes_nothing(text: str) -> None:
    words = words_of(text)
    assert all(word and not any(mark.isspace() for mark in word) for word in words)
    assert words_of(" ".join(words)) == words


def test_rare_words_become_unknown_and_sentences_are_wrapped() -> None:
    vocabulary = Vocabulary.from_captions(["a cat", "a dog", "a cat"], min_count=2)
    assert vocabulary.word2idx == {"<pad>": PAD, "<start>": START, "<end>": END, "<unk>": UNK, "a": 4, "cat": 5}
    tokens = vocabulary.encode("A dog, a CAT")
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [START, 4, UNK, UNK, 4, 5, END]


def test_special_names_in_a_caption_are_ordinary_text() -> None:
    vocabulary = Vocabulary.from_captions(["pad <pad> <end>"] * 4)
    expected = [vocabulary.word2idx[word] for word in ("<", "end", ">")]
    assert vocabulary.encode("<end>").tolist() == [START, *expected, END]
    assert min(expected) > UNK


def test_round_trip_keeps_ids_and_size(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_captions(["caf\u00e9 cat's cat"] * 4)
    vocabulary.save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    assert loaded.word2idx == vocabulary.word2idx
    assert len(loaded) == len(vocabulary) == 4 + 3
    content = json.loads((tmp_path / "v.json").read_text())
    assert {int(i): w for i, w in content["idx2word"].items()} == {i: w for w, i in vocabulary.word2idx.items()}


def test_size_is_idx_not_the_number_of_words(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps({"word2idx": {"a": 7}, "idx2word": {"7": "a"}, "idx": 10}))
    assert len(Vocabulary.load(tmp_path / "v.json", words=False)) == 10


_SPECIALS = {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[1, 2]", "is no JSON object"),
        (json.dumps({"idx": 4}), "lacks word2idx"),
        (json.dumps({"word2idx": _SPECIALS}), "lacks word2idx or a positive idx"),
        (json.dumps({"word2idx": _SPECIALS, "idx": True}), "positive idx"),
        (json.dumps({"word2idx": {**_SPECIALS, "a": 9}, "idx": 5}), "'a' has id 9; expected an integer in 0..4"),
        (json.dumps({"word2idx": {**_SPECIALS, "a": "4"}, "idx": 5}), "'a' has id '4'"),
        (json.dumps({"word2idx": {**_SPECIALS, "a": 3}, "idx": 5}), "id 3 belongs to two words"),
        (json.dumps({"word2idx": {"<pad>": 0, "a": 1}, "idx": 2}), "<start> has id None; expected 1"),
    ],
)
def test_bad_vocabulary_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"vocab\.json") as caught:
        Vocabulary.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vocabulary_of_ids_cannot_encode_words() -> None:
    with pytest.raises(DataError, match="expected a word vocabulary"):
        Vocabulary({}, size=9).encode("cat")
