from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcsr_fast.data.pictures import assign_splits, check_picture, read_caption_table, read_picture, thumbnail
from pcsr_fast.errors import ConfigError, DataError


def _table(folder: Path, text: str) -> Path:
    (folder / "captions.csv").write_text(text, encoding="utf-8")
    return folder / "captions.csv"


def test_captions_of_a_picture_are_gathered_in_order(tmp_path: Path) -> None:
    text = '\ufeffcaption,image\n"a cat, asleep",b.png\na  dog ,a.png\n"two\nlines",b.png\n'
    table = read_caption_table(_table(tmp_path, text))
    assert table.images == ["b.png", "a.png"]
    assert table.captions == [["a cat, asleep", "two lines"], ["a dog"]]
    assert table.splits is None


def test_given_splits_are_kept(tmp_path: Path) -> None:
    table = read_caption_table(_table(tmp_path, "image,caption,split\na,x,test\nb,y,train\na,z,test\n"))
    assert table.splits == ["test", "train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("picture,text\na,b\n", "line 1 has the columns picture,text; expected a CSV with the columns image,caption"),
        ("image,caption\n", "has a header but no row"),
        ("image,caption\na,x\nb,\n", "line 3 has an empty cell"),
        ("image,caption\n,x\n", "line 2 has an empty cell"),
        ("image,caption\na\n", "line 2 has an empty cell"),
        ("image,caption,split\na,x,val\n", "line 2 has split 'val'; expected train, dev or test"),
        ("image,caption,split\na,x,train\na,y,dev\n", "line 3 puts a in a second split"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=r"captions\.csv") as caught:
        read_caption_table(_table(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_splits_are_seeded_and_of_the_asked_share() -> None:
    splits = assign_splits(100, 0.1, 0.2, seed=1)
    assert [splits.count(name) for name in ("train", "dev", "test")] == [70, 10, 20]
    assert splits == assign_splits(100, 0.1, 0.2, seed=1) != assign_splits(100, 0.1, 0.2, seed=2)
    assert sorted(assign_splits(3, 0.01, 0.01, seed=0)) == ["dev", "test", "train"]


def test_impossible_splits() -> None:
    with pytest.raises(DataError, match="2 usable picture"):
        assign_splits(2, 0.1, 0.1, 0)
    with pytest.raises(ConfigError, match="sum below 1"):
        assign_splits(10, 0.5, 0.5, 0)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int) -> bytes:
    """A small PNG that claims a size."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(99))) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "cannot be opened; expected a picture that Pillow can read", id="empty"),
        pytest.param(b"GIF? no", "cannot be opened", id="text"),
        pytest.param(_png(1, 1)[:30], "cannot be opened", id="header-only"),
        pytest.param(_png(12000, 9000), "has 108 megapixels; expected at most 100", id="large"),
        pytest.param(_png(60000, 60000), "has more than 178 megapixels; expected at most 100", id="bomb"),
    ],
)
def test_pictures_refused_before_decoding(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(DataError, match=r"p\.png") as caught:
        check_picture(tmp_path, "p.png", max_megapixels=100)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname"])
def test_pictures_outside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="expected a path inside that folder"):
        check_picture(tmp_path, name, 100)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p\.png: no such file"):
        check_picture(tmp_path, "p.png", 100)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_truncated_picture(tmp_path: Path, kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(stream, kind)
    (tmp_path / "p").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    with pytest.raises(DataError, match=r"is damaged .*; expected a picture"):
        read_picture(tmp_path, "p")


def test_transparency_becomes_white_and_every_mode_rgb(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    assert read_picture(tmp_path, "clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert read_picture(tmp_path, "grey.png").getpixel((0, 0)) == (7, 7, 7)


def test_camera_rotation_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 2)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path, "turned.jpg").size == (2, 8)


def test_thumbnail_shows_the_whole_picture_on_white() -> None:
    small = Image.open(io.BytesIO(thumbnail(Image.new("RGB", (200, 100), "black"))))
    assert (small.format, small.size) == ("WEBP", (64, 64))
    assert min(small.convert("RGB").getpixel((32, 2))) > 240
    assert max(small.convert("RGB").getpixel((2, 32))) < 15
