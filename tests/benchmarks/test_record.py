"""A whole run: what is kept, and that it survives JSON into a table."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import record
from benchmarks.ops import OPS
from benchmarks.tables import op_table, summary_table
from pcsr_fast.errors import ConfigError
from pcsr_fast.files import write_json


def test_the_circumstances_are_kept(result):
    assert result["threads"] == torch.get_num_threads() == 1
    assert result["machine"]["cpu"]
    assert {"isa", "native", "torch"} <= set(result["machine"])
    assert result["versions"]["torch"].startswith("2.")
    assert len(result["load"]) == len(result["load_after"]) == 3
    assert result["commit"]
    assert result["date"]


def test_a_case_keeps_every_sample(result):
    case = result["cases"][0]
    table = {row["name"]: row for row in case["rows"]}
    assert case["repeats"] == 2
    assert (case["shapes"], case["dtype"], case["direction"]) == ([[8, 8], [8, 8]], "float32", "forward")
    assert all(len(table["cpu"][kind]["samples"]) == 2 for kind in ("wall", "cpu"))
    assert table["allocate"]["memory"]["extra"] > 2**25
    assert table["piece"]["memory"] is None
    assert table["cpu"]["ratios"]["allocate"] > 1
    assert table["slow"]["reason"] == "not run: slow"


def test_json_becomes_a_table(result, tmp_path):
    write_json(tmp_path / "tiny.json", result)
    read = json.loads((tmp_path / "tiny.json").read_text(encoding="utf-8"))
    text = op_table(read)
    assert text == op_table(result)
    assert "| **cpu** |" in text
    assert "Not run: broken: RuntimeError: no compiler; cuda: no GPU; slow: not run: slow" in text
    assert "R=16 (float32, median of 2)" in text
    (line,) = [line for line in summary_table([read]).splitlines() if "R=16" in line]
    assert line.startswith("| Tiny: R=16 | allocate ")
    assert "MiB /" in line


def test_nothing_measured_is_said():
    assert summary_table([]).startswith("No measurement is kept yet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sort", "full", 7), f"--op: got 'sort', expected one of {', '.join(OPS)}"),
        (("triplet", "huge", 7), "--size: got 'huge'"),
        (("triplet", "tiny", 0), "--repeats: got 0"),
    ],
)
def test_bad_arguments(words, message):
    with pytest.raises(ConfigError, match=message):
        record.run_op(*words)


def test_the_kill_switch_is_refused(monkeypatch):
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    with pytest.raises(ConfigError, match="PCSR_FAST_DISABLE"):
        record.run_op("triplet", "tiny", 1)
