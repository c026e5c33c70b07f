"""Encoding many pictures: raw features on disk, thumbnails in memory, and what to do about bad pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pcsr_fast.data.encoders import Encoder
from pcsr_fast.data.pictures import check_picture, read_picture, thumbnail
from pcsr_fast.errors import DataError

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass
class BadPictures:
    """What happens to a picture that cannot be used: stop (default) or note it and go on."""

    skip: bool
    messages: list[str] = field(default_factory=list)

    def meet(self, error: DataError) -> None:
        """Raise `error`, or note it."""
        if not self.skip:
            raise error
        self.messages.append(str(error))


@dataclass(frozen=True)
class Encoded:
    """Raw features of the pictures that could be read.

    Attributes:
        features: float32 (n, R, D), memory-mapped.
        rows: index of each of the n pictures in the list of names.
        thumbnails: n WebP files.
    """

    features: np.ndarray
    rows: list[int]
    thumbnails: list[bytes]


def usable_rows(folder: Path, names: Sequence[str], max_megapixels: float, bad: BadPictures) -> list[int]:
    """Indices of the pictures that open; every header is read before the slow part begins."""
    rows = []
    for row, name in enumerate(names):
        try:
            check_picture(folder, name, max_megapixels)
            rows.append(row)
        except DataError as error:
            bad.meet(error)
    return rows


def encode_pictures(
    folder: Path,
    names: Sequence[str],
    rows: Sequence[int],
    encoder: Encoder,
    raw_file: Path,
    batch_size: int,
    bad: BadPictures,
    progress: Progress,
) -> Encoded:
    """Encode names[row] for each of `rows`; features go to `raw_file`.

    Raises:
        DataError: a damaged picture (unless skipped), features that are not finite, or no picture at all.
    """
    features: np.ndarray | None = None
    done: list[int] = []
    small: list[bytes] = []
    for start in range(0, len(rows), batch_size):
        pictures = []
        for row in rows[start : start + batch_size]:
            try:
                pictures.append(read_picture(folder, names[row]))
                done.append(row)
            except DataError as error:
                bad.meet(error)
        if pictures:
            small.extend(map(thumbnail, pictures))
            batch = encoder(pictures)
            if not np.isfinite(batch).all():
                raise DataError(
                    f"{folder / names[done[-1]]}: its batch got NaN or infinite features; expected finite ones"
                )
            if features is None:
                shape = (len(rows), *batch.shape[1:])
                features = np.lib.format.open_memmap(raw_file, mode="w+", dtype=np.float32, shape=shape)
            features[len(done) - len(batch) : len(done)] = batch
        progress(min(start + batch_size, len(rows)), len(rows))
    if features is None:
        raise DataError(f"{folder}: none of the listed pictures can be read; expected at least 3")
    return Encoded(features[: len(done)], done, small)
