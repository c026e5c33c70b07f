"""Every way a data set can be broken ends in one line that names the file and what was expected."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.errors import ConfigError, DataError


@dataclass
class Case:
    """A layout, how to break it, and what the message must hold."""

    layout: str
    file: str
    damage: Callable[[Path], Any]
    message: str
    config: dict[str, Any] = field(default_factory=dict)


def _lines(change: Callable[[list[str]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        lines = path.read_text().splitlines()
        change(lines)
        path.write_text("\n".join(lines) + "\n")

    return damage


def _array(change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        values = np.load(path)
        changed = change(values)
        np.save(path, values if changed is None else changed)

    return damage


def _put(index: tuple[int, ...], value: float) -> Callable[[Path], None]:
    return _array(lambda values: values.__setitem__(index, value))


def _replace(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: shutil.copy(path.with_name(old), path.with_name(new))


def _pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _copy_split(path: Path) -> None:
    for source in path.parent.glob("train_*"):
        shutil.copy(source, source.with_name(source.name.replace("train_", "dev_")))


CASES = {
    "regions missing": Case("pairs", "dev_regions.npy", Path.unlink, "no such file; expected float16/float32/int8"),
    "regions empty": Case("pairs", "train_regions.npy", lambda p: p.write_bytes(b""), "the file is empty"),
    "regions truncated": Case("pairs", "train_regions.npy", lambda p: p.write_bytes(p.read_bytes()[:-9]), "truncated"),
    "regions cut inside the header": Case(
        "pairs", "train_regions.npy", lambda p: p.write_bytes(p.read_bytes()[:40]), "header cannot be read"
    ),
    "regions pickled": Case("pairs", "train_regions.npy", _pickled, "pickled Python objects, which are never loaded"),
    "regions are a bare pickle": Case(
        "pairs", "test_regions.npy", lambda p: p.write_bytes(b"\x80\x04K."), "is a pickle"
    ),
    "regions are a zip": Case("pairs", "test_regions.npy", lambda p: p.write_bytes(b"PK\x03\x04..."), "zip archive"),
    "regions are text": Case("pairs", "test_regions.npy", lambda p: p.write_text("1 2 3"), "not a .npy file"),
    "regions of two dimensions": Case("pairs", "dev_regions.npy", _array(lambda a: a[:, 0]), "has shape (10, 6)"),
    "regions without rows": Case("pairs", "dev_regions.npy", _array(lambda a: a[:0]), "so it holds nothing"),
    "regions of int32": Case("pairs", "dev_regions.npy", _array(lambda a: a.astype("i4")), "dtype int32; expected"),
    "regions of strings": Case("pairs", "dev_regions.npy", _array(lambda a: a.astype("U3")), "has dtype <U"),
    "regions of complex": Case("f30k", "dev_ims.npy", _array(lambda a: a.astype("c8")), "has dtype complex64"),
    "regions of another width": Case(
        "pairs", "dev_regions.npy", _array(lambda a: a[:, :, :5]), "regions_scale.npy: has 6 entries; expected 5"
    ),
    "fewer regions a picture": Case(
        "f30k", "test_ims.npy", _array(lambda a: a[:, :3]), "regions of shape (3, 6); expected (4, 6) as in train_ims"
    ),
    "scale missing": Case("pairs", "regions_scale.npy", Path.unlink, "no such file; expected float32 (dimensions,)"),
    "scale of zero": Case(
        "pairs", "regions_scale.npy", _put((2,), 0), "entry 2 is 0.0; expected finite numbers above 0"
    ),
    "scale NaN": Case("pairs", "regions_scale.npy", _put((5,), np.nan), "entry 5 is nan"),
    "feature NaN": Case(
        "f30k", "train_ims.npy", _put((7, 2, 3), np.nan), "row 7, region 2, dimension 3 is nan; expected finite"
    ),
    "feature infinite": Case("f30k", "dev_ims.npy", _put((20, 0, 5), -np.inf), "dev_ims.npy: row 20, region 0"),
    "feature NaN in the last row": Case("cc152k", "test_ims.npy", _put((9, 3, 5), np.nan), "row 9, region 3"),
    "caption table missing": Case("pairs", "train_captions.tsv", Path.unlink, "cannot be read (No such file"),
    "caption table empty": Case("pairs", "train_captions.tsv", lambda p: p.write_text(" \n"), "the file is empty"),
    "caption table without header": Case(
        "pairs", "train_captions.tsv", _lines(lambda ls: ls.pop(0)), "expected the header 'image<tab>caption'"
    ),
    "caption table of a header only": Case(
        "pairs", "dev_captions.tsv", lambda p: p.write_text("image\tcaption\n"), "a header but no caption"
    ),
    "caption row outside": Case(
        "pairs",
        "dev_captions.tsv",
        _lines(lambda ls: ls.append("10\ta cat")),
        "line 52 names picture row '10'; expected 0..9",
    ),
    "caption row negative": Case(
        "pairs", "dev_captions.tsv", _lines(lambda ls: ls.__setitem__(3, "-1\ta cat")), "line 4 names picture row '-1'"
    ),
    "caption row no number": Case(
        "pairs",
        "dev_captions.tsv",
        _lines(lambda ls: ls.__setitem__(1, "one\ta cat")),
        "line 2 names picture row 'one'",
    ),
    "caption without tab": Case(
        "pairs",
        "dev_captions.tsv",
        _lines(lambda ls: ls.__setitem__(2, "0 a cat")),
        "line 3 is '0 a cat'; expected picture",
    ),
    "caption of spaces": Case(
        "pairs",
        "dev_captions.tsv",
        _lines(lambda ls: ls.__setitem__(2, "0\t   ")),
        "line 3 is '0'; expected picture row",
    ),
    "empty line between captions": Case(
        "pairs", "test_captions.tsv", _lines(lambda ls: ls.insert(5, "")), "line 6 is empty"
    ),
    "captions not UTF-8": Case(
        "pairs", "train_captions.tsv", lambda p: p.write_bytes(p.read_bytes() + b"0\tcaf\xe9\n"), "is not UTF-8"
    ),
    "picture without caption": Case(
        "pairs",
        "test_captions.tsv",
        _lines(lambda ls: ls.__delitem__(slice(16, 21))),
        "picture row 3 has no caption; expected at least one for each of 10",
    ),
    "one name too few": Case(
        "pairs", "train_images.txt", _lines(lambda ls: ls.pop()), "has 11 lines; expected 12, one a picture"
    ),
    "thumbnails no tar": Case(
        "pairs", "train_thumbnails.tar", lambda p: p.write_bytes(b"no tar" * 200), "expected an uncompressed tar"
    ),
    "thumbnails of another split": Case(
        "pairs", "train_thumbnails.tar", _replace("dev_thumbnails.tar", "train_thumbnails.tar"), "holds no 00010.webp"
    ),
    "dev is a copy of train": Case(
        "f30k", "dev_ims.npy", _copy_split, "dev_ims.npy: holds the same pairs as train_ims"
    ),
    "dev shares a picture": Case(
        "pairs",
        "dev_images.txt",
        _lines(lambda ls: ls.__setitem__(0, "train/000004")),
        "'train/000004' is also in train",
    ),
    "precomp captions missing": Case(
        "f30k", "train_caps.txt", Path.unlink, "holds no captions of split train; expected train_caps.txt or"
    ),
    "precomp one caption too few": Case(
        "f30k",
        "train_caps.txt",
        _lines(lambda ls: ls.pop()),
        "59 captions for 12 picture rows in train_ims.npy; expected 12 or 60",
    ),
    "precomp empty caption": Case(
        "f30k", "test_caps.txt", _lines(lambda ls: ls.__setitem__(8, "  ")), "line 9 is empty"
    ),
    "precomp wrong im_div": Case(
        "f30k",
        "train_caps.txt",
        lambda p: None,
        "60 captions for 12 picture rows in train_ims.npy; expected 24",
        {"im_div": 2},
    ),
    "precomp ids of another length": Case(
        "f30k", "train_ids.txt", lambda p: None, "has 12 lines; expected one picture id a row", {"image_ids": True}
    ),
    "precomp ids of differing rows": Case(
        "cc152k",
        "train_ids.txt",
        lambda p: p.write_text("same\n" * 15),
        "rows of one id differ in train_ims.npy",
        {"image_ids": True},
    ),
    "precomp int8 regions": Case(
        "f30k", "train_ims.npy", _array(lambda a: a.astype(np.int8)), "dtype int8; expected float"
    ),
    "tsv of one column": Case(
        "cc152k",
        "train_caps.tsv",
        _lines(lambda ls: ls.__setitem__(4, "no tab here")),
        "line 5 has 1 column(s); expected lines of id",
    ),
    "tsv empty caption": Case(
        "cc152k", "dev_caps.tsv", _lines(lambda ls: ls.__setitem__(0, "1\t ")), "line 1 is empty"
    ),
    "token file missing": Case(
        "now", "train_caps_jieba.txt", lambda p: None, "cannot be read (No such file", {"captions_suffix": "jieba"}
    ),
    "tokens read as words": Case("now", "train_caps_bpe.txt", lambda p: None, "set data.captions_suffix"),
    "token no number": Case(
        "now",
        "dev_caps_bpe.txt",
        _lines(lambda ls: ls.__setitem__(1, "4,x,6")),
        "line 2 is '4,x,6'",
        {"captions_suffix": "bpe"},
    ),
    "token negative": Case(
        "now",
        "dev_caps_bpe.txt",
        _lines(lambda ls: ls.__setitem__(1, "4,-6")),
        "line 2 is '4,-6'",
        {"captions_suffix": "bpe"},
    ),
    "token beyond 64 bit": Case(
        "now",
        "dev_caps_bpe.txt",
        _lines(lambda ls: ls.__setitem__(1, "9" * 30)),
        "line 2 is '999",
        {"captions_suffix": "bpe"},
    ),
    "tokens of commas only": Case(
        "now",
        "dev_caps_bpe.txt",
        _lines(lambda ls: ls.__setitem__(1, ",,")),
        "line 2 is ',,'",
        {"captions_suffix": "bpe"},
    ),
    "token outside the vocabulary": Case(
        "now",
        "test_caps_bpe.txt",
        _lines(lambda ls: ls.__setitem__(6, "4,5000")),
        "line 7 has token id 5000; expected 0..",
        {"captions_suffix": "bpe", "vocab": "vocab.json"},
    ),
    "vocabulary missing": Case(
        "f30k", "vocab.json", Path.unlink, "cannot be read (No such file", {"vocab": "vocab.json"}
    ),
    "vocabulary of another set": Case(
        "f30k",
        "vocab.json",
        lambda p: p.write_text('{"word2idx": {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3, "zz": 4}, "idx": 5}'),
        "knows under 10 % of the words of",
        {"vocab": "vocab.json"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_broken_data_set(name: str, copy_of: Callable[[str], Path]) -> None:
    case = CASES[name]
    folder = copy_of(case.layout)
    case.damage(folder / case.file)
    config = dict(case.config)
    if "vocab" in config:
        config["vocab"] = str(folder / config["vocab"])
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(path=str(folder), **config))
    message = str(caught.value)
    assert case.message in message
    assert str(folder) in message
    assert "\n" not in message
    assert "expected" in message or "set data." in message


@pytest.mark.parametrize("layout", ["pairs", "f30k", "cc152k"])
def test_the_unbroken_copies_load(layout: str, copy_of: Callable[[str], Path]) -> None:
    assert load_dataset(DataConfig(path=str(copy_of(layout)))).train.num_images in (12, 15)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"name": "coco"}, ConfigError, "data.path: is not set for data set 'coco'"),
        ({"path": "/no/such/folder"}, DataError, "/no/such/folder: no such folder"),
        ({"format": "hdf5"}, ConfigError, "data.format: 'hdf5'; expected one of 'auto', 'pairs', 'precomp'"),
        ({"im_div": 0}, ConfigError, "data.im_div: 0; expected 'auto' or an integer >= 1"),
        ({"im_div": "5"}, ConfigError, "data.im_div: 5"),
        ({"test_split": "val"}, ConfigError, "data.test_split: 'val'"),
        ({"captions_suffix": "word"}, ConfigError, "data.captions_suffix: 'word'"),
        ({"image_ids": "yes"}, ConfigError, "data.image_ids: 'yes'"),
        ({"min_word_count": 0}, ConfigError, "data.min_word_count: 0; expected an integer >= 1"),
        ({"dev_limit": -1}, ConfigError, "data.dev_limit: -1"),
        ({"limit_images": 0}, ConfigError, "data.limit_images: 0; expected an integer >= 1"),
    ],
)
def test_bad_configuration(config: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        load_dataset(DataConfig(**config))
    assert message in str(caught.value)


def test_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither train_regions.npy .* nor train_ims.npy"):
        load_dataset(DataConfig(path=str(tmp_path)))
