"""`pcsr-fast doctor` reports and never raises."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from pcsr_fast import backends, doctor
from pcsr_fast.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_report_covers_every_section_and_is_json() -> None:
    report = doctor.report()
    assert json.loads(json.dumps(report)) == report
    assert list(report) == list(doctor.SECTIONS)
    assert not [title for title, rows in report.items() if "error" in rows], report
    assert report["versions"]["pcsr-fast"].startswith(__version__)
    assert report["versions"]["torch"] != "not installed"


def test_every_backend_has_a_row_and_says_what_it_lacks() -> None:
    rows = doctor.report()["backends"]
    assert set(backends.ORDER) < set(rows)
    ops = len(backends.registered_ops())
    assert rows["reference"] == f"{ops} of {ops} ops, ready"
    for name in backends.ORDER:
        assert "ready" in rows[name] or "lacks" in rows[name]


def test_wrong_setting_becomes_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PCSR_FAST_BACKEND", "warp")
    rows = doctor.report()["backends"]
    assert list(rows) == ["error"]
    assert "PCSR_FAST_BACKEND: got 'warp'" in rows["error"]


def test_variables_in_effect_are_listed_and_unknown_ones_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    monkeypatch.setenv("PCSR_FAST_BACKEMD", "torch")
    rows = doctor.report()["environment"]
    assert rows["PCSR_FAST_DISABLE"].startswith("1 (")
    assert "typo" in rows["PCSR_FAST_BACKEMD"]


def test_table_shows_every_value_with_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.SECTIONS, "extras", lambda: {"extract": "lacks x (pip install pcsr-fast[extract])"})
    stream = io.StringIO()
    doctor.show(Console(file=stream, width=200))
    assert "pip install pcsr-fast[extract]" in stream.getvalue()
    for title in doctor.SECTIONS:
        assert title in stream.getvalue()


def test_every_variable_that_the_sources_read_is_known_here_and_in_the_readme() -> None:
    patterns = ("setup.py", "pcsr_fast/**/*.py", "csrc/**/*.*", "kernels/**/*.py")
    text = "".join(path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern))
    read = set(re.findall(r"""["'](PCSR_[A-Z_]+)["']""", text))
    known = {name for name in doctor.VARIABLES if name.startswith("PCSR_")}
    assert read == known
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in known if name not in readme]
