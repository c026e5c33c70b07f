"""`pcsr-fast doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from pcsr_fast.doctor import show
from pcsr_fast.errors import ConfigError


def main(argv: Sequence[str]) -> None:
    """Print the report."""
    if argv and argv[0] in ("-h", "--help"):
        print("usage: pcsr-fast doctor\n\nVersions, machine, backends and what each lacks.")
        return
    if argv:
        raise ConfigError(f"doctor: got {argv[0]!r}, expected no options")
    show()
