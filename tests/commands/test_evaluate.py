"""`pcsr-fast evaluate` repeats the numbers of a run, and refuses what is no run or another one's."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcsr_fast.cli import main
from pcsr_fast.training.observers import PassBar
from pcsr_fast.training.trainer import BEST, LAST, Trainer
from tests.training.tools import run


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the data and a run on it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny / "precomp", folder / "precomp")
    run(folder, folder / "run", "--train.epochs", "1")
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be changed, where the run finds the changed data."""
    for name in ("precomp", "run"):
        shutil.copytree(trained / name, tmp_path / name)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(folder: Path, split: str) -> Any:
    return json.loads((folder / "run" / "metrics.json").read_text())[split]


@pytest.mark.parametrize("split", ["test", "dev"])
def test_the_numbers_of_the_run(split: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()}
    assert main(["evaluate", "run", "--split", split, "--output", "out/m.json"]) == 0
    expected = recorded(here, split)
    assert json.loads((here / "out" / "m.json").read_text()) == expected
    text = capsys.readouterr().out
    assert f"{split}, best checkpoint of run" in " ".join(text.split())
    assert f"{expected['ensemble']['rsum']:.1f}" in text
    assert {path: path.read_bytes() for path in (here / "run").rglob("*") if path.is_file()} == before


def test_folds(here: Path) -> None:
    """Fewer rivals make every rank better."""
    assert main(["evaluate", "run", "--folds", "5", "--output", "m.json"]) == 0
    assert json.loads((here / "m.json").read_text())["ensemble"]["rsum"] > recorded(here, "test")["ensemble"]["rsum"]


def test_another_test_split(here: Path) -> None:
    for path in (here / "precomp").glob("dev_*"):
        shutil.copy(path, path.with_name(path.name.replace("dev_", "testall_")))
    (here / "precomp" / "testall_caps.txt").write_text("a t1w1 the t2w2\n" * 50)
    assert main(["evaluate", "run", "--test_split", "testall"]) == 0


def test_a_run_that_was_moved_and_trained_on_a_gpu(here: Path) -> None:
    config = here / "run" / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    (here / "run").rename(here / "elsewhere")
    assert main(["evaluate", "elsewhere", "--device", "cpu", "--output", "m.json"]) == 0
    metrics = json.loads((here / "elsewhere" / "metrics.json").read_text())
    assert json.loads((here / "m.json").read_text()) == metrics["test"]


@pytest.mark.parametrize("head", ["scan", "sgr", "sgraf"])
def test_a_head_scores_pair_by_pair_and_says_how_far_it_is(
    head: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr alone; here every block gets its line."""
    sizes = "--model.embed_dim 8 --model.sim_dim 6 --warmup.epochs 0 --train.epochs 1 --train.eval_batch_size 7"
    words = ("--model.head", head, "--method", "triplet", *sizes.split())
    metrics = run(tiny, tmp_path / "run", *words)
    capsys.readouterr()
    outputs = []
    for silence in (30.0, 0.0):
        monkeypatch.setattr(PassBar, "SILENCE", silence)
        assert main(["evaluate", str(tmp_path / "run"), "--output", str(tmp_path / "m.json")]) == 0
        outputs.append(capsys.readouterr())
    assert json.loads((tmp_path / "m.json").read_text()) == metrics["test"]
    assert outputs[0].err == ""
    assert outputs[0].out == outputs[1].out
    assert "%" not in outputs[1].out
    lines = outputs[1].err.splitlines()
    blocks = 2 * 8  # 10 pictures and 50 captions by 7
    for net in (0, 1):
        mine = lines[net * blocks : (net + 1) * blocks]
        shares = [
            int(re.fullmatch(rf"test scores, net {net}: (\d+) % of 500 pairs after .* left", one)[1]) for one in mine
        ]
        assert shares == sorted(shares)
        assert shares[-1] == 100
    assert len(lines) == 2 * blocks


def captions(folder: Path) -> None:
    path = folder / "precomp" / "train_caps.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")


BAD: dict[str, tuple[str, Callable[[Path], Any] | None, str]] = {
    "no run": ("", None, "command line: lacks run; see --help"),
    "no folder": ("none", None, "none/config.yaml: no such file; expected the folder of a training run"),
    "no run in the folder": (
        "precomp",
        None,
        "precomp/config.yaml: no such file; expected the folder of a training run",
    ),
    "two runs": ("run other", None, "command line: got 'other', expected options, --key value"),
    "unknown option": ("run --fold 5", None, "command line: unknown key fold; did you mean folds?"),
    "no folds": ("run --folds 0", None, "--folds: got 0, expected 1 to 10, the pictures of test"),
    "too many folds": ("run --folds 11", None, "--folds: got 11, expected 1 to 10, the pictures of test"),
    "folds of text": ("run --folds few", None, "folds: got 'few', expected int"),
    "unknown split": ("run --split train", None, "split: got 'train', expected one of 'dev', 'test'"),
    "no such test split": (
        "run --test_split testall",
        None,
        "holds no captions of split testall; expected testall_caps.txt",
    ),
    "output below a file": ("run --output precomp/vocab.json/m", None, "vocab.json: cannot write here (File exists)"),
    "no best weights": ("run", lambda f: (f / "run" / BEST).unlink(), "best.safetensors: no such file; expected"),
    "cut weights": (
        "run",
        lambda f: os.truncate(f / "run" / BEST, 999),
        "best.safetensors: cannot be read as safetens",
    ),
    "other captions": ("run", captions, "best.safetensors: was trained on other data, words of the captions"),
    "no data": ("run", lambda f: shutil.rmtree(f / "precomp"), "precomp: no such folder; expected a data set"),
    "broken configuration": ("run", lambda f: (f / "run" / "config.yaml").write_text("a: b: c"), "line 1 is no YAML"),
    "unknown key": ("run", lambda f: (f / "run" / "config.yaml").write_text("trian: 1"), "unknown key trian; did you"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, damage, message = BAD[name]
    if damage is not None:
        damage(here)
    assert main(["evaluate", *more.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_last_weights_in_place_of_the_best(here: Path) -> None:
    """A user may want to evaluate the last epoch: copying the file is enough."""
    shutil.copy(here / "run" / LAST, here / "run" / BEST)
    assert main(["evaluate", "run", "--split", "dev", "--output", "m.json"]) == 0
    last = json.loads((here / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert json.loads((here / "m.json").read_text()) == last["dev"]


def test_it_does_not_train(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_iteration", None)
    assert main(["evaluate", "run"]) == 0
