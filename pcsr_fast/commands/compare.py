"""`pcsr-fast compare`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pcsr_fast.commands.options import integers, numbers
from pcsr_fast.training.compare import Plan, compare
from pcsr_fast.training.parse import parse_config

_EXTRA = {
    "--methods": {"default": "triplet,pcsr,oracle", "help": "methods, with commas between"},
    "--ratios": {"default": "0.4", "help": "noise ratios, with commas between"},
    "--seeds": {"default": "0", "help": "seeds, with commas between"},
    "--jobs": {"type": int, "default": 1, "help": "runs side by side"},
}


def main(argv: Sequence[str]) -> None:
    """Check the shared configuration once, then run every cell; what is finished already is kept."""
    config, options = parse_config(argv, "compare", _EXTRA)
    plan = Plan(
        methods=options.methods.split(","),
        ratios=numbers(options.ratios, "ratios"),
        seeds=integers(options.seeds, "seeds"),
        words=_shared(argv),
        output=Path(config.output),
        jobs=options.jobs,
    )
    # Ended from outside it must take its runs along; they save and stop.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        compare(plan, Console())
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from stop
    finally:
        signal.signal(signal.SIGTERM, before)


def _shared(argv: Sequence[str]) -> list[str]:
    """The words that every run shares: all but this command's own options."""
    words, skip = [], False
    for word in argv:
        name = word.split("=", 1)[0]
        if skip:
            skip = False
        elif name in _EXTRA:
            skip = "=" not in word
        else:
            words.append(word)
    return words
