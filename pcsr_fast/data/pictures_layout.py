"""Reading raw pictures with their captions: data.format pictures.

A folder holds
    captions.csv    image,caption[,split]: a line a caption; image is a path inside the folder, split train, dev or test
    the pictures    anything that Pillow reads
It is what `pcsr-fast data extract` reads; without the column `split` the same pictures fall into the same splits there.

A folder in the pairs layout will do too, where it has thumbnails: these are the pictures then.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pcsr_fast.data.pairs import Thumbnails
from pcsr_fast.data.pairs_layout import read_captions
from pcsr_fast.data.pictures import LARGEST, SPLITS, assign_splits, check_picture, read_caption_table
from pcsr_fast.data.pixels import PictureFolder, Pictures, PictureTar, PictureThumbnails
from pcsr_fast.data.raw import RawSplit, check_every_image_captioned, read_lines
from pcsr_fast.errors import DataError

CAPTIONS = "captions.csv"
_SHARE, _SEED = 0.1, 0


def read_picture_splits(folder: Path, check: bool) -> list[RawSplit]:
    """Train, dev and test of a folder in this layout; `check` reads the header of every picture.

    Raises:
        DataError: a bad table, a split without a picture, or the first picture that cannot be used.
    """
    if (folder / CAPTIONS).exists() or not (folder / "train_thumbnails.tar").exists():
        return _splits_of_table(folder, check)
    return [_split_of_tar(folder, split) for split in SPLITS]


def _splits_of_table(folder: Path, check: bool) -> list[RawSplit]:
    path = folder / CAPTIONS
    table = read_caption_table(path)
    splits = np.array(table.splits or assign_splits(len(table.images), _SHARE, _SHARE, _SEED))
    if check:
        for name in table.images:
            check_picture(folder, name, LARGEST)
    source, found = PictureFolder(folder, table.images), []
    for split in SPLITS:
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            raise DataError(f"{path}: split {split} has no picture; expected at least one")
        pictures = Pictures(source, rows)
        found.append(
            RawSplit(
                name=split,
                regions_file=folder,
                captions_file=path,
                regions=pictures,
                captions=[text for row in rows for text in table.captions[row]],
                image_of_caption=np.repeat(np.arange(len(rows)), [len(table.captions[row]) for row in rows]),
                image_names=[table.images[row] for row in rows],
                thumbnails=PictureThumbnails(pictures),
            )
        )
    return found


def _split_of_tar(folder: Path, split: str) -> RawSplit:
    path, captions_path = folder / f"{split}_thumbnails.tar", folder / f"{split}_captions.tsv"
    names_path = folder / f"{split}_images.txt"
    names = read_lines(names_path, "a name a picture, as raw pictures are counted by it")
    thumbnails = Thumbnails(path)
    thumbnails.check(len(names))
    captions, image_of_caption = read_captions(captions_path, len(names))
    check_every_image_captioned(captions_path, image_of_caption, len(names))
    return RawSplit(
        name=split,
        regions_file=path,
        captions_file=captions_path,
        regions=Pictures(PictureTar(thumbnails), np.arange(len(names))),
        captions=captions,
        image_of_caption=image_of_caption,
        image_names=names,
        thumbnails=thumbnails,
    )
