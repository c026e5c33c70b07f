"""From a folder of pictures and a CSV of captions to a data set in the pairs layout."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pcsr_fast.data.encode import BadPictures, Encoded, Progress, encode_pictures, usable_rows
from pcsr_fast.data.encoders import efficientnet_lite0, hugging_face
from pcsr_fast.data.pictures import (
    LARGEST,
    SPLITS,
    CaptionTable,
    assign_splits,
    read_caption_table,
)
from pcsr_fast.data.reduce import Projection, fit_projection, fit_scale, quantise
from pcsr_fast.data.write import new_array, write_captions, write_manifest, write_thumbnails
from pcsr_fast.errors import ConfigError, DataError, UserError
from pcsr_fast.files import write_json


@dataclass
class ExtractConfig:
    """How pictures and captions become a data set.

    Args:
        folder: folder of the pictures.
        captions: CSV with the columns image,caption[,split]; image is a path inside the folder.
        out: folder to make; it must not exist or be empty.
        encoder: a local Hugging Face vision folder; without it EfficientNet-lite0 (needs the extra `extract`).
        pca: dimensions to keep, fitted on the training pictures; 0 keeps all of them.
        int8: store int8 and a scale a dimension, a quarter of the size of float32.
        dev_share: share of the pictures for dev, if the CSV has no split column.
        test_share: share of the pictures for test, if the CSV has no split column.
        seed: of the split.
        skip_bad: leave out pictures that are missing, damaged or too large in place of stopping.
        max_megapixels: largest picture that is decoded, at most 178.
        batch_size: pictures encoded at once.
        device: torch device of the encoder.
    """

    folder: str
    captions: str
    out: str
    encoder: str | None = None
    pca: int = 256
    int8: bool = True
    dev_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0
    skip_bad: bool = False
    max_megapixels: float = 100.0
    batch_size: int = 16
    device: str = "cpu"


@dataclass(frozen=True)
class Extracted:
    """What `extract_set` made.

    Attributes:
        out: the folder.
        images: pictures a split.
        captions: captions a split.
        regions: (R, D) of the stored features.
        explained: share of the training variance that the PCA kept, None without one.
        skipped: one message for each picture that was left out.
    """

    out: Path
    images: dict[str, int]
    captions: dict[str, int]
    regions: tuple[int, int]
    explained: float | None
    skipped: list[str]


def _check_config(config: ExtractConfig) -> None:
    if not Path(config.folder).is_dir():
        raise DataError(f"{config.folder}: no such folder; expected a folder of pictures")
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out: {out} exists and is not empty; expected a new folder")
    for key, least in (("pca", 0), ("batch_size", 1), ("seed", 0)):
        if getattr(config, key) < least:
            raise ConfigError(f"{key}: {getattr(config, key)}; expected an integer >= {least}")
    if not 0 < config.max_megapixels <= LARGEST:
        raise ConfigError(f"max_megapixels: {config.max_megapixels}; expected a number above 0, at most {LARGEST}")


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A scratch folder beside `out` that becomes `out` when the block ends without an error, else vanishes."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot write here ({error.strerror}); expected a writable folder") from error
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_split(
    folder: Path,
    split: str,
    rows: np.ndarray,
    encoded: Encoded,
    table: CaptionTable,
    projection: Projection | None,
    scale: np.ndarray | None,
) -> int:
    """Write one split; rows (n,) index `encoded`. Returns its number of captions."""
    width = encoded.features.shape[2] if projection is None else projection.basis.shape[1]
    shape = (len(rows), encoded.features.shape[1], width)
    with new_array(folder / f"{split}_regions.npy", shape, "<f4" if scale is None else "|i1") as array:
        for start in range(0, len(rows), 256):
            part = encoded.features[rows[start : start + 256]]
            part = part if projection is None else projection(part)
            array[start : start + 256] = part if scale is None else quantise(part, scale)
    table_rows = [encoded.rows[row] for row in rows]
    captions = [(index, text) for index, row in enumerate(table_rows) for text in table.captions[row]]
    write_captions(folder, split, captions, [table.images[row] for row in table_rows])
    write_thumbnails(folder, split, [encoded.thumbnails[row] for row in rows])
    return len(captions)


def _split_rows(config: ExtractConfig, table: CaptionTable, encoded: Encoded) -> dict[str, np.ndarray]:
    if table.splits is None:
        splits = assign_splits(len(encoded.rows), config.dev_share, config.test_share, config.seed)
    else:
        splits = [table.splits[row] for row in encoded.rows]
    rows = {split: np.flatnonzero(np.array(splits) == split) for split in SPLITS}
    for split, members in rows.items():
        if not len(members):
            raise DataError(f"{config.captions}: split {split} has no usable picture; expected at least one")
    return rows


def extract_set(config: ExtractConfig, progress: Progress = lambda done, total: None) -> Extracted:
    """Encode every picture and write a folder in the pairs layout, with thumbnails, extract.json and manifest.json.

    The folder appears when it is complete, never half-written. Raw features need n * R * D * 4 bytes of disk meanwhile.

    Raises:
        ConfigError: a value of `config` that cannot be used.
        DataError: a bad table or, unless skip_bad, the first picture that is missing, damaged or too large.
        UserError: encoder not installed, or output not writable.
    """
    _check_config(config)
    table = read_caption_table(Path(config.captions))
    if table.splits is None:
        assign_splits(len(table.images), config.dev_share, config.test_share, config.seed)
    pictures, bad = Path(config.folder), BadPictures(config.skip_bad)
    usable = usable_rows(pictures, table.images, config.max_megapixels, bad)
    encoder = hugging_face(config.encoder, config.device) if config.encoder else efficientnet_lite0(config.device)
    with _new_folder(Path(config.out)) as folder:
        raw = folder / "raw.npy"
        encoded = encode_pictures(pictures, table.images, usable, encoder, raw, config.batch_size, bad, progress)
        rows = _split_rows(config, table, encoded)
        dim = encoded.features.shape[2]
        projection = fit_projection(encoded.features, rows["train"], config.pca) if 0 < config.pca < dim else None
        scale = fit_scale(encoded.features, rows["train"], projection) if config.int8 else None
        counts = {s: _write_split(folder, s, rows[s], encoded, table, projection, scale) for s in SPLITS}
        if scale is not None:
            with new_array(folder / "regions_scale.npy", scale.shape, "<f4") as array:
                array[:] = scale
        raw.unlink()
        explained = None if projection is None else projection.explained
        write_json(
            folder / "extract.json", {**asdict(config), "explained_variance": explained, "skipped": bad.messages}
        )
        write_manifest(folder)
    return Extracted(
        out=Path(config.out),
        images={split: len(members) for split, members in rows.items()},
        captions=counts,
        regions=(encoded.features.shape[1], dim if projection is None else config.pca),
        explained=explained,
        skipped=bad.messages,
    )
