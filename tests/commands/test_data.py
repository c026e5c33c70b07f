"""`pcsr-fast data`: what each action prints and makes, and what it answers to bad input."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.cli import main
from pcsr_fast.data.load import DataConfig, load_dataset


@pytest.fixture
def here(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("precomp", "pairs"):
        shutil.copytree(tiny / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("layout", ["precomp", "pairs"])
def test_info(layout: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", "--path", layout, "--min_word_count", "1"]) == 0
    text = capsys.readouterr().out
    assert f"{layout} layout" in text
    assert "4 x 16" in text
    assert f"folder: {layout}\n" in text


def test_verify(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", "--path", "pairs"]) == 0
    assert capsys.readouterr().out == "pairs: 9 files match their SHA-256; 340 pairs load\n"


def test_export(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", "--out", "new", "--data.path", "pairs", "--data.min_word_count", "1"]) == 0
    assert "new: wrote" in capsys.readouterr().out
    made, own = (load_dataset(DataConfig(path=name, min_word_count=1)) for name in ("new", "pairs"))
    assert made.train.captions == own.train.captions
    assert np.array_equal(made.train.regions.take(np.arange(48)), own.train.regions.take(np.arange(48)))


@pytest.mark.parametrize("words", [["data"], ["data", "-h"], ["data", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: pcsr-fast data ACTION")
    assert all(f"  {name} " in text for name in ("info", "verify", "export", "extract"))


@pytest.mark.parametrize("action", ["info", "verify", "export", "extract"])
def test_help_of_an_action(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["data", action, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: pcsr-fast data {action}")


BAD: dict[str, tuple[str, Callable[[Path], Any] | None, str]] = {
    "unknown action": ("convert", None, "data: got 'convert', expected one of info, verify, export, extract"),
    "unknown key": ("info --pth pairs", None, "command line: unknown key pth; did you mean path?"),
    "a key of training": ("info --data.path pairs", None, "command line: unknown key data.path; did you mean path"),
    "stray word": ("info pairs", None, "command line: got 'pairs', expected options, --key value"),
    "no folder": ("info --path none", None, "none: no such folder; expected a data set in the pairs or precomp layout"),
    "no set of that name": (
        "info --name coco",
        None,
        "data.path: is not set for data set 'coco'; expected a folder, or",
    ),
    "wrong type": ("info --min_word_count few", None, "min_word_count: got 'few', expected int"),
    "out of range": ("info --min_word_count 0", None, "data.min_word_count: 0; expected an integer >= 1"),
    "broken file": (
        "info --path pairs",
        lambda f: os.truncate(f / "pairs" / "dev_regions.npy", 99),
        "pairs/dev_regions.npy: its .npy header cannot be read; expected float16/float32/int8 features",
    ),
    "changed file": (
        "verify --path pairs",
        lambda f: (f / "pairs" / "dev_images.txt").write_text("x\n"),
        "pairs/dev_images.txt: has SHA-256",
    ),
    "no manifest": (
        "verify --path pairs",
        lambda f: (f / "pairs" / "manifest.json").unlink(),
        "manifest.json: no such",
    ),
    "no place": ("export --data.path pairs", None, "command line: lacks out; see --help"),
    "place below a file": (
        "export --out precomp/vocab.json/x --data.path pairs",
        None,
        "cannot write here (Not a direc",
    ),
    "unknown format": ("export --out new --format hdf5", None, "format: 'hdf5'; expected 'precomp'"),
    "nothing to extract": ("extract", None, "command line: lacks captions, out, folder; see --help"),
    "no pictures": ("extract none --captions c.csv --out new", None, "none: no such folder; expected"),
    "no captions": (
        "extract pairs --captions c.csv --out new",
        None,
        "c.csv: cannot be read (No such file or directory)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, damage, message = BAD[name]
    if damage is not None:
        damage(here)
    assert main(["data", *more.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (here / "new").exists()
