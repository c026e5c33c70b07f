"""Several methods side by side, and how much of the gap between plain training and the oracle each one closes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pcsr_fast.report.layout import RECALLS, SIDES
from pcsr_fast.report.tables import QUALITY, heading, slim_table

PLAIN, ORACLE = "triplet", "oracle"
# Methods whose formulas are not public: no number of theirs may pass for the paper's.
RECONSTRUCTED = ("tsvc",)
RECONSTRUCTION = "reconstruction from the abstract"
# Which scores of a row a table shows, and how they are called.
ENSEMBLE, SINGLE = "metrics", "single"
SCORES = {ENSEMBLE: "ensemble", SINGLE: "single net"}
_RECALLS = tuple(f"{side}_r{k}" for side in SIDES for k in RECALLS)

Row = dict[str, Any]


def gap_closed(rows: Sequence[Row], scores: str = ENSEMBLE) -> list[float | None]:
    """(rSum - plain) / (oracle - plain) of each row, against the rows `triplet` and `oracle` at the same noise.

    None where one of the two is missing or the oracle is not above the plain baseline.
    """
    ends = {(row["method"], row["noise"]): row[scores]["rsum"][0] for row in rows}
    shares: list[float | None] = []
    for row in rows:
        plain, oracle = (ends.get((method, row["noise"])) for method in (PLAIN, ORACLE))
        if plain is None or oracle is None or oracle <= plain:
            shares.append(None)
        else:
            shares.append((row[scores]["rsum"][0] - plain) / (oracle - plain))
    return shares


def is_reconstructed(row: Row) -> bool:
    """Whether the row's method was built from its abstract alone."""
    return row.get("base", row["method"]) in RECONSTRUCTED


def method_name(row: Row) -> str:
    """The row's name, with a warning where the method is a reconstruction."""
    return f"{row['method']} ({RECONSTRUCTION})" if is_reconstructed(row) else str(row["method"])


def short_name(row: Row) -> str:
    """The row's name, with a mark where the method is a reconstruction."""
    return f"{row['method']}†" if is_reconstructed(row) else str(row["method"])


def duration(seconds: float) -> str:
    """Seconds for reading: 8.4 s, 3 min 07 s, 2 h 05 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _clock(seconds: float) -> str:
    """Minutes and seconds, 3:07."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _recalls(row: Row, scores: str, spread: bool = False) -> list[str]:
    if spread and row["seeds"] > 1:
        return [_with_spread(*row[scores][name]) for name in _RECALLS]
    return [f"{row[scores][name][0]:.1f}" for name in _RECALLS]


def rsum_text(row: Row, scores: str) -> str:
    """The row's mean rSum, with its standard deviation over several seeds."""
    mean, std = row[scores]["rsum"]
    return _with_spread(mean, std) if row["seeds"] > 1 else f"{mean:.1f}"


def _with_spread(mean: float, std: float) -> str:
    return f"{mean:.1f}±{std:.1f}"


def percent_text(share: float | None) -> str:
    """A share in percent, a dash for None."""
    return "-" if share is None else f"{100 * share:.0f} %"


def _hundredths(value: float) -> str:
    return f"{value:.2f}".lstrip("0")


def _split(row: Row) -> str:
    return " ".join(_hundredths(row["split"][name]) for name in QUALITY) if row["split"] else "-"


def _split_columns(row: Row) -> list[str]:
    """Precision, recall and AUC in a column each, with their spread over several seeds."""
    if not row["split"]:
        return ["-"] * len(QUALITY)
    cells = [_hundredths(row["split"][name]) for name in QUALITY]
    if row["seeds"] > 1:
        cells = [f"{cell}±{_hundredths(row['spread'][name])}" for cell, name in zip(cells, QUALITY, strict=True)]
    return cells


def _time(row: Row) -> str:
    text = duration(row["seconds"])
    return f"{text} ±{duration(row['spread']['seconds'])}" if row["seeds"] > 1 else text


def _has_split(rows: Sequence[Row]) -> bool:
    return any(row["split"] for row in rows)


