"""`pcsr-fast train`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pcsr_fast.report import build_report
from pcsr_fast.report.tables import metrics_table
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import LAST, Interrupted

_EXTRA = {"--resume": {"action": "store_true", "help": "go on from the last checkpoint in the output folder"}}


def main(argv: Sequence[str]) -> None:
    """Train, print the table, write the report."""
    config, options = parse_config(argv, "train", _EXTRA)
    folder = Path(config.output)
    console = Console()
    try:
        metrics, dataset = train(config, resume=options.resume, console=console)
        console.print(metrics_table(metrics))
        report = build_report(folder, dataset)
    except (Interrupted, KeyboardInterrupt) as stop:
        saved = "stopped and saved" if isinstance(stop, Interrupted) else "stopped at once"
        raise KeyboardInterrupt(f"{saved}; go on with: {_again(argv, folder)}") from stop
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)


def _again(argv: Sequence[str], folder: Path) -> str:
    """The command that goes on with a run, ready for a shell."""
    words = [word for word in argv if word != "--resume"]
    return shlex.join(["pcsr-fast", "train", *words, *(["--resume"] if (folder / LAST).exists() else [])])
