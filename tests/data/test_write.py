from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.data.load import DataConfig, data_folder, load_dataset
from pcsr_fast.data.manifest import verify_manifest
from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.write import write_manifest, write_precomp, write_thumbnails
from pcsr_fast.errors import ConfigError, DataError, UserError

Same = Callable[[PairSet, PairSet], None]


def test_export_of_the_demo_set_loads_as_the_same_pairs(demo: Dataset, tmp_path: Path, same_pairs: Same) -> None:
    rows = np.arange(40)
    few = replace(demo, train=demo.train.subset_images(np.arange(200)), dev=demo.dev.subset_images(rows))
    write_precomp(few, tmp_path)
    assert np.load(tmp_path / "train_ims.npy", mmap_mode="r").shape == (few.train.num_captions, 36, 64)
    loaded = load_dataset(DataConfig(path=str(tmp_path), vocab=str(tmp_path / "vocab.json")))
    same_pairs(loaded.train, few.train)
    same_pairs(loaded.dev, few.dev)
    same_pairs(loaded.test, demo.test)
    assert loaded.test.image_names == demo.test.image_names
    assert loaded.vocabulary.word2idx == demo.vocabulary.word2idx


def test_export_without_usable_names_numbers_the_pictures(five: Dataset, tmp_path: Path, same_pairs: Same) -> None:
    kept = np.delete(np.arange(50), [3, 17])
    dev = replace(
        five.dev,
        captions=[five.dev.captions[j] for j in kept],
        tokens=[five.dev.tokens[j] for j in kept],
        image_of_caption=five.dev.image_of_caption[kept],
        image_names=["same"] * 10,
    )
    write_precomp(replace(five, dev=dev), tmp_path)
    loaded = load_dataset(DataConfig(path=str(tmp_path), min_word_count=1, vocab=str(tmp_path / "vocab.json"))).dev
    same_pairs(loaded, dev)
    assert loaded.image_names == [str(row) for row in range(10)]


def test_regular_splits_are_not_repeated(five: Dataset, single: Dataset, tmp_path: Path) -> None:
    write_precomp(five, tmp_path / "five")
    write_precomp(single, tmp_path / "single")
    assert len(np.load(tmp_path / "five" / "dev_ims.npy")) == 10
    assert len(np.load(tmp_path / "single" / "train_ims.npy")) == 15


@pytest.mark.parametrize("style", ["cc152k", "now"])
def test_one_caption_layouts_refuse_more(five: Dataset, tmp_path: Path, style: str) -> None:
    with pytest.raises(ConfigError, match="60 captions for 12 pictures; expected one each"):
        write_precomp(five, tmp_path, style=style)


def test_unknown_style(five: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="style: 'hdf5'; expected one of auto, f30k"):
        write_precomp(five, tmp_path, style="hdf5")


def test_unwritable_folder(five: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write here .* expected a writable folder"):
        write_precomp(five, tmp_path / "file" / "out")


def test_thumbnail_tar_is_reproducible_and_plain(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_thumbnails(tmp_path / folder, "dev", [b"x", b"yy"])
    first, second = (tmp_path / folder / "dev_thumbnails.tar" for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert [(m.name, m.size, m.mtime) for m in archive] == [("00000.webp", 1, 0), ("00001.webp", 2, 0)]


def test_demo_set_matches_its_manifest() -> None:
    names = verify_manifest(data_folder(DataConfig()))
    on_disk = {path.name for path in data_folder(DataConfig()).iterdir()} - {"manifest.json"}
    assert set(names) == on_disk


def test_flipped_bit_is_noticed(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("pairs")
    path = folder / "train_regions.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train_regions\.npy: has SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}$"):
        verify_manifest(folder)


def test_missing_file_is_noticed(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("pairs")
    (folder / "dev_images.txt").unlink()
    with pytest.raises(DataError, match=r"dev_images\.txt: no such file; expected SHA-256"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; expected a manifest"),
        ("{", "cannot be read; expected JSON"),
        ("[]", "cannot be read; expected JSON"),
        (json.dumps({"files": {"a": {}}}), "cannot be read; expected JSON"),
        (json.dumps({"files": {"../a": {"sha256": "0"}}}), "names '../a'; expected plain file names"),
    ],
)
def test_broken_manifest(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError) as caught:
        verify_manifest(tmp_path)
    assert message in str(caught.value)


def test_rewritten_manifest_covers_new_bytes(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("pairs")
    shutil.copy(folder / "dev_images.txt", folder / "extra.txt")
    write_manifest(folder)
    assert "extra.txt" in verify_manifest(folder)
