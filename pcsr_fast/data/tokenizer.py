"""A Hugging Face tokenizer in the place of a vocabulary."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import DataError
from pcsr_fast.files import write_text

# Tokenizers without a limit name an enormous one.
_LONGEST = 100_000
# Without any of them transformers makes up an empty tokenizer.
_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


class TokenizerVocabulary(Vocabulary):
    """Ids as a tokenizer gives them, special tokens included; longer texts are cut.

    Args:
        tokenizer: of transformers, fast or slow.
        limit: most tokens of a text; None takes the tokenizer's own limit.
    """

    def __init__(self, tokenizer: Any, limit: int | None = None) -> None:
        super().__init__({}, size=len(tokenizer))
        self.tokenizer = tokenizer
        self.limit = min(int(tokenizer.model_max_length), limit or _LONGEST, _LONGEST)
        # Its files are to know it, too.
        tokenizer.model_max_length = self.limit

    @classmethod
    def of_folder(cls, folder: str | os.PathLike[str], limit: int | None = None) -> TokenizerVocabulary:
        """The tokenizer of a local folder.

        Raises:
            DataError: there is none that can be loaded.
        """
        from transformers import AutoTokenizer

        if not any((Path(folder) / name).is_file() for name in _FILES):
            raise DataError(f"{folder}: holds no tokenizer; expected one of {', '.join(_FILES)}")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{folder}: its tokenizer cannot be loaded ({reason}); expected tokenizer.json or its like"
            ) from error
        return cls(tokenizer, limit)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int64 (length,)."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.limit)["input_ids"]
        return [np.array(one, dtype=np.int64) for one in ids]

    @property
    def mask_id(self) -> int | None:
        """Id of the token that hides a word, where the tokenizer has one."""
        found: int | None = self.tokenizer.mask_token_id
        return found

    @property
    def special_ids(self) -> list[int]:
        """Ids of tokens that are no words; the unknown word is one."""
        unknown = self.tokenizer.unk_token_id
        return sorted(one for one in self.tokenizer.all_special_ids if one != unknown)

    def continuations(self) -> np.ndarray:
        """(ids,) bool: which tokens go on with the word before (`##...` of WordPiece)."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self))))
        return np.array([isinstance(token, str) and token.startswith("##") for token in tokens])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what a reader must know to see that these are a tokenizer's ids, atomically."""
        write_text(path, json.dumps({"tokenizer": type(self.tokenizer).__name__, "idx": len(self)}, indent=0) + "\n")

    def save_files(self, folder: Path) -> None:
        """Write the tokenizer's own files."""
        self.tokenizer.save_pretrained(folder)
