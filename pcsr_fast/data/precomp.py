"""Reading the precomputed layout of SCAN, NCR, PC2 and RCL (METHODS 1.1): Flickr30K, MS-COCO, CC152K, NoW.

Captions stand in {split}_caps.txt (one a line), {split}_caps.tsv (id, tab, caption) or
{split}_caps_{bpe,bert,jieba}.txt (comma-separated token ids). Which picture a caption belongs to is found from the
counts: as many captions as picture rows, five times as many, or picture rows that repeat once for each caption.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np

from pcsr_fast.data.arrays import open_array, rows_equal
from pcsr_fast.data.pairs import Regions
from pcsr_fast.data.raw import RawSplit, check_filled, read_lines, read_text
from pcsr_fast.errors import DataError

_REGIONS = "float features (pictures, regions, dimensions) in a .npy file"
CAPTIONS_PER_IMAGE = 5


def _read_tsv(path: Path) -> tuple[list[str], list[str]]:
    """(ids, captions), cut with the csv module's quoting rule, as the published readers do."""
    expected = "lines of id, tab, caption"
    ids, captions = [], []
    reader = csv.reader(io.StringIO(read_text(path, expected)), delimiter="\t")
    try:
        for row in reader:
            if len(row) < 2:
                raise DataError(f"{path}: line {reader.line_num} has {len(row)} column(s); expected {expected}")
            ids.append(row[0].strip())
            captions.append(row[1].strip())
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} cannot be read ({error}); expected {expected}") from error
    check_filled(path, captions, expected, first_line=1)
    return ids, captions


def _read_token_ids(path: Path) -> tuple[list[str], list[np.ndarray]]:
    expected = "one caption a line, as comma-separated token ids >= 0"
    lines = read_lines(path, expected)
    tokens = []
    for number, line in enumerate(lines, start=1):
        try:
            ids = np.array([int(part) for part in line.split(",") if part], dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}: line {number} is {line[:60]!r}; expected {expected}") from error
        if ids.size == 0 or ids.min() < 0:
            raise DataError(f"{path}: line {number} is {line[:60]!r}; expected {expected}")
        tokens.append(ids)
    return lines, tokens


def captions_path(folder: Path, split: str, suffix: str | None) -> Path:
    """Where the captions of a split stand; DataError if no known file exists."""
    if suffix is not None:
        return folder / f"{split}_caps_{suffix}.txt"
    for name in (f"{split}_caps.txt", f"{split}_caps.tsv"):
        if (folder / name).exists():
            return folder / name
    token_files = sorted(path.name for path in folder.glob(f"{split}_caps_*.txt"))
    hint = f"; token ids stand in {', '.join(token_files)}: set data.captions_suffix" if token_files else ""
    raise DataError(
        f"{folder}: holds no captions of split {split}; expected {split}_caps.txt or {split}_caps.tsv{hint}"
    )


def _rows_by_id(
    folder: Path, split: str, array: np.ndarray, num_captions: int, required: bool
) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """(first row of each picture, picture of each caption, names) from {split}_ids.txt, if it says that rows repeat."""
    path = folder / f"{split}_ids.txt"
    if not required and not path.exists():
        return None
    expected = f"one picture id a row of {split}_ims.npy ({len(array)}), which has one row a caption ({num_captions})"
    ids = read_lines(path, expected)
    if len(ids) != len(array) or len(array) != num_captions:
        if required:
            raise DataError(f"{path}: has {len(ids)} lines; expected {expected}")
        return None
    position = {name: index for index, name in enumerate(dict.fromkeys(ids))}
    group = np.array([position[name] for name in ids], dtype=np.int64)
    first = np.full(len(position), len(ids), dtype=np.int64)
    np.minimum.at(first, group, np.arange(len(ids)))
    repeats = np.flatnonzero(first[group] != np.arange(len(ids)))
    if not rows_equal(array, repeats, first[group[repeats]]):
        if required:
            raise DataError(f"{path}: rows of one id differ in {split}_ims.npy; expected equal rows under one id")
        return None
    return (first, group, list(position)) if repeats.size or required else None


