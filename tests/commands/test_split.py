"""`pcsr-fast split` finds planted mismatches, and refuses what is no embedding."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.cli import main

COUNT = 60


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Embeddings of which the captions of every fifth pair are another's; two pairs share each picture."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.standard_normal((COUNT // 2, 256)), 2, axis=0)
    texts = images + 0.2 * rng.standard_normal(images.shape)
    texts[::5] = np.roll(texts[::5], 1, axis=0)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", texts.astype(np.float16))
    np.save(tmp_path / "g.npy", np.arange(COUNT) // 2)
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    given = ["--images", str(folder / "x.npy"), "--texts", str(folder / "y.npy"), "--output", str(folder / "s.csv")]
    return ["split", *given, *more]


def rows(folder: Path) -> list[dict[str, Any]]:
    with (folder / "s.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("size", ["0", "20", "1024"])
def test_finds_the_planted_mismatches(size: str, planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(planted, "--groups", str(planted / "g.npy"), "--batch_size", size)) == 0
    found = rows(planted)
    assert {int(row["pair"]) for row in found} == set(range(0, COUNT, 5))
    chances = [float(row["p_clean"]) for row in found]
    assert chances == sorted(chances)
    assert all(0 <= float(row["loss"]) <= 1 for row in found)
    assert capsys.readouterr().out == f"12 of {COUNT} pairs look wrong; {planted / 's.csv'}\n"


def test_the_seed_decides_the_batches(planted: Path) -> None:
    outcomes = []
    for seed in ("1", "1", "2"):
        assert main(words(planted, "--batch_size", "8", "--seed", seed)) == 0
        outcomes.append((planted / "s.csv").read_bytes())
    assert outcomes[0] == outcomes[1] != outcomes[2]


def test_lengths_do_not_matter(planted: Path) -> None:
    assert main(words(planted)) == 0
    before = rows(planted)
    np.save(planted / "x.npy", 7 * np.load(planted / "x.npy"))
    assert main(words(planted)) == 0
    assert [row["pair"] for row in rows(planted)] == [row["pair"] for row in before]


def test_options_of_the_mixture(planted: Path) -> None:
    assert main(words(planted, "--split.mixture", "beta", "--split.monotone", "clip")) == 0
    assert {int(row["pair"]) for row in rows(planted)} >= set(range(0, COUNT, 5))


def nan(folder: Path) -> None:
    values = np.load(folder / "x.npy")
    values[7, 3] = np.nan
    np.save(folder / "x.npy", values)


def large(folder: Path) -> None:
    values = np.load(folder / "x.npy")
    values[7, 3] = 1e300
    np.save(folder / "x.npy", values)


def save(name: str, values: Any) -> Any:
    return lambda folder: np.save(folder / name, values, allow_pickle=True)


BAD = {
    "no words": ("", None, "command line: lacks images, texts; see --help"),
    "no file": ("--images none.npy", None, "none.npy: no such file; expected a float array (N, D)"),
    "unknown option": ("--image x.npy", None, "command line: unknown key image; did you mean images?"),
    "unknown key": ("--split.p_treshold 0.1", None, "unknown key split.p_treshold; did you mean split.p_threshold"),
    "a key of training": ("--train.lr 1", None, "unknown key train.lr; see --help for all keys"),
    "shapes apart": ("", save("y.npy", np.ones((COUNT, 9))), "y.npy: shape (60, 9), expected that of"),
    "a single pair": (
        "",
        lambda f: (save("x.npy", np.ones((1, 4)))(f), save("y.npy", np.ones((1, 4)))(f)),
        "has 1 rows",
    ),
    "integers": (
        "",
        save("x.npy", np.ones((COUNT, 256), int)),
        "x.npy: has dtype int64; expected a float array (N, D)",
    ),
    "three dimensions": (
        "",
        save("x.npy", np.ones((COUNT, 4, 4))),
        "x.npy: has shape (60, 4, 4); expected a float array",
    ),
    "pickled": ("", save("x.npy", np.array([None])), "x.npy: holds pickled Python objects, which are never loaded"),
    "NaN": ("", nan, "x.npy: row 7, dimension 3 is nan; expected finite float32 values"),
    "too large for float32": ("", large, "x.npy: row 7, dimension 3 is 1e+300; expected finite float32 values"),
    "groups too short": (
        "--groups g.npy",
        save("g.npy", np.arange(9)),
        "g.npy: has 9 entries, expected 60, one a pair",
    ),
    "groups of numbers": (
        "--groups g.npy",
        save("g.npy", np.ones(COUNT)),
        "g.npy: has dtype float64; expected an integer",
    ),
    "batch of one": ("--batch_size 1", None, "--batch_size: got 1, expected 0 or at least 2"),
    "negative margin": ("--margin -1", None, "--margin: got -1.0, expected a number >= 0"),
    "negative seed": ("--seed -1", None, "--seed: got -1, expected an integer >= 0"),
    "threshold above one": (
        "--split.p_threshold 2",
        None,
        "--split.p_threshold: got 2.0, expected a number from 0 to 1",
    ),
    "share below zero": (
        "--split.min_noisy_frac -1",
        None,
        "--split.min_noisy_frac: got -1.0, expected a number from 0",
    ),
    "unknown mixture": ("--split.mixture t", None, "split.mixture: got 't', expected one of 'gaussian', 'beta'"),
    "output below a file": (
        "--output x.npy/s.csv",
        None,
        "x.npy: cannot write here (File exists); expected a writable",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(
    name: str, planted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more, damage, message = BAD[name]
    monkeypatch.chdir(planted)
    if damage is not None:
        damage(planted)
    assert main(["split"] if name == "no words" else words(planted, *more.split())) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (planted / "s.csv").exists()
