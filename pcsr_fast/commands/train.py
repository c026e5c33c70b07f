"""`pcsr-fast train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pcsr_fast.report import build_report
from pcsr_fast.report.tables import metrics_table
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import Interrupted

_EXTRA = {"--resume": {"action": "store_true", "help": "go on from the last checkpoint in the output folder"}}


def main(argv: Sequence[str]) -> None:
    """Train, print the table, write the report."""
    config, options = parse_config(argv, "train", _EXTRA)
    console = Console()
    try:
        metrics, dataset = train(config, resume=options.resume, console=console)
    except Interrupted as stop:
        words = " ".join(word for word in argv if word != "--resume")
        raise KeyboardInterrupt(f"stopped and saved; go on with: pcsr-fast train {words} --resume") from stop
    console.print(metrics_table(metrics))
    report = build_report(Path(config.output), dataset)
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)
