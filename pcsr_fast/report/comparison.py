"""Several methods side by side, and how much of the gap between plain training and the oracle each one closes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pcsr_fast.report.layout import RECALLS, SIDES
from pcsr_fast.report.tables import QUALITY, heading, slim_table

PLAIN, ORACLE = "triplet", "oracle"
_RECALLS = tuple(f"{side}_r{k}" for side in SIDES for k in RECALLS)

Row = dict[str, Any]


def gap_closed(rows: Sequence[Row]) -> list[float | None]:
    """(rSum - plain) / (oracle - plain) of each row, against the rows `triplet` and `oracle` at the same noise.

    None where one of the two is missing or the oracle is not above the plain baseline.
    """
    ends = {(row["method"], row["noise"]): row["metrics"]["rsum"][0] for row in rows}
    shares: list[float | None] = []
    for row in rows:
        plain, oracle = (ends.get((method, row["noise"])) for method in (PLAIN, ORACLE))
        if plain is None or oracle is None or oracle <= plain:
            shares.append(None)
        else:
            shares.append((row["metrics"]["rsum"][0] - plain) / (oracle - plain))
    return shares


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


def _recalls(row: Row) -> list[str]:
    return [f"{row['metrics'][name][0]:.1f}" for name in _RECALLS]


def _rsum(row: Row) -> str:
    mean, std = row["metrics"]["rsum"]
    return f"{mean:.1f}±{std:.1f}" if row["seeds"] > 1 else f"{mean:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _split(row: Row) -> str:
    return " ".join(f"{row['split'][name]:.2f}".lstrip("0") for name in QUALITY) if row["split"] else "-"


def _has_split(rows: Sequence[Row]) -> bool:
    return any(row["split"] for row in rows)


def comparison_table(rows: Sequence[Row]) -> Table:
    """Methods for a terminal of 80 columns; what all rows share stands in the title.

    Args:
        rows: one dict a method and noise ratio: `method`, `noise` (share 0..1), `seeds` (number of runs), `metrics`
            {name: (mean, standard deviation)} with the six recalls in percent and `rsum`, `split` {precision, recall,
            auc} or None, `seconds` a run.
    """
    noises, seeds = {row["noise"] for row in rows}, {row["seeds"] for row in rows}
    title = "test"
    if len(noises) == 1:
        title += f", {100 * min(noises):g} % noise"
    if len(seeds) == 1:
        title += f", mean of {min(seeds)} seeds" if min(seeds) > 1 else ", one seed"
    columns: list[tuple[str, list[str]]] = [(heading(name), []) for name in _RECALLS]
    columns += [("\nrSum", [_rsum(row) for row in rows]), ("gap\nclosed", list(map(_percent, gap_closed(rows))))]
    for index in range(len(_RECALLS)):
        columns[index][1].extend(_recalls(row)[index] for row in rows)
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
        table.add_row(Text(row["method"]), *(cells[index] for _, cells in columns))
    return table


def comparison_markdown(rows: Sequence[Row]) -> str:
    """The same as a Markdown table with a column for each fact; `rows` as for `comparison_table`."""
    with_split = _has_split(rows)
    heads = ["method", "noise", "seeds", *(heading(name).replace("\n", " ") for name in _RECALLS), "rSum", "gap closed"]
    heads += [*(["split P / R / AUC"] if with_split else []), "time"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for row, gap in zip(rows, gap_closed(rows), strict=True):
        cells = [row["method"].replace("|", "\\|"), f"{100 * row['noise']:g} %", str(row["seeds"]), *_recalls(row)]
        cells += [_rsum(row), _percent(gap), *([_split(row)] if with_split else []), duration(row["seconds"])]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
