"""Markdown tables from kept results: everything about one op, and a summary of all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
FEWEST = 3  # sizes that say how something grows


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    value, unit = (seconds, "s") if seconds >= 1 else (1e3 * seconds, "ms")
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"


def bytes_text(count: int) -> str:
    """GiB, MiB or KiB."""
    for unit, name, digits in ((2**30, "GiB", 2), (2**20, "MiB", 1)):
        if count >= unit:
            return f"{count / unit:.{digits}f} {name}"
    return f"{count // 1024} KiB"


def memory_text(row: Row) -> str:
    """Extra memory; a dash where it was not measured."""
    memory = row.get("memory") or {}
    return bytes_text(memory["extra"]) if "extra" in memory else memory.get("error", "-")


def table(lines: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table; the first line heads it, the first `left` columns are text."""
    rule = ["---"] * left + ["---:"] * (len(lines[0]) - left)
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])) + "\n"


def ran(case: Row) -> list[Row]:
    """Rows that hold numbers."""
    return [row for row in case["rows"] if row["reason"] is None]


def _ratios(row: Row) -> str:
    return ", ".join(f"{name} {value:.2f}x" for name, value in row["ratios"].items()) if row["ours"] else ""


def left_out(case: Row) -> str:
    """What did not run and why, names with one reason together."""
    reasons: dict[str, list[str]] = {}
    for row in case["rows"]:
        if row["reason"] is not None:
            reasons.setdefault(row["reason"], []).append(row["name"])
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def _on_device(result: Row) -> bool:
    return str(result.get("device", "cpu")) != "cpu"


def _clock(result: Row) -> str:
    return "time" if _on_device(result) else "CPU time"


def machine_text(result: Row) -> str:
    """GPU, or processor, instruction set and threads; torch."""
    machine = result["machine"]
    if _on_device(result):
        return f"{machine['gpu']}, torch {machine['torch']}"
    kernels = machine["isa"] or "none"
    return f"{machine['cpu']}, native kernels {kernels}, {result['threads']} thread, torch {machine['torch']}"


def where(result: Row) -> str:
    """What it was measured on and when, as a line."""
    return (
        f"{machine_text(result)}, {result['date'][:10]}, commit {result['commit']}, "
        f"load {result['load'][0]:.1f} to {result['load_after'][0]:.1f}, "
        f"torch.mm {result['peaks']['flops'] / 1e9:.0f} GFLOP/s"
    )


def _exponent(points: Sequence[tuple[float, float]]) -> str:
    """b of y = a x^b, fitted to the logarithms; a dash for fewer than three points."""
    kept = [(math.log(x), math.log(y)) for x, y in points if y > 0]
    if len(kept) < FEWEST:
        return "-"
    return f"{statistics.linear_regression(*zip(*kept, strict=True)).slope:.2f}"


def growth_table(result: Row) -> str:
    """How CPU time and extra memory grow with the size, for each series of at least three sizes."""
    lines = []
    for series in dict.fromkeys(case["series"] for case in result["cases"]):
        times: dict[str, list[tuple[float, float]]] = {}
        memory: dict[str, list[tuple[float, float]]] = {}
        for case in (case for case in result["cases"] if case["series"] == series):
            for row in ran(case):
                times.setdefault(row["name"], []).append((case["size"], row["cpu"]["median"]))
                memory.setdefault(row["name"], []).append((case["size"], (row["memory"] or {}).get("extra", 0)))
        for name, points in times.items():
            if len(points) >= FEWEST:
                lines.append([series, name, _exponent(points), _exponent(memory[name])])
    if not lines:
        return ""
    heads = [f"growth with the {result['axis']}", "implementation", f"exponent of {_clock(result)}", "of extra memory"]
    return f"\n{table([heads, *lines], 2)}"


def op_table(result: Row) -> str:
    """All cases of an op: times are medians; ratios and the share of the floor are of CPU time, on a GPU of elapsed."""
    lines = [["implementation", _clock(result), "wall time", "extra memory", "share of floor", "faster than"]]
    parts = [f"{where(result)}.\n"]
    for case in result["cases"]:
        body = [
            [
                f"**{row['name']}**" if row["ours"] else row["name"],
                duration(row["cpu"]["median"]),
                duration(row["wall"]["median"]),
                memory_text(row),
                f"{100 * row['floor_share']:.0f} %",
                _ratios(row),
            ]
            for row in ran(case)
        ]
        missing = left_out(case)
        heading = f"{case['name']} ({case['dtype']}, median of {case['repeats']})"
        parts.append(f"{heading}\n\n{table([*lines, *body], 1)}" + (f"\nNot run: {missing}\n" if missing else ""))
    return "\n".join(parts) + growth_table(result)


def _summary_rows(result: Row, case: Row) -> Iterable[list[str]]:
    rows = ran(case)
    usual = next((row for row in rows if row["name"] == case["usual"]), None)
    others = [row for row in rows if not row["ours"] and row["name"] != case["usual"]]
    best = min(others, key=lambda row: row["cpu"]["median"], default=None)
    for row in (row for row in rows if row["ours"]):
        yield [
            f"{result['title']}: {case['name']}",
            f"{case['usual']} {duration(usual['cpu']['median'])}" if usual else "-",
            f"{best['name']} {duration(best['cpu']['median'])}" if best else "-",
            f"{row['name']} {duration(row['cpu']['median'])}",
            f"{row['ratios'][usual['name']]:.1f}x" if usual else "-",
            f"{row['ratios'][best['name']]:.1f}x" if best else "-",
            f"{memory_text(usual) if usual else '-'} / {memory_text(row)}",
            f"{100 * row['floor_share']:.0f} %",
        ]


def summary_table(results: Sequence[Row]) -> str:
    """Headline cases of all ops, a row for each of our backends; losses against a baseline stand as they are."""
    heads = ["what", "usual way", "best other", "ours", "vs usual", "vs best", "extra memory", "share of floor"]
    body = [
        line
        for result in results
        for case in result["cases"]
        if case["headline"]
        for line in _summary_rows(result, case)
    ]
    if not body:
        return "No measurement is kept yet: `python -m benchmarks run --op triplet`.\n"
    places = dict.fromkeys(machine_text(result) for result in results)
    return f"{table([heads, *body], 4)}\n{'; '.join(places)}.\n"