def _repeats_fivefold(array: np.ndarray) -> bool:
    """Whether each picture row stands five times in a row, as in the dev and test files that SCAN ships."""
    rows = np.arange(len(array))
    return len(array) % CAPTIONS_PER_IMAGE == 0 and rows_equal(array, rows, rows - rows % CAPTIONS_PER_IMAGE)


def _group(
    array: np.ndarray, files: tuple[Path, Path], num_captions: int, im_div: int | Literal["auto"]
) -> tuple[np.ndarray | None, np.ndarray]:
    """(kept picture rows or None for all, picture of each caption) from the counts and the repeats."""
    num_rows, captions = len(array), np.arange(num_captions)
    if im_div == "auto":
        if num_rows == num_captions:
            if _repeats_fivefold(array):
                return np.arange(0, num_rows, CAPTIONS_PER_IMAGE), captions // CAPTIONS_PER_IMAGE
            return None, captions
        im_div = CAPTIONS_PER_IMAGE
    if num_captions != im_div * num_rows:
        allowed = sorted({im_div * num_rows, num_rows}) if im_div == CAPTIONS_PER_IMAGE else [im_div * num_rows]
        raise DataError(
            f"{files[1]}: has {num_captions} captions for {num_rows} picture rows in {files[0].name}; "
            f"expected {' or '.join(map(str, allowed))}"
        )
    return None, captions // im_div


def read_precomp_split(
    folder: Path,
    split: str,
    *,
    im_div: int | Literal["auto"],
    suffix: str | None,
    image_ids: bool | Literal["auto"],
    limit: int,
    name: str,
) -> RawSplit:
    """One split of a folder in this layout.

    Args:
        folder: where the files stand.
        split: file prefix: "train", "dev", "test" or "testall".
        im_div: captions a picture row, or "auto".
        suffix: "bpe", "bert" or "jieba" for token-id files, else None.
        image_ids: group captions by {split}_ids.txt: always, never, or "auto", where its rows truly repeat.
        limit: keep the first limit * im_div captions (published rule for dev), 0 keeps all.
        name: name of the split in the result.

    Raises:
        DataError: a file is missing, broken, or does not fit the others.
    """
    regions_path, text_path = folder / f"{split}_ims.npy", captions_path(folder, split, suffix)
    array = open_array(regions_path, ndim=3, kinds="f", expected=_REGIONS)
    names: list[str] | None = None
    tokens: list[np.ndarray] | None = None
    if suffix is not None:
        captions, tokens = _read_token_ids(text_path)
    elif text_path.suffix == ".tsv":
        names, captions = _read_tsv(text_path)
    else:
        captions = read_lines(text_path, "one caption a line")
    by_id = None if image_ids is False else _rows_by_id(folder, split, array, len(captions), image_ids is True)
    if by_id is not None:
        rows, image_of_caption, names = by_id
    else:
        grouped, image_of_caption = _group(array, (regions_path, text_path), len(captions), im_div)
        rows = np.arange(len(array)) if grouped is None else grouped
        names = names if names is not None and len(rows) == len(captions) else None
    if limit:
        kept = min(len(captions), limit * (1 if len(array) == len(captions) else len(captions) // len(array)))
        image_of_caption = image_of_caption[:kept]
        rows = rows[: int(image_of_caption.max()) + 1]
        captions, tokens = captions[:kept], None if tokens is None else tokens[:kept]
        names = None if names is None else names[: len(rows)]
    whole = len(rows) == len(array) and bool((rows == np.arange(len(array))).all())
    return RawSplit(
        name=name,
        regions_file=regions_path,
        captions_file=text_path,
        regions=Regions(array, rows=None if whole else rows),
        captions=captions,
        image_of_caption=image_of_caption,
        image_names=names,
        token_ids=tokens,
    )
