"""What a comparison writes: comparison.json, .csv, .md and .html, and its plots as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pcsr_fast.files import write_json, write_text
from pcsr_fast.report.build import environment
from pcsr_fast.report.chart import Chart, Drawing
from pcsr_fast.report.comparison import (
    ENSEMBLE,
    SCORES,
    SINGLE,
    Row,
    comparison_csv,
    comparison_table,
    full_cells,
    full_heads,
    full_markdown,
)
from pcsr_fast.report.comparison_charts import drawings
from pcsr_fast.report.comparison_noise import HEADS, noise_cells

_INTRODUCTIONS = {
    ENSEMBLE: "Queries are ranked by the mean similarity of the nets.",
    SINGLE: "Each net ranks alone; mean over the nets.",
}


def write_comparison(folder: Path, rows: Sequence[Row]) -> list[Table]:
    """Write `folder`/comparison.{json,csv,md,html} and plots/*.png.

    Args:
        folder: the comparison's output, with its runs inside.
        rows: as `summarise` makes them.

    Returns:
        The tables for a terminal: of the ensembles, and of single nets where these differ.

    Raises:
        UserError: a file of a run is damaged, or the folder cannot be written.
    """
    shown = [ENSEMBLE] if all(row[SINGLE] == row[ENSEMBLE] for row in rows) else [ENSEMBLE, SINGLE]
    plots = drawings(folder, rows)
    charts = [plot.chart(folder / "plots" / f"{plot.name}.png") for plot in plots]
    write_json(folder / "comparison.json", list(rows))
    write_text(folder / "comparison.csv", comparison_csv(rows))
    write_text(folder / "comparison.md", _markdown(rows, shown, plots))
    page = environment().get_template("comparison.html.j2").render(_content(rows, shown, charts))
    write_text(folder / "comparison.html", page)
    return [comparison_table(rows, scores, f"test, {SCORES[scores]}") for scores in shown]


def _markdown(rows: Sequence[Row], shown: Sequence[str], plots: Sequence[Drawing]) -> str:
    parts = [f"## {_heading(scores)}\n\n{_INTRODUCTIONS[scores]}\n\n{full_markdown(rows, scores)}" for scores in shown]
    parts += [f"## {plot.title}\n\n{plot.note}\n\n![{plot.title}](plots/{plot.name}.png)\n" for plot in plots]
    noises = [f"| {' | '.join(cells)} |" for cells in noise_cells(rows)]
    head = f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}"
    return "\n".join([*parts, "## Noise\n\n" + "\n".join([head, *noises]) + "\n"])


def _heading(scores: str) -> str:
    return f"Test, {SCORES[scores]}"


def _content(rows: Sequence[Row], shown: Sequence[str], charts: Sequence[Chart]) -> dict[str, Any]:
    return {
        "facts": _facts(rows),
        "heads": full_heads(rows),
        "tables": [
            {"heading": _heading(scores), "text": _INTRODUCTIONS[scores], "lines": _lines(rows, scores)}
            for scores in shown
        ],
        "charts": charts,
        "settings": [(row["method"], row["base"], row["settings"]) for row in _variants(rows)],
        "noise_heads": HEADS,
        "noises": noise_cells(rows),
        "runs": [run for row in rows for run in row["runs"]],
    }


def _lines(rows: Sequence[Row], scores: str) -> list[tuple[bool, list[str]]]:
    """Cells of each row, and whether it is the first of a noise ratio."""
    before = [None, *(row["noise"] for row in rows)]
    cells = full_cells(rows, scores)
    return [(row["noise"] != earlier, line) for row, earlier, line in zip(rows, before, cells, strict=False)]


def _variants(rows: Sequence[Row]) -> list[Row]:
    return list({row["method"]: row for row in rows if row["method"] != row["base"]}.values())


def _facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    runs = [run for row in rows for run in row["runs"]]
    machine = runs[-1]["machine"]
    return [
        ("runs", str(len(runs))),
        ("checkpoints", "each chosen on dev, tested once"),
        ("dates", f"{min(run['date'] for run in runs)[:16]} to {max(run['date'] for run in runs)[:16]}"),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
    ]
