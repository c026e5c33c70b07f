"""Reading the package's own layout, that of the demo set.

Files of a folder, for each split of train, dev, test:
    {split}_regions.npy     float16/float32 (n, R, D), or int8 that regions_scale.npy turns into float32
    {split}_captions.tsv    header "image<tab>caption", then picture row and caption; rows repeat, in any order
    {split}_images.txt      a name a picture (optional)
    {split}_thumbnails.tar  NNNNN.webp by picture row (optional)
    regions_scale.npy       float32 (D,) (with int8 regions)
    manifest.json           SHA-256 of each file
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pcsr_fast.data.arrays import open_array
from pcsr_fast.data.pairs import Regions, Thumbnails
from pcsr_fast.data.raw import RawSplit, check_every_image_captioned, read_lines
from pcsr_fast.errors import DataError

_REGIONS = "float16/float32/int8 features (pictures, regions, dimensions) in a .npy file"
_SCALE = "float32 (dimensions,) that multiplies the int8 regions"
_CAPTIONS = "lines of picture row, tab, caption under the header 'image<tab>caption'"


def _read_scale(folder: Path, array: np.ndarray) -> np.ndarray | None:
    if array.dtype.kind == "f":
        return None
    path = folder / "regions_scale.npy"
    scale = np.asarray(open_array(path, ndim=1, kinds="f", expected=_SCALE), dtype=np.float32)
    if len(scale) != array.shape[2]:
        raise DataError(f"{path}: has {len(scale)} entries; expected {array.shape[2]}, one a dimension of the regions")
    wrong = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if wrong.size:
        raise DataError(f"{path}: entry {wrong[0]} is {scale[wrong[0]]}; expected finite numbers above 0")
    return scale


def read_captions(path: Path, num_images: int) -> tuple[list[str], np.ndarray]:
    """Captions of a split and the picture row of each; DataError names the first line that is wrong."""
    lines = read_lines(path, _CAPTIONS)
    if lines[0].split("\t") != ["image", "caption"]:
        raise DataError(f"{path}: line 1 is {lines[0][:60]!r}; expected the header 'image<tab>caption'")
    if len(lines) == 1:
        raise DataError(f"{path}: has a header but no caption; expected {_CAPTIONS}")
    captions, images = [], np.empty(len(lines) - 1, dtype=np.int64)
    for index, line in enumerate(lines[1:]):
        row, tab, caption = line.partition("\t")
        if not tab or not caption.strip():
            raise DataError(f"{path}: line {index + 2} is {line[:60]!r}; expected picture row, tab, caption")
        if not (row.isascii() and row.isdigit()) or int(row) >= num_images:
            raise DataError(f"{path}: line {index + 2} names picture row {row[:20]!r}; expected 0..{num_images - 1}")
        images[index] = int(row)
        captions.append(caption.strip())
    return captions, images


def read_pairs_split(folder: Path, split: str) -> RawSplit:
    """One split of a folder in this layout.

    Raises:
        DataError: a file is missing, broken, or does not fit the others.
    """
    regions_path, captions_path = folder / f"{split}_regions.npy", folder / f"{split}_captions.tsv"
    array = open_array(regions_path, ndim=3, kinds="fi", expected=_REGIONS)
    if array.dtype.kind == "i" and array.dtype != np.int8:
        raise DataError(f"{regions_path}: has dtype {array.dtype}; expected {_REGIONS}")
    captions, image_of_caption = read_captions(captions_path, len(array))
    check_every_image_captioned(captions_path, image_of_caption, len(array))
    names_path, thumbnails_path = folder / f"{split}_images.txt", folder / f"{split}_thumbnails.tar"
    names = read_lines(names_path, "a name a picture") if names_path.exists() else None
    if names is not None and len(names) != len(array):
        raise DataError(f"{names_path}: has {len(names)} lines; expected {len(array)}, one a picture")
    thumbnails = Thumbnails(thumbnails_path) if thumbnails_path.exists() else None
    if thumbnails is not None:
        thumbnails.check(len(array))
    return RawSplit(
        name=split,
        regions_file=regions_path,
        captions_file=captions_path,
        regions=Regions(array, _read_scale(folder, array)),
        captions=captions,
        image_of_caption=image_of_caption,
        image_names=names,
        thumbnails=thumbnails,
    )
