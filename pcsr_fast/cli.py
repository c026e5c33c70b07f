"""The command line. Bad input prints one line and exits with 2; a command's module is imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from pcsr_fast.errors import UserError

INTERRUPTED = 130

COMMANDS = {
    "train": "train a retrieval model on pairs of which some are wrong",
    "evaluate": "retrieval metrics of a finished run",
    "export": "the best checkpoint of a run as a folder that from_pretrained reads",
    "compare": "methods x noise ratios x seeds in one table",
    "split": "embeddings in, a list of the pairs that look wrong out",
    "data": "info, verify, export or extract a data set",
    "doctor": "versions, backends and what each lacks",
}


def usage() -> str:
    """The top-level help."""
    rows = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: pcsr-fast COMMAND [options]", "", *rows, "", "pcsr-fast COMMAND --help shows the options."]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 bad input, 130 stopped by Ctrl-C or SIGTERM."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        from pcsr_fast.version import __version__

        print(f"pcsr-fast {__version__}")
        return 0
    try:
        if words[0] not in COMMANDS:
            raise UserError(f"{words[0]}: unknown command; expected one of {', '.join(COMMANDS)}")
        importlib.import_module(f"pcsr_fast.commands.{words[0]}").main(words[1:])
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return INTERRUPTED
    return 0
