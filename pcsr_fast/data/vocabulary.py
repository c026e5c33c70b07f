"""Words and their ids, and the rule that cuts a caption into words.

The rule (Hugging Face `tokenizers`, no corpus to download). Text is NFKC-normalised and lower-cased, typographic
apostrophes become ', a double quote becomes `` at the start of a word and '' elsewhere. Then, in this order:
contractions are cut as in the Penn Treebank (do|n't, it|'s, can|not, gon|na); a word is a run of letters, digits and
underscores, joined inside by - . / ' (t-shirt, x.com, and/or, o'clock) or, before a digit, by , and : (10,000, 12:30);
... and -- are one token; every other mark is a token of its own.

Known differences to `nltk.word_tokenize`, with which the published vocabularies were made: there is no sentence
splitter, and a final full stop is always its own token, so "u.s." is u.s|. here; marks such as * + = ~ that nltk leaves
glued to a word are cut; typographic quotes count as plain ones; 'n of rock 'n' roll is two tokens. On all 9899 captions
of the demo set the two agree, and on plain English sentences.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from pcsr_fast.errors import DataError
from pcsr_fast.files import write_text

PAD, START, END, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
_LAYOUT = "a vocabulary json {word2idx: {word: id}, idx2word: {id: word}, idx: number of ids}"

_WORD = "|".join(
    [
        r"\b(?:can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|lem(?=me\b)|gim(?=me\b))",
        r"n't\b",
        r"'(?:s|m|d|re|ve|ll)\b",
        r"\w+?(?=n't\b)",
        r"\w+(?:(?!'(?:s|m|d|re|ve|ll)\b)[-./']\w+|[,:]\d+)*",
        r"``|''|\.{2,}|-{2,}",
        r"[^\w\s]",
    ]
)


def _tokenizer(word2idx: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(word2idx, unk_token=SPECIALS[UNK]))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\p{Cc}"), " "),
            normalizers.Replace(Regex("[\u2018\u2019\u02bc]"), "'"),
            normalizers.Replace(Regex("[\u201c\u201d]"), '"'),
            normalizers.Replace(Regex(r'(?<![^\s(\[{<])"'), "``"),
            normalizers.Replace('"', "''"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    return tokenizer


_WORDS = _tokenizer({SPECIALS[UNK]: 0})


def words_of(text: str) -> list[str]:
    """The words of a caption, by the rule of this module."""
    return [word for word, _ in _WORDS.pre_tokenizer.pre_tokenize_str(_WORDS.normalizer.normalize_str(text))]


class Vocabulary:
    """Word to id. Ids 0..3 are <pad>, <start>, <end>, <unk>.

    Args:
        word2idx: id of each word; empty for data that comes as token ids.
        size: number of ids a model must embed (`idx` of the published files, which may exceed the number of words);
            None takes the number of words.
    """

    def __init__(self, word2idx: dict[str, int], size: int | None = None) -> None:
        self.word2idx = dict(word2idx)
        self._size = len(word2idx) if size is None else size
        self._encoder: Tokenizer | None = None

    def __len__(self) -> int:
        return self._size

    @classmethod
    def from_captions(cls, captions: Iterable[str], min_count: int = 4) -> Vocabulary:
        """Words that stand at least `min_count` times in `captions`, in alphabetical order after the four specials."""
        counts = Counter(word for caption in captions for word in words_of(caption))
        kept = sorted(word for word, count in counts.items() if count >= min_count and word not in SPECIALS)
        return cls({word: index for index, word in enumerate([*SPECIALS, *kept])})

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int64 (length,), with <start> and <end>; unknown words become <unk>.

        Raises:
            DataError: this vocabulary has no words (it belongs to token-id data).
        """
        if self._encoder is None:
            if self.word2idx.get(SPECIALS[UNK]) != UNK:
                raise DataError("vocabulary: has no <unk>, so it cannot encode words; expected a word vocabulary")
            self._encoder = _tokenizer(self.word2idx)
        encoded = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array([START, *item.ids, END], dtype=np.int64) for item in encoded]

    def encode(self, text: str) -> np.ndarray:
        """Ids of one text, int64 (length,), with <start> and <end>."""
        return self.encode_all([text])[0]

    @property
    def mask_id(self) -> int | None:
        """Id that stands for a hidden word: <unk>."""
        return self.word2idx.get(SPECIALS[UNK])

    @property
    def special_ids(self) -> list[int]:
        """Ids that are no words."""
        return [self.word2idx[name] for name in SPECIALS[:UNK] if name in self.word2idx]

    def continuations(self) -> np.ndarray:
        """(ids,) bool: which ids go on with the word before; here every id is a word."""
        return np.zeros(len(self), dtype=bool)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the published json layout, atomically."""
        idx2word = {str(index): word for word, index in self.word2idx.items()}
        content = {"word2idx": self.word2idx, "idx2word": idx2word, "idx": len(self)}
        write_text(path, json.dumps(content, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str], words: bool = True) -> Vocabulary:
        """Read a published vocabulary.

        Args:
            path: json of {word2idx, idx2word, idx}.
            words: whether captions are words, so that <pad>, <start>, <end>, <unk> must be ids 0..3.

        Raises:
            DataError: missing, no json, another layout, repeated or out-of-range ids, specials elsewhere.
        """
        content = _read_json(Path(path))
        word2idx, size = content.get("word2idx"), content.get("idx")
        if not isinstance(word2idx, dict) or not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise DataError(f"{path}: lacks word2idx or a positive idx; expected {_LAYOUT}")
        for word, index in word2idx.items():
            if not isinstance(index, int) or not 0 <= index < size:
                raise DataError(f"{path}: word {word!r} has id {index!r}; expected an integer in 0..{size - 1}")
        if len(set(word2idx.values())) != len(word2idx):
            twice = next(index for index, count in Counter(word2idx.values()).items() if count > 1)
            raise DataError(f"{path}: id {twice} belongs to two words; expected one word an id")
        if words:
            for index, word in enumerate(SPECIALS):
                if word2idx.get(word) != index:
                    raise DataError(f"{path}: {word} has id {word2idx.get(word)}; expected {index}")
        return cls(word2idx, size)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {_LAYOUT}") from error
    except ValueError as error:
        raise DataError(f"{path}: is no JSON; expected {_LAYOUT}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no JSON object; expected {_LAYOUT}")
    return content
