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


def anchors(document: Path) -> set[str]:
    """Names of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_linked_files_and_headings_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    missing = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = README.parent / path if path else README
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []
