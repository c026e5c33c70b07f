"""Markdown tables of kept comparisons of methods: all numbers, or rSum alone with a row a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.tables import table
from pcsr_fast.report.comparison import (
    ENSEMBLE,
    SCORES,
    SINGLE,
    Row,
    full_markdown,
    gap_closed,
    method_name,
    percent_text,
    rsum_text,
)


def _where(result: Row) -> str:
    machine = result["machine"]
    return f"{machine['cpu']}, torch {machine['torch']}, commit {result['commit']}"


def _gap(ensemble: float | None, single: float | None) -> str:
    return "-" if ensemble is None or single is None else f"{percent_text(ensemble)} / {percent_text(single)}"


def _cells(rows: Sequence[Row]) -> dict[tuple[str, float], tuple[str, str]]:
    """rSum and gap closed, of the ensemble and of a single net, by method and noise."""
    gaps = zip(gap_closed(rows), gap_closed(rows, SINGLE), strict=True)
    cells = {}
    for row, (ensemble, single) in zip(rows, gaps, strict=True):
        rsum = f"{rsum_text(row, ENSEMBLE)} / {row[SINGLE]['rsum'][0]:.1f}"
        cells[row["method"], row["noise"]] = (rsum, _gap(ensemble, single))
    return cells


def brief_table(result: dict[str, Any]) -> str:
    """rSum of the ensemble with its deviation, of a single net, and both gaps: a row a method, columns the noise."""
    rows = result["rows"]
    noises, cells = sorted({row["noise"] for row in rows}), _cells(rows)
    names = {row["method"]: method_name(row) for row in rows}
    # Where nothing is wrong, the oracle is the plain baseline.
    with_gap = {noise for noise in noises if any(cells[key][1] != "-" for key in cells if key[1] == noise)}
    lines = [["method"]]
    for noise in noises:
        lines[0] += [f"{100 * noise:g} % wrong: rSum", *(["gap closed"] if noise in with_gap else [])]
    for method, name in names.items():
        line = [name]
        for noise in noises:
            rsum, gap = cells.get((method, noise), ("-", "-"))
            line += [rsum, *([gap] if noise in with_gap else [])]
        lines.append(line)
    seeds = sorted({row["seeds"] for row in rows})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    count = "one seed" if count == "1" else f"{count} seeds"
    return f"{table(lines, 1)}\nEnsemble / single net; {count}. {_where(result)}.\n"


def full_table(result: dict[str, Any]) -> str:
    """Every mean and standard deviation, by kind of score."""
    parts = [f"Test, {called}:\n\n{full_markdown(result['rows'], scores)}" for scores, called in SCORES.items()]
    return "\n".join([*parts, f"{_where(result)}.\n"])
