"""The command line itself: help, unknown commands, exit codes, and a start that does not import what it does not need."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pcsr_fast import cli
from pcsr_fast.errors import BackendError, CheckpointError, ConfigError, DataError, UserError
from pcsr_fast.version import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: pcsr-fast COMMAND [options]")
    for name, meaning in cli.COMMANDS.items():
        assert f"  {name} " in text
        assert meaning in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"pcsr-fast {__version__}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main([name, "--help"])
    except SystemExit as ended:  # argparse's own way
        code = ended.code  # type: ignore[assignment]
    assert code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: pcsr-fast {name}")
    assert callable(importlib.import_module(f"pcsr_fast.commands.{name}").main)


@pytest.mark.parametrize("word", ["trian", "--trace", "os", "__init__", "options", "train.x"])
def test_unknown_command(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {word}: unknown command; expected one of {', '.join(cli.COMMANDS)}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("a: b\n  c;\texpected d"), 2, "error: a: b c; expected d\n"),
        (ConfigError("a"), 2, "error: a\n"),
        (DataError("a"), 2, "error: a\n"),
        (CheckpointError("a"), 2, "error: a\n"),
        (BackendError("a"), 2, "error: a\n"),
        (KeyboardInterrupt("stopped and saved"), 130, "stopped and saved\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: Sequence[str]) -> None:
        assert argv == ["-x"]
        raise error

    monkeypatch.setattr("pcsr_fast.commands.doctor.main", fail)
    assert cli.main(["doctor", "-x"]) == code
    assert capsys.readouterr().err == text


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(argv: Sequence[str]) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("pcsr_fast.commands.doctor.main", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from pcsr_fast.cli import main; main([]); main(['--version']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["trian"], 2)])
def test_as_a_module(words: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pcsr_fast", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
