"""Raw pictures as training data: what makes them pixels of one size, and a set of pictures that is read when asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from pcsr_fast.data.pairs import Thumbnails
from pcsr_fast.data.pictures import read_picture, thumbnail
from pcsr_fast.errors import DataError
from pcsr_fast.files import write_json

PROCESSOR = "preprocessor_config.json"
_EXPECTED = "the image processor's JSON with size, image_mean and image_std"
# Pillow's numbers for resampling, as image processors name them; torch has no other one with antialiasing.
_BILINEAR, _BICUBIC = 2, 3


class Crop(NamedTuple):
    """Part of a picture, as shares of its height and width, and whether it is mirrored."""

    top: float
    left: float
    height: float
    width: float
    flip: bool


@dataclass(frozen=True)
class PixelRecipe:
    """How a picture becomes an array (3, size, size).

    Attributes:
        size: side in pixels.
        mean, std: of each channel, on a scale from 0 to 1.
        shorter: if above 0, the shorter side is brought to this and the middle cut out, else the picture is stretched.
        bicubic: interpolation; else bilinear. Both are antialiased.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    shorter: int = 0
    bicubic: bool = False

    @classmethod
    def load(cls, folder: str | Path, size: int = 0) -> PixelRecipe:
        """What `preprocessor_config.json` of a Hugging Face folder says; `size` overrides its side.

        Raises:
            DataError: the file is missing, or lacks what is needed.
        """
        path = Path(folder) / PROCESSOR
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            mean, std = (tuple(float(one) for one in values[key]) for key in ("image_mean", "image_std"))
            shorter, side = _sides(values)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: lacks {error}; expected {_EXPECTED}") from error
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or min(side, size or side) < 1:
            raise DataError(f"{path}: has size {side}, image_mean {mean}, image_std {std}; expected {_EXPECTED}")
        shorter = round(shorter * (size or side) / side)
        return cls(size or side, mean, std, shorter, values.get("resample") == _BICUBIC)

    def save(self, folder: Path) -> None:
        """Write `preprocessor_config.json` so that `load` gives this recipe back."""
        square = {"height": self.size, "width": self.size}
        values = {
            "size": {"shortest_edge": self.shorter} if self.shorter else square,
            "crop_size": square,
            "do_center_crop": bool(self.shorter),
            "resample": _BICUBIC if self.bicubic else _BILINEAR,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }
        write_json(folder / PROCESSOR, values)

    def __call__(self, picture: Image.Image, crop: Crop | None = None) -> np.ndarray:
        """RGB picture -> float32 (3, size, size); a crop is stretched to the size."""
        pixels = torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)
        if crop is not None:
            pixels = self._resized(_cut(pixels, crop), self.size, self.size)
        elif self.shorter:
            height, width = pixels.shape[1:]
            scale = self.shorter / min(height, width)
            tall, wide = (max(self.size, round(side * scale)) for side in (height, width))
            top, left = (tall - self.size) // 2, (wide - self.size) // 2
            pixels = self._resized(pixels, tall, wide)[:, top : top + self.size, left : left + self.size]
        else:
            pixels = self._resized(pixels, self.size, self.size)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((pixels / 255 - mean) / std).numpy()

    def _resized(self, pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
        mode = "bicubic" if self.bicubic else "bilinear"
        values = F.interpolate(pixels[None].float(), (height, width), mode=mode, antialias=True)[0]
        return values.clamp_(0, 255)


def _sides(values: dict[str, Any]) -> tuple[int, int]:
    """(shorter side or 0, side) of an image processor."""
    size, cut = values["size"], values.get("crop_size")
    shorter = 0
    if isinstance(size, dict) and "shortest_edge" in size:
        shorter = int(size["shortest_edge"])
    side = cut if shorter and values.get("do_center_crop", True) and cut is not None else shorter or size
    return shorter, int(side["height"] if isinstance(side, dict) else side)


def _cut(pixels: torch.Tensor, crop: Crop) -> torch.Tensor:
    height, width = pixels.shape[1:]
    tall, wide = max(1, round(crop.height * height)), max(1, round(crop.width * width))
    top, left = round(crop.top * (height - tall)), round(crop.left * (width - wide))
    part = pixels[:, top : top + tall, left : left + wide]
    return part.flip(2) if crop.flip else part


class PictureSource(Protocol):
    """Where pictures come from."""

    def open(self, row: int) -> Image.Image:
        """The decoded RGB picture; DataError, naming the file, where it cannot be read."""
        ...


class PictureFolder:
    """Pictures as files of a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = list(names)

    def open(self, row: int) -> Image.Image:
        """The picture `names[row]`."""
        return read_picture(self.folder, self.names[row])


class PictureTar:
    """The thumbnails of a set in the pairs layout, as small pictures."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self.thumbnails = thumbnails

    def open(self, row: int) -> Image.Image:
        """The picture NNNNN.webp of that row."""
        try:
            with Image.open(io.BytesIO(self.thumbnails.read(row))) as picture:
                return picture.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{self.thumbnails.path}: {row:05d}.webp is damaged; expected a picture") from error


@dataclass(frozen=True, eq=False)
class Pictures:
    """n pictures that are decoded and brought to size when they are asked for; stands where Regions does.

    Attributes:
        source: where they are.
        rows: (n,) rows of the source.
        recipe: how they become pixels.
    """

    source: PictureSource
    rows: np.ndarray
    recipe: PixelRecipe = PixelRecipe()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, 3, H, W)."""
        return (len(self), 3, self.recipe.size, self.recipe.size)

    def take(self, rows: np.ndarray, crops: Sequence[Crop] | None = None) -> np.ndarray:
        """Pixels of the pictures `rows` (k,), in that order: float32 (k, 3, H, W); of a part of each where `crops` says so.

        Raises:
            IndexError: a row is outside 0..n-1.
            DataError: a picture cannot be read; its file is named.
        """
        wanted = self.rows[np.asarray(rows, dtype=np.int64)]
        parts: Sequence[Crop | None] = [None] * len(wanted) if crops is None else crops

        def one(row: int, crop: Crop | None) -> np.ndarray:
            return self.recipe(self.source.open(row), crop)

        return np.stack(_side_by_side(one, wanted.tolist(), parts))

    def subset(self, rows: np.ndarray) -> Pictures:
        """A view of the pictures `rows`."""
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def made_by(self, recipe: PixelRecipe) -> Pictures:
        """The same pictures by another recipe."""
        return replace(self, recipe=recipe)


class PictureThumbnails(Thumbnails):
    """Thumbnails of pictures that have none, made when they are asked for."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def check(self, count: int) -> None:
        """There is one for every picture."""

    def read(self, row: int) -> bytes:
        """The WebP file of picture `row`."""
        return thumbnail(self.pictures.source.open(int(self.pictures.rows[row])))

    def subset(self, rows: np.ndarray) -> PictureThumbnails:
        """A view of the pictures `rows`."""
        return PictureThumbnails(self.pictures.subset(rows))


def _side_by_side(
    function: Callable[[int, Crop | None], np.ndarray], rows: Sequence[int], crops: Sequence[Crop | None]
) -> list[np.ndarray]:
    """Results in order; Pillow decodes without Python's lock, so threads help."""
    threads = min(torch.get_num_threads(), len(rows))
    if threads <= 1:
        return [function(row, crop) for row, crop in zip(rows, crops, strict=True)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, rows, crops))
