"""Commands that keep the committed results and the README's tables.

report [--check]        put the tables into the README; --check only says whether they are up to date
comparison FOLDER NAME  keep a finished `pcsr-fast compare` as benchmarks/results/NAME.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.comparison import collect
from benchmarks.readme import update
from pcsr_fast.errors import UserError


def main(words: list[str]) -> int:
    """Run a command; returns the exit code."""
    try:
        match words:
            case ["report"]:
                update()
            case ["report", "--check"]:
                if update(check=True):
                    raise UserError(
                        "README.md: tables differ from benchmarks/results; run `python -m benchmarks report`"
                    )
            case ["comparison", folder, name]:
                print(collect(Path(folder), name))
            case _:
                print(f"usage: python -m benchmarks COMMAND\n\n{__doc__}", file=sys.stderr)
                return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


sys.exit(main(sys.argv[1:]))
