"""Tables of the README, from the committed results: what stands between `<!-- table: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.comparison import RESULTS, ROOT
from pcsr_fast.files import write_text
from pcsr_fast.report import comparison_markdown

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def comparison(name: str) -> str:
    """A comparison of methods, with what it was measured on."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    machine = result["machine"]
    where = f"{machine['cpu']}, torch {machine['torch']}, commit {result['commit']}"
    return f"{comparison_markdown(result['rows'])}\n\n{where}; `benchmarks/results/{name}.json`.\n"


def update(*, check: bool = False) -> bool:
    """Rewrite the tables; returns whether anything differed. `check` writes nothing.

    Raises:
        FileNotFoundError: a table names a result that is not there.
    """
    path = ROOT / "README.md"
    before = path.read_text(encoding="utf-8")
    after = _BLOCK.sub(lambda m: f"{m.group(1)}{comparison(m.group(2))}{m.group(3)}", before)
    if after != before and not check:
        write_text(path, after)
    return after != before
