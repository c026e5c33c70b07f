"""`python -m benchmarks report` puts the tables into the README; `--check` fails if they are out of date."""

from __future__ import annotations

import sys

from benchmarks.readme import update


def main(words: list[str]) -> int:
    """Run the command; returns the exit code."""
    if not words or words[0] != "report" or words[1:] not in ([], ["--check"]):
        print("usage: python -m benchmarks report [--check]", file=sys.stderr)
        return 2
    changed = update(check="--check" in words)
    if changed and "--check" in words:
        print(
            "error: README.md: tables differ from benchmarks/results; expected `python -m benchmarks report` to be run"
        )
        return 1
    return 0


sys.exit(main(sys.argv[1:]))
