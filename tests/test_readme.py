"""The README shows what the committed results say, and names what exists."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.readme import update
from pcsr_fast.cli import COMMANDS

README = Path(__file__).resolve().parent.parent / "README.md"


def test_tables_are_those_of_the_committed_results() -> None:
    assert not update(check=True)


def test_every_command_is_described() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"pcsr-fast {name}" not in text] == []


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
