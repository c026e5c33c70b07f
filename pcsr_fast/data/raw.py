"""What both layouts share: one split as it stands on disk, and text files read with the line number in every error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pcsr_fast.data.pairs import Regions, Thumbnails
from pcsr_fast.errors import DataError

if TYPE_CHECKING:
    from pcsr_fast.data.pixels import Pictures


@dataclass(frozen=True, eq=False)
class RawSplit:
    """A split before its captions are encoded.

    Attributes:
        name: "train", "dev" or "test".
        regions_file: where the features came from, for messages.
        captions_file: where the captions came from, for messages.
        regions: features, or pixels, of n pictures.
        captions: N captions.
        image_of_caption: (N,) int64.
        image_names: n names or None.
        thumbnails: small pictures or None.
        token_ids: N int64 arrays for token-id data, None for words.
    """

    name: str
    regions_file: Path
    captions_file: Path
    regions: Regions | Pictures
    captions: list[str]
    image_of_caption: np.ndarray
    image_names: list[str] | None = None
    thumbnails: Thumbnails | None = None
    token_ids: list[np.ndarray] | None = None


def read_text(path: Path, expected: str) -> str:
    """The UTF-8 text of a file with every line end as a newline; DataError if missing, empty or not UTF-8."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; expected {expected}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty; expected {expected}")
    return text


def read_lines(path: Path, expected: str) -> list[str]:
    """Stripped lines of a text file; only newlines end a line, so odd Unicode separators inside captions do no harm.

    Raises:
        DataError: unreadable or empty file, or an empty line, which would shift or lose a caption.
    """
    lines = read_text(path, expected).removesuffix("\n").split("\n")
    stripped = [line.strip() for line in lines]
    check_filled(path, stripped, expected, first_line=1)
    return stripped


def check_filled(path: Path, texts: Sequence[str], expected: str, first_line: int) -> None:
    """Raise DataError naming the first line whose text is empty."""
    for number, text in enumerate(texts, start=first_line):
        if not text:
            raise DataError(f"{path}: line {number} is empty; expected {expected}")


def check_every_image_captioned(path: Path, image_of_caption: np.ndarray, num_images: int) -> None:
    """Raise DataError naming the first picture row that no caption belongs to."""
    missing = np.flatnonzero(np.bincount(image_of_caption, minlength=num_images) == 0)
    if missing.size:
        raise DataError(
            f"{path}: picture row {missing[0]} has no caption; expected at least one for each of {num_images}"
        )
