"""Tables for the terminal and for Markdown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.report import comparison_table, metrics_table
from pcsr_fast.report.comparison import duration, gap_closed

NAMES = [f"{side}_r{k}" for side in ("i2t", "t2i") for k in (1, 5, 10)]


def row(method: str, noise: float, rsum: float, **more: Any) -> dict[str, Any]:
    metrics = {name: (10.25 + k, 0.5) for k, name in enumerate(NAMES)} | {"rsum": (rsum, 1.25)}
    return {"method": method, "noise": noise, "seeds": 3, "metrics": metrics, "split": None, "seconds": 125.4} | more


def rendered(table: Table, width: int = 200) -> list[str]:
    stream = io.StringIO()
    Console(width=width, file=stream).print(table)
    return stream.getvalue().splitlines()


@pytest.fixture
def metrics(make_run: Any, plain_set: Dataset) -> dict[str, Any]:
    folder: Path = make_run(plain_set)
    loaded: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return loaded


def test_metrics_table(metrics: dict[str, Any]) -> None:
    lines = rendered(metrics_table(metrics), width=80)
    assert lines[0].strip() == "test, checkpoint of epoch 3 (dev rSum 104.0)"
    body = [line.split() for line in lines if line.startswith(("net", "ensemble"))]
    net = ["20.6", "20.6", "20.6", "3", "20.6", "20.6", "20.6", "4", "113.4", "0.88", "0.75", "0.90"]
    assert body[0] == ["net", "1", *net]
    assert body[2] == ["ensemble", *net[:8], "123.4", *net[9:]]
    assert max(map(len, lines)) <= 80


def test_metrics_table_of_one_net_without_split(metrics: dict[str, Any]) -> None:
    metrics["split"] = None
    metrics["test"]["nets"] = metrics["test"]["nets"][:1]
    metrics["best"]["stage"] = "warmup"
    lines = rendered(metrics_table(metrics))
    assert "warm-up epoch 3" in lines[0]
    assert [line.split()[0] for line in lines if "123.4" in line] == ["net"]
    assert not any("113.4" in line or "split" in line for line in lines)


def test_metrics_table_with_one_known_split(metrics: dict[str, Any]) -> None:
    metrics["split"][1]["quality"] = None
    lines = rendered(metrics_table(metrics))
    assert [line.split()[-3:] for line in lines if line.startswith("net 2")] == [["-", "-", "-"]]
    assert [line.split()[-1] for line in lines if line.startswith("ensemble")] == ["0.90"]


def test_gap_closed_by_noise() -> None:
    rows = [
        row("triplet", 0.4, 200),
        row("pcsr", 0.4, 220),
        row("oracle", 0.4, 240),
        row("pcsr", 0.8, 150),
        row("triplet", 0.8, 100),
        row("infonce", 0.2, 190),
    ]
    assert gap_closed(rows) == [0.0, 0.5, 1.0, None, None, None]
    assert gap_closed([row("triplet", 0.4, 200), row("oracle", 0.4, 200)]) == [None, None]
    assert gap_closed([]) == []


def test_comparison_table() -> None:
    split = {"precision": 0.9, "recall": 0.8, "auc": 0.95}
    rows = [row("triplet", 0.4, 200), row("[bold]pcsr", 0.4, 192.5, split=split), row("oracle", 0.4, 215)]
    lines = rendered(comparison_table(rows), width=80)
    cells = ["10.2", "11.2", "12.2", "13.2", "14.2", "15.2"]
    assert lines[0].strip() == "test, 40 % noise, mean of 3 seeds"
    assert [line.split() for line in lines[-3:]] == [
        ["triplet", *cells, "200.0±1.2", "0", "%", "-", "2:05"],
        ["[bold]pcsr", *cells, "192.5±1.2", "-50", "%", ".90", ".80", ".95", "2:05"],
        ["oracle", *cells, "215.0±1.2", "100", "%", "-", "2:05"],
    ]


def test_comparison_table_of_several_noises_and_seeds() -> None:
    lines = rendered(comparison_table([row("pcsr", 0.4, 200, seeds=1), row("pcsr", 0.855, 100, seconds=3600)]))
    assert lines[0].strip() == "test"
    assert lines[-2].split()[:4] == ["pcsr", "40", "%", "1"]
    assert lines[-2].split()[-3:] == ["200.0", "-", "2:05"]
    assert lines[-1].split()[:4] == ["pcsr", "85.5", "%", "3"]
    assert lines[-1].split()[-1] == "60:00"
    assert "P / R / AUC" not in "".join(lines)
    assert "one seed" in rendered(comparison_table([row("pcsr", 0.4, 200, seeds=1)]))[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (187, "3 min 07 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
