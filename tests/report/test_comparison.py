"""The page, the plots and the tables of a comparison of several methods, ratios and variants."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.report.comparison import ENSEMBLE, RECONSTRUCTION, SINGLE, comparison_csv, full_cells, full_markdown
from pcsr_fast.report.comparison_charts import drawings
from pcsr_fast.report.comparison_page import write_comparison

NAMES = [f"{side}_r{k}" for side in ("i2t", "t2i") for k in (1, 5, 10)]
QUALITY = {"precision": 0.9, "recall": 0.8, "auc": 0.95}


def row(
    method: str, noise: float, rsum: float, folder: Path, base: str | None = None, split: bool = True
) -> dict[str, Any]:
    facts = {"level": "caption", "source": "generated", "wrong_share": noise, "sha256": f"{noise:g}".ljust(64, "0")}
    run = {"folder": str(folder), "noise_file": "noise.npy", "noise": facts, "date": "2026-01-01T10:00", "machine": {}}
    metrics = {name: [10.25 + k, 0.5] for k, name in enumerate(NAMES)}
    return {
        "method": method,
        "base": base or method,
        "settings": {} if base is None else {"pcs.enabled": False},
        "noise": noise,
        "seeds": 2,
        ENSEMBLE: {**metrics, "rsum": [rsum, 1.25]},
        SINGLE: {**metrics, "rsum": [rsum - 10, 2.5]},
        "split": QUALITY if split else None,
        "seconds": 60.5,
        "spread": {**{name: 0.01 for name in QUALITY}, "seconds": 2.0},
        "runs": [run | {"seed": seed, "rsum": rsum + seed} for seed in (0, 1)],
    }


@pytest.fixture
def rows(make_run: Any, plain_set: Dataset) -> list[dict[str, Any]]:
    pcsr, plain = make_run(plain_set), make_run(plain_set, method="triplet", nets=1)
    found = []
    for noise, low in ((0.0, 200.0), (0.4, 150.0)):
        found += [row("triplet", noise, low, plain, split=False), row("tsvc", noise, low + 5, pcsr)]
        found += [row("no_pcs", noise, low + 15, pcsr, "pcsr"), row("oracle", noise, low + 40, plain, split=False)]
    return found


def test_page_and_pictures(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    tables = write_comparison(tmp_path, rows)
    page, text = (tmp_path / "comparison.html").read_text(), (tmp_path / "comparison.md").read_text()
    names = ("rsum-dots", "rsum-noise", "losses", "pcs")
    assert sorted(path.stem for path in (tmp_path / "plots").iterdir()) == sorted(names)
    assert page.count("<svg") == len(names)
    assert "http" not in page
    assert "<td>pcsr</td><td>pcs.enabled: False</td>" in page
    assert f"tsvc ({RECONSTRUCTION})" in page
    assert text.count(f"tsvc ({RECONSTRUCTION})") == 4
    assert all(f"(plots/{name}.png)" in text for name in names)
    stream = io.StringIO()
    for table in tables:
        Console(file=stream, width=100).print(table)
    shown = stream.getvalue()
    assert shown.count("tsvc†") == 4
    assert f"† {RECONSTRUCTION}" in shown
    assert shown.count("test, single net, mean of 2 seeds") == 1


def test_every_method_is_named_in_the_plots(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    charts = {one.name: str(one.chart().svg) for one in drawings(tmp_path, rows)}
    for name in ("triplet", "tsvc†", "no_pcs", "oracle"):
        assert f">{name}<" in charts["rsum-dots"]
        assert f">{name}<" in charts["rsum-noise"]
    assert ">tsvc†, 40 % noise<" in charts["losses"]
    assert "triplet" not in charts["losses"]
    assert ">threshold<" in charts["pcs"]


def test_one_ratio_and_no_split_leave_the_dots(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    few = [one for one in rows if one["noise"] == 0.4 and one["split"] is None]
    assert [one.name for one in drawings(tmp_path, few)] == ["rsum-dots"]


def test_all_numbers_have_their_spread(rows: list[dict[str, Any]]) -> None:
    cells = full_cells(rows, SINGLE)[6]
    assert cells[:4] == ["no_pcs", "40 %", "2", "10.2±0.5"]
    assert cells[9:] == ["155.0±2.5", "38 %", ".90±.01", ".80±.01", ".95±.01", "1 min 00 s ±2.0 s"]
    lines = list(csv.DictReader(io.StringIO(comparison_csv(rows))))
    assert len(lines) == 16
    tsvc = lines[1]
    assert (tsvc["method"], tsvc["scores"], tsvc["provenance"]) == ("tsvc", "ensemble", RECONSTRUCTION)
    assert (tsvc["rsum_mean"], tsvc["rsum_std"], tsvc["auc_mean"], tsvc["gap_closed"]) == (
        "205.0",
        "1.25",
        "0.95",
        "0.125",
    )
    assert lines[0]["precision_mean"] == ""
    rows[0]["method"] = "a|b"
    assert "| a\\|b |" in full_markdown(rows, ENSEMBLE)


def test_full_markdown_line_by_line(rows: list[dict[str, Any]]) -> None:
    text = full_markdown([one | {"split": None} for one in rows[4:]], ENSEMBLE)
    lines = text.splitlines()
    recalls = " | ".join(f"{side} R@{k}" for side in ("i2t", "t2i") for k in (1, 5, 10))
    assert lines[0] == f"| method | noise | seeds | {recalls} | rSum | gap closed | time |"
    assert lines[1].count("---") == 12
    means = " | ".join(f"{10.25 + k:.1f}±0.5" for k in range(6))
    assert lines[4] == f"| no_pcs | 40 % | 2 | {means} | 165.0±1.2 | 38 % | 1 min 00 s ±2.0 s |"
    assert lines[5].endswith("| 190.0±1.2 | 100 % | 1 min 00 s ±2.0 s |")
    assert text.endswith("|\n")
    one_seed = full_markdown([rows[5] | {"seeds": 1, "seconds": 7.25}], ENSEMBLE)
    assert "| .90 | .80 | .95 | 7.2 s |" in one_seed
