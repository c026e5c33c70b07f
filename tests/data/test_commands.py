from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pcsr_fast.data.commands import export, extract, info, verify
from pcsr_fast.data.extract import ExtractConfig
from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.errors import ConfigError, DataError


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_info_prints_sizes_vocabulary_and_examples(originals: Path, console: Console) -> None:
    info(DataConfig(name="mine", path=str(originals / "pairs"), min_word_count=1), console)
    text = _text(console)
    assert "mine: pairs layout" in text
    assert "4 x 6" in text
    assert _cells(text, "images") == ["12", "10", "10"]
    assert _cells(text, "unknown words") == ["0.0 %", "0.0 %", "0.0 %"]
    assert "train/000000: " in text


def _cells(text: str, key: str) -> list[str]:
    """The cells of the table row `key`."""
    rows = [[cell.strip() for cell in line.split("\u2502")[1:-1]] for line in text.splitlines()]
    return next(cells[1:] for cells in rows if cells and cells[0] == key)


def test_verify_counts_files_and_pairs(originals: Path, console: Console) -> None:
    verify(DataConfig(path=str(originals / "pairs")), console)
    assert "13 files match their SHA-256; 160 pairs load" in _text(console)


def test_verify_says_that_published_folders_have_no_checksums(originals: Path, console: Console) -> None:
    verify(DataConfig(path=str(originals / "f30k")), console)
    assert "no manifest.json, so no checksums to compare; 160 pairs load" in _text(console)


def test_verify_of_our_layout_needs_its_manifest(copy_of: Callable[[str], Path], console: Console) -> None:
    folder = copy_of("pairs")
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="expected a manifest with the SHA-256 of each file"):
        verify(DataConfig(path=str(folder)), console)


def test_export_writes_a_set_that_loads(originals: Path, tmp_path: Path, console: Console) -> None:
    export(DataConfig(path=str(originals / "pairs")), tmp_path / "out", console=console)
    assert load_dataset(DataConfig(path=str(tmp_path / "out"))).train.num_captions == 60
    assert "wrote" in _text(console)
    assert "note:" not in _text(console)


def test_export_warns_of_the_dev_limit(
    originals: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataConfig, "dev_limit", 49)
    export(DataConfig(path=str(originals / "pairs")), tmp_path / "out", console=console)
    assert "keep the first 49 dev captions" in _text(console)


def test_export_of_an_unknown_format(tmp_path: Path, console: Console) -> None:
    with pytest.raises(ConfigError, match="format: 'hdf5'; expected 'precomp'"):
        export(DataConfig(), tmp_path, format="hdf5", console=console)


def test_extract_reports_what_it_made_and_left_out(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoder(pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.ones((len(pictures), 4, 3), dtype=np.float32)

    monkeypatch.setattr("pcsr_fast.data.extract.efficientnet_lite0", lambda device: encoder)
    for row in range(4):
        Image.new("RGB", (9, 9), (row, row, row)).save(tmp_path / f"{row}.png")
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(f"{row}.png,p {row}\n" for row in range(5)))
    extract(ExtractConfig(str(tmp_path), str(tmp_path / "c.csv"), str(tmp_path / "set"), skip_bad=True), console)
    text = _text(console)
    assert "4 regions x 3 features a picture" in text
    assert "4.png: no such file" in text
    assert f"train on it: pcsr-fast train --data.path {tmp_path / 'set'}" in " ".join(text.split())
