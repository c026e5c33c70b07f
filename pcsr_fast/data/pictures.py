"""Reading the pictures and the caption table of a user, and saying which one is at fault."""

from __future__ import annotations

import csv
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pcsr_fast.data.raw import read_text
from pcsr_fast.errors import ConfigError, DataError

SPLITS = ("train", "dev", "test")
# Pillow itself refuses pictures above twice its MAX_IMAGE_PIXELS.
LARGEST = 178
_COLUMNS = "a CSV with the columns image,caption and, if wanted, split"
_PICTURE = "a picture that Pillow can read"


@dataclass(frozen=True)
class CaptionTable:
    """Captions of pictures, as listed in a CSV.

    Attributes:
        images: picture paths relative to the folder, in order of first appearance.
        captions: captions of each picture.
        splits: split of each picture, None where the table has no such column.
    """

    images: list[str]
    captions: list[list[str]]
    splits: list[str] | None


def read_caption_table(path: Path) -> CaptionTable:
    """Read a CSV with the header image,caption or image,caption,split (in any order).

    Raises:
        DataError: unreadable table, missing column, empty cell, unknown split, or a picture in two splits.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, _COLUMNS)))
    columns = reader.fieldnames or []
    if not {"image", "caption"} <= set(columns):
        raise DataError(f"{path}: line 1 has the columns {','.join(map(str, columns))}; expected {_COLUMNS}")
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    try:
        for row in reader:
            image, caption = ((row[key] or "").strip() for key in ("image", "caption"))
            if not image or not caption:
                raise DataError(f"{path}: line {reader.line_num} has an empty cell; expected a picture and a caption")
            captions.setdefault(image, []).append(" ".join(caption.split()))
            if "split" in columns:
                split = (row["split"] or "").strip()
                if split not in SPLITS:
                    raise DataError(f"{path}: line {reader.line_num} has split {split!r}; expected train, dev or test")
                if splits.setdefault(image, split) != split:
                    raise DataError(
                        f"{path}: line {reader.line_num} puts {image} in a second split; expected one split"
                    )
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} cannot be read ({error}); expected {_COLUMNS}") from error
    if not captions:
        raise DataError(f"{path}: has a header but no row; expected {_COLUMNS}")
    return CaptionTable(list(captions), list(captions.values()), list(splits.values()) if splits else None)


def assign_splits(count: int, dev_share: float, test_share: float, seed: int) -> list[str]:
    """A split for each of `count` pictures: a seeded shuffle, at least one picture each.

    Raises:
        ConfigError: shares that leave nothing to train on.
        DataError: fewer than three pictures.
    """
    if dev_share <= 0 or test_share <= 0 or dev_share + test_share >= 1:
        raise ConfigError(
            f"dev_share {dev_share}, test_share {test_share}: expected both above 0 and their sum below 1"
        )
    if count < len(SPLITS):
        raise DataError(f"{count} usable picture(s); expected at least 3, one for each of train, dev and test")
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    num_dev, num_test = max(1, int(dev_share * count)), max(1, int(test_share * count))
    splits = ["train"] * count
    for rank, row in enumerate(order[: num_dev + num_test]):
        splits[row] = "dev" if rank < num_dev else "test"
    return splits


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def check_picture(folder: Path, name: str, max_megapixels: float) -> None:
    """Open a picture without decoding it.

    Raises:
        DataError: outside the folder, missing, of an unknown format, or larger than `max_megapixels`.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path}: lies outside {folder}; expected a path inside that folder")
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected {_PICTURE}")
    try:
        with _open(path) as picture:
            megapixels = picture.width * picture.height / 1e6
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: has more than {LARGEST} megapixels; expected at most {max_megapixels:g}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be opened; expected {_PICTURE}") from error
    if megapixels > max_megapixels:
        raise DataError(f"{path}: has {megapixels:.4g} megapixels; expected at most {max_megapixels:g}")


def read_picture(folder: Path, name: str) -> Image.Image:
    """The decoded picture: upright, RGB, transparency on white ground.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / name
    try:
        with _open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                layer = upright.convert("RGBA")
                ground = Image.new("RGBA", layer.size, "white")
                return Image.alpha_composite(ground, layer).convert("RGB")
            return upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is damaged ({str(error)[:80]}); expected {_PICTURE}") from error


def thumbnail(picture: Image.Image, side: int = 64) -> bytes:
    """A side x side WebP: the whole picture, centred on white ground."""
    small = ImageOps.pad(picture, (side, side), method=Image.Resampling.LANCZOS, color="white")
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=80)
    return stream.getvalue()
