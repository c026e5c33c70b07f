"""Writing data sets: the published precomputed layouts, and our own layout with its manifest of checksums."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pcsr_fast.data.arrays import CHUNK_BYTES
from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.vocabulary import SPECIALS
from pcsr_fast.errors import ConfigError
from pcsr_fast.files import atomic_write, sha256_of, write_json, write_text

STYLES = ("auto", "f30k", "cc152k", "now")
MANIFEST = "manifest.json"


@contextlib.contextmanager
def new_array(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.memmap]:
    """A memory-mapped `.npy` file to fill; it takes its name when the block ends without an error."""
    with atomic_write(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=shape)
        yield array
        array.flush()


def _write_regions(path: Path, pairs: PairSet, rows: np.ndarray) -> None:
    """Features of picture rows `rows` (repeats allowed) as float32, about 64 MiB at a time."""
    shape = (len(rows), *pairs.regions.shape[1:])
    step = max(1, CHUNK_BYTES // (4 * shape[1] * shape[2]))
    with new_array(path, shape, "<f4") as array:
        for start in range(0, len(rows), step):
            array[start : start + step] = pairs.regions.take(rows[start : start + step])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _names(pairs: PairSet) -> list[str]:
    """A distinct id a picture: its name, or its row where names are missing or repeat."""
    names = [_one_line(name) for name in pairs.image_names or []]
    return (
        names if names and all(names) and len(set(names)) == len(names) else [str(i) for i in range(pairs.num_images)]
    )


def _picture_rows(pairs: PairSet, style: str) -> np.ndarray:
    """Which picture row stands at each row of {split}_ims.npy."""
    counts, position = pairs.image_of_caption, np.arange(pairs.num_captions)
    if style == "f30k" and pairs.name != "train":
        return counts
    for captions_per_image in (1, 5):
        if (
            np.array_equal(counts, position // captions_per_image)
            and len(counts) == captions_per_image * pairs.num_images
        ):
            return np.arange(pairs.num_images)
    return counts


def _write_precomp_split(pairs: PairSet, folder: Path, style: str, suffix: str) -> None:
    rows = _picture_rows(pairs, style)
    if style in ("cc152k", "now") and len(rows) != pairs.num_captions:
        raise ConfigError(
            f"{style}: split {pairs.name} has {pairs.num_captions} captions for {len(rows)} pictures; expected one each"
        )
    names = _names(pairs)
    _write_regions(folder / f"{pairs.name}_ims.npy", pairs, rows)
    captions = [_one_line(caption) for caption in pairs.captions]
    if style == "cc152k":
        lines = [f"{names[i]}\t{text}" for i, text in zip(pairs.image_of_caption, captions, strict=True)]
        _write_lines(folder / f"{pairs.name}_caps.tsv", lines)
    elif style == "now":
        lines = [",".join(map(str, ids[1:-1])) for ids in pairs.tokens]
        _write_lines(folder / f"{pairs.name}_caps_{suffix}.txt", lines)
    else:
        _write_lines(folder / f"{pairs.name}_caps.txt", captions)
        _write_lines(folder / f"{pairs.name}_ids.txt", [names[row] for row in rows])


def write_precomp(dataset: Dataset, folder: str | os.PathLike[str], style: str = "auto", suffix: str = "bpe") -> None:
    """Write the precomputed layout (METHODS 1.1), float32, each file atomically, and the vocabulary as vocab.json.

    Args:
        dataset: what to write.
        folder: made if missing.
        style: "auto": one row a picture where every picture has one caption or five in order, else picture rows
            repeated once for each caption; {split}_ids.txt names the picture of each row. "f30k": dev and test rows
            always repeat, as SCAN ships them. "cc152k": captions in a tsv. "now": token ids in
            {split}_caps_{suffix}.txt.
        suffix: "bpe", "bert" or "jieba", for "now".

    Raises:
        ConfigError: unknown style, or one that needs exactly one caption a picture.
        UserError: the folder cannot be written.
    """
    if style not in STYLES:
        raise ConfigError(f"style: {style!r}; expected one of {', '.join(STYLES)}")
    for pairs in (dataset.train, dataset.dev, dataset.test):
        _write_precomp_split(pairs, Path(folder), style, suffix)
    if SPECIALS[0] in dataset.vocabulary.word2idx:
        dataset.vocabulary.save(Path(folder) / "vocab.json")


def write_captions(folder: Path, split: str, captions: Sequence[tuple[int, str]], names: Sequence[str]) -> None:
    """Captions (picture row, text) and picture names of one split in the pairs layout."""
    _write_lines(
        folder / f"{split}_captions.tsv", ["image\tcaption", *(f"{row}\t{_one_line(c)}" for row, c in captions)]
    )
    _write_lines(folder / f"{split}_images.txt", [_one_line(name) for name in names])


def write_thumbnails(folder: Path, split: str, pictures: Sequence[bytes]) -> None:
    """WebP files of one split, by row, in an uncompressed tar whose bytes depend on the pictures alone."""
    with (
        atomic_write(folder / f"{split}_thumbnails.tar") as temporary,
        tarfile.open(temporary, "w:", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for row, content in enumerate(pictures):
            member = tarfile.TarInfo(f"{row:05d}.webp")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_manifest(folder: str | os.PathLike[str]) -> None:
    """Write manifest.json: SHA-256 and size of every other file in `folder`."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name != MANIFEST)
    entries = {path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files}
    write_json(Path(folder) / MANIFEST, {"format": "pcsr_fast pairs 1", "files": entries})
