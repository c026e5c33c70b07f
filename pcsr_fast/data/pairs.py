"""Image-text pairs in memory: regions of pictures, captions, and which caption belongs to which picture."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import DataError

if TYPE_CHECKING:
    from pcsr_fast.data.pixels import Pictures


class Regions:
    """Region features of n pictures: an (n, R, D) array, in memory or memory-mapped, read as float32.

    Args:
        array: (m, R, D) float16, float32, float64 or int8.
        scale: (D,) float32 by which the stored values are multiplied, or None.
        rows: (n,) rows of `array` this view holds, in this order; None holds all of them.
    """

    def __init__(self, array: np.ndarray, scale: np.ndarray | None = None, rows: np.ndarray | None = None) -> None:
        self.array = array
        self.scale = scale
        self.rows = rows

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, R, D)."""
        return (len(self), self.array.shape[1], self.array.shape[2])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Features of the pictures `rows` (k,), in that order: float32 (k, R, D), a copy.

        Raises:
            IndexError: a row is outside 0..n-1.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Regions.take: rows {wanted.min()}..{wanted.max()}; expected 0..{len(self) - 1}")
        stored = wanted if self.rows is None else self.rows[wanted]
        order = np.argsort(stored, kind="stable")
        features = np.empty((len(wanted), *self.shape[1:]), dtype=np.float32)
        features[order] = self.array[stored[order]]
        if self.scale is not None:
            features *= self.scale
        return features

    def subset(self, rows: np.ndarray) -> Regions:
        """A view of the pictures `rows`; nothing is copied."""
        rows = np.asarray(rows, dtype=np.int64)
        return Regions(self.array, self.scale, rows if self.rows is None else self.rows[rows])


class Thumbnails:
    """Small pictures `NNNNN.webp`, named by row, inside an uncompressed tar; the tar is opened at the first read."""

    def __init__(self, path: str | os.PathLike[str], rows: np.ndarray | None = None) -> None:
        self.path = Path(path)
        self.rows = rows
        self._places: dict[str, tuple[int, int]] | None = None

    def _index(self) -> dict[str, tuple[int, int]]:
        if self._places is None:
            try:
                with tarfile.open(self.path, "r:") as archive:
                    self._places = {m.name: (m.offset_data, m.size) for m in archive if m.isfile()}
            except (OSError, tarfile.TarError) as error:
                raise DataError(f"{self.path}: cannot be read; expected an uncompressed tar of NNNNN.webp") from error
        return self._places

    def check(self, count: int) -> None:
        """Raise DataError if the tar cannot be read or lacks one of rows 0..count-1, so that no report fails later."""
        places = self._index()
        missing = next((row for row in range(count) if f"{row:05d}.webp" not in places), None)
        if missing is not None:
            raise DataError(
                f"{self.path}: holds no {missing:05d}.webp; expected one thumbnail for each of {count} pictures"
            )

    def read(self, row: int) -> bytes:
        """The WebP file of picture `row`.

        Raises:
            DataError: the tar is unreadable or lacks that picture.
        """
        stored = int(row if self.rows is None else self.rows[row])
        name = f"{stored:05d}.webp"
        places = self._index()
        if name not in places:
            raise DataError(f"{self.path}: holds no {name}; expected one thumbnail a picture")
        offset, size = places[name]
        with self.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def subset(self, rows: np.ndarray) -> Thumbnails:
        """A view of the pictures `rows`."""
        rows = np.asarray(rows, dtype=np.int64)
        return Thumbnails(self.path, rows if self.rows is None else self.rows[rows])


@dataclass(frozen=True, eq=False)
class PairSet:
    """One split.

    Attributes:
        name: "train", "dev" or "test".
        regions: features, or pixels, of n pictures.
        captions: text of N captions; for data that comes as token ids, the ids as text.
        tokens: N int64 arrays; word data starts with <start> and ends with <end>, token-id data is as in the file.
        image_of_caption: (N,) int64, the picture row each caption truly belongs to.
        image_names: n names, or None where the source has none.
        thumbnails: small pictures by row, or None.
    """

    name: str
    regions: Regions | Pictures
    captions: list[str]
    tokens: list[np.ndarray]
    image_of_caption: np.ndarray
    image_names: list[str] | None = None
    thumbnails: Thumbnails | None = None

    @property
    def num_images(self) -> int:
        """Number of pictures n."""
        return len(self.regions)

    @property
    def num_captions(self) -> int:
        """Number of captions N."""
        return len(self.captions)

    def subset_images(self, rows: np.ndarray) -> PairSet:
        """Only the pictures `rows`, in that order, and their captions in the old order, renumbered.

        Raises:
            DataError: a row stands twice or is outside 0..n-1.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.num_images):
            raise DataError(f"{self.name}: picture rows {rows.min()}..{rows.max()}; expected 0..{self.num_images - 1}")
        if len(np.unique(rows)) != len(rows):
            raise DataError(f"{self.name}: a picture row stands twice; expected distinct rows")
        new_row = np.full(self.num_images, -1, dtype=np.int64)
        new_row[rows] = np.arange(len(rows))
        held = new_row[self.image_of_caption]
        kept = np.flatnonzero(held >= 0)
        return replace(
            self,
            regions=self.regions.subset(rows),
            captions=[self.captions[j] for j in kept],
            tokens=[self.tokens[j] for j in kept],
            image_of_caption=held[kept],
            image_names=None if self.image_names is None else [self.image_names[row] for row in rows],
            thumbnails=None if self.thumbnails is None else self.thumbnails.subset(rows),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits that share one vocabulary."""

    name: str
    train: PairSet
    dev: PairSet
    test: PairSet
    vocabulary: Vocabulary
