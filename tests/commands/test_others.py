"""`pcsr-fast doctor`, `compare` and `train` from the command line: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pcsr_fast.cli import main
from pcsr_fast.commands import compare as command
from pcsr_fast.training.compare import Plan
from tests.training.tools import words


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("pcsr-fast", "torch", "reference", "ready"))


def test_doctor_takes_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--all"]) == 2
    assert capsys.readouterr().err == "error: doctor: got '--all', expected no options\n"


def test_train_ends_with_table_and_report(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = words(tiny, tmp_path / "run", "--train.epochs", "1", "--apo.refinable.start_epoch", "0")
    assert main(["train", *argv]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.endswith(f"report: {tmp_path / 'run' / 'report.html'}\n")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for scores in (*metrics["test"]["nets"], metrics["test"]["ensemble"]):
        assert f"{scores['rsum']:.1f}" in captured.out
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    assert f"{metrics['test']['ensemble']['rsum']:.1f}" in page


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Plans that were asked for; nothing is run."""
    asked: list[Plan] = []
    monkeypatch.setattr(command, "compare", lambda plan, console: asked.append(plan))
    return asked


def test_compare_hands_on_what_is_not_its_own(plans: list[Plan]) -> None:
    argv = ["--methods", "pcsr,oracle", "--train.lr=0.1", "--seeds=0, 2", "--output", "o", "--ratios", "0.2,0.4"]
    assert main(["compare", *argv, "--jobs", "2", "--method", "pcsr"]) == 0
    shared = ["--train.lr=0.1", "--output", "o", "--method", "pcsr"]
    expected: dict[str, Any] = {"methods": ["pcsr", "oracle"], "ratios": [0.2, 0.4], "seeds": [0, 2], "jobs": 2}
    assert plans == [Plan(**expected, words=shared, output=Path("o"))]


def test_compare_has_defaults(plans: list[Plan]) -> None:
    assert main(["compare"]) == 0
    assert (plans[0].methods, plans[0].ratios, plans[0].seeds) == (["triplet", "pcsr", "oracle"], [0.4], [0])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--seeds 0.5", "--seeds: got '0.5', expected integers >= 0 with commas between"),
        ("--seeds=-1", "--seeds: got '-1', expected integers >= 0"),
        ("--seeds nan", "--seeds: got 'nan', expected integers >= 0"),
        ("--seeds 0,", "--seeds: got '0,', expected integers >= 0"),
        ("--ratios high", "--ratios: got 'high', expected numbers with commas between"),
        ("--jobs two", "jobs: got 'two', expected int"),
        ("--seed 0", "command line: unknown key seed; did you mean seeds"),
        ("--resume", "command line: unknown key resume"),
        ("--train.lr 0", "train.lr: got 0.0, expected a number > 0"),
        ("--config none", "none: no such configuration; expected one of"),
    ],
)
def test_compare_refuses(argv: str, message: str, plans: list[Plan], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *argv.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: " + message)
    assert error.count("\n") == 1
    assert plans == []
