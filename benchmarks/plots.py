"""Time and memory over the size, log-log, as PNG that remembers the numbers it shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.tables import ran
from pcsr_fast.files import atomic_write

_MARKERS = "osv^D*Pd<>"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def curves(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Cases of the longest series, the later one of equals; empty where no series has two cases."""
    series: dict[str, list[dict[str, Any]]] = {}
    for case in result["cases"]:
        series.setdefault(case["series"], []).append(case)
    longest = max(reversed(series.values()), key=len)
    return longest if len(longest) > 1 else []


def digest(result: dict[str, Any]) -> str:
    """Fingerprint of what a plot shows."""
    return hashlib.sha256(json.dumps(curves(result), sort_keys=True).encode()).hexdigest()


def up_to_date(result: dict[str, Any], path: Path) -> bool:
    """Whether the picture shows this result."""
    if not path.is_file():
        return False
    with Image.open(path) as picture:
        return bool(picture.info.get("Source") == digest(result))


def _panel(axes: Axes, points: dict[str, list[tuple[int, float]]], ours: set[str], label: str) -> None:
    for place, (name, line) in enumerate(points.items()):
        style, width = ("-", 2.2) if name in ours else ("--", 1.1)
        marker = _MARKERS[place % len(_MARKERS)]
        axes.plot(*zip(*line, strict=True), style, marker=marker, markersize=4, linewidth=width, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylabel(label)


def draw(result: dict[str, Any], path: Path) -> None:
    """Write the picture of an op's longest series."""
    times: dict[str, list[tuple[int, float]]] = {}
    memory: dict[str, list[tuple[int, float]]] = {}
    ours: set[str] = set()
    cases = sorted(curves(result), key=lambda case: int(case["size"]))
    for case in cases:
        for row in ran(case):
            ours |= {row["name"]} if row["ours"] else set()
            times.setdefault(row["name"], []).append((case["size"], 1e3 * row["cpu"]["median"]))
            extra = (row["memory"] or {}).get("extra", 0)
            if extra:
                memory.setdefault(row["name"], []).append((case["size"], extra / 2**20))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, times, ours, "CPU time, ms")
        _panel(right, {name: memory[name] for name in times if name in memory}, ours, "extra memory, MiB")
        for axes in (left, right):
            axes.set_xlabel(result["axis"])
        figure.suptitle(f"{result['title']}: {cases[0]['series']}, one thread, {result['machine']['cpu']}", fontsize=9)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, metadata={"Source": digest(result), "Software": None})
