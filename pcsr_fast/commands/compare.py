"""`pcsr-fast compare`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pcsr_fast.commands.options import integers, numbers
from pcsr_fast.training.compare import compare, tabulate
from pcsr_fast.training.comparison_file import Comparison, read_comparison
from pcsr_fast.training.comparison_plan import Plan, check_plan
from pcsr_fast.training.parse import config_file, parse_config

_EXTRA: dict[str, dict[str, Any]] = {
    "--methods": {"help": "methods, and variants of the file, with commas between (default: triplet,pcsr,oracle)"},
    "--ratios": {"help": "noise ratios, with commas between (default: 0.4)"},
    "--seeds": {"help": "seeds, with commas between (default: 0)"},
    "--jobs": {"type": int, "help": "runs side by side (default: 1)"},
    "--table": {"action": "store_true", "help": "run nothing, show the table of the runs that are finished"},
}


def main(argv: Sequence[str]) -> None:
    """Check the shared configuration once, then run every cell; what is finished already is kept."""
    config, options = parse_config(argv, "compare", _EXTRA)
    told = Comparison() if options.config is None else read_comparison(config_file(options.config))
    plan = _plan(told, options, _shared(argv), Path(config.output))
    if options.table:
        check_plan(plan)
        tabulate(plan, Console())
        return
    # Ended from outside it must take its runs along; they save and stop.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        compare(plan, Console())
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from stop
    finally:
        signal.signal(signal.SIGTERM, before)


def _plan(told: Comparison, options: Any, words: list[str], output: Path) -> Plan:
    """What the file says where the command line says nothing."""
    methods, variants = told.methods, told.variants
    if options.methods is not None:
        asked = options.methods.split(",")
        variants = [one for one in told.variants if one.name in asked]
        methods = [name for name in asked if name not in {one.name for one in variants}]
    return Plan(
        methods=methods,
        ratios=told.ratios if options.ratios is None else numbers(options.ratios, "ratios"),
        seeds=told.seeds if options.seeds is None else integers(options.seeds, "seeds"),
        words=words,
        output=output,
        jobs=told.jobs if options.jobs is None else options.jobs,
        variants=variants,
        overrides=told.overrides,
    )


def _shared(argv: Sequence[str]) -> list[str]:
    """The words that every run shares: all but this command's own options."""
    words, skip = [], False
    for word in argv:
        name = word.split("=", 1)[0]
        if skip:
            skip = False
        elif name in _EXTRA:
            skip = "=" not in word and "action" not in _EXTRA[name]
        else:
            words.append(word)
    return words