def comparison_table(rows: Sequence[Row], scores: str = ENSEMBLE, title: str = "test") -> Table:
    """Methods for a terminal of 80 columns; what all rows share stands in the title.

    Args:
        rows: one dict a method and noise ratio: `method`, `noise` (share 0..1), `seeds` (number of runs), `metrics`
            {name: (mean, standard deviation)} with the six recalls in percent and `rsum`, `split` {precision, recall,
            auc} or None, `seconds` a run.
        scores: which of a row's scores are shown, `metrics` (ensemble) or `single` (mean over the nets).
        title: how the heading begins.
    """
    noises, seeds = {row["noise"] for row in rows}, {row["seeds"] for row in rows}
    if len(noises) == 1:
        title += f", {100 * min(noises):g} % noise"
    if len(seeds) == 1:
        title += f", mean of {min(seeds)} seeds" if min(seeds) > 1 else ", one seed"
    gaps = list(map(percent_text, gap_closed(rows, scores)))
    columns: list[tuple[str, list[str]]] = [(heading(name), []) for name in _RECALLS]
    columns += [("\nrSum", [rsum_text(row, scores) for row in rows]), ("gap\nclosed", gaps)]
    for index in range(len(_RECALLS)):
        columns[index][1].extend(_recalls(row, scores)[index] for row in rows)
    if len(seeds) > 1:
        columns.insert(0, ("\nseeds", [str(row["seeds"]) for row in rows]))
    if len(noises) > 1:
        columns.insert(0, ("\nnoise", [f"{100 * row['noise']:g} %" for row in rows]))
    if _has_split(rows):
        columns.append(("split\nP / R / AUC", list(map(_split, rows))))
    columns.append(("\ntime", [_clock(row["seconds"]) for row in rows]))
    table = slim_table(title)
    table.add_column("", no_wrap=True)
    for head, _ in columns:
        table.add_column(head, justify="right", style="bold" if "rSum" in head else None, no_wrap=True)
    for index, row in enumerate(rows):
        table.add_row(Text(short_name(row)), *(cells[index] for _, cells in columns))
    if any(map(is_reconstructed, rows)):
        table.caption, table.caption_justify = f"† {RECONSTRUCTION}", "left"
    return table


def full_heads(rows: Sequence[Row]) -> list[str]:
    """Heads of `full_cells`."""
    heads = ["method", "noise", "seeds", *(heading(name).replace("\n", " ") for name in _RECALLS), "rSum", "gap closed"]
    return [*heads, *(["split precision", "recall", "AUC"] if _has_split(rows) else []), "time"]


def full_cells(rows: Sequence[Row], scores: str) -> list[list[str]]:
    """Every number of a table with its standard deviation, a list a row."""
    table = []
    for row, gap in zip(rows, gap_closed(rows, scores), strict=True):
        cells = [method_name(row), f"{100 * row['noise']:g} %", str(row["seeds"])]
        cells += [*_recalls(row, scores, spread=True), rsum_text(row, scores), percent_text(gap)]
        table.append([*cells, *(_split_columns(row) if _has_split(rows) else []), _time(row)])
    return table


def full_markdown(rows: Sequence[Row], scores: str) -> str:
    """A Markdown table of all means and standard deviations; `scores` as for `comparison_table`."""
    heads = full_heads(rows)
    cells = [[_escaped(cell) for cell in line] for line in full_cells(rows, scores)]
    return _markdown([heads, ["---", *["---:"] * (len(heads) - 1)], *cells])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def comparison_csv(rows: Sequence[Row]) -> str:
    """All means and standard deviations for other programs: a line a row and kind of score (ensemble, single net)."""
    metrics = list(rows[0][ENSEMBLE])
    values = [*metrics, *QUALITY, "seconds"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = ["method", "base", "provenance", "noise", "scores", "seeds"]
    writer.writerow([*heads, "gap_closed", *(f"{name}_{kind}" for name in values for kind in ("mean", "std"))])
    for scores, called in SCORES.items():
        for row, gap in zip(rows, gap_closed(rows, scores), strict=True):
            provenance = RECONSTRUCTION if is_reconstructed(row) else ""
            cells: list[Any] = [row["method"], row["base"], provenance, row["noise"], called, row["seeds"], gap]
            for name in metrics:
                cells += row[scores][name]
            for name in QUALITY:
                cells += [row["split"][name], row["spread"][name]] if row["split"] else ["", ""]
            writer.writerow([*cells, row["seconds"], row["spread"]["seconds"]])
    return stream.getvalue()
