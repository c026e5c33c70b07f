"""Tables of kept comparisons, by a small one whose numbers are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import comparison
from benchmarks.comparison import collect
from benchmarks.methods import brief_table, full_table
from pcsr_fast.files import write_json, write_text

NAMES = [f"{side}_r{k}" for side in ("i2t", "t2i") for k in (1, 5, 10)]


def row(method: str, noise: float, rsum: float, single: float, seeds: int = 3) -> dict[str, Any]:
    recalls = {name: [10.0, 0.5] for name in NAMES}
    scores = {"metrics": recalls | {"rsum": [rsum, 1.25]}, "single": recalls | {"rsum": [single, 2.5]}}
    facts = {"method": method, "base": method, "noise": noise, "seeds": seeds, "split": None}
    return facts | scores | {"seconds": 60.0, "spread": {"seconds": 1.0}}


@pytest.fixture
def result() -> dict[str, Any]:
    rows = [
        *(row("triplet", 0, 240, 230), row("tsvc", 0, 241, 231)),
        *(row("triplet", 0.4, 200, 180), row("tsvc", 0.4, 210, 200), row("oracle", 0.4, 240, 220)),
    ]
    return {"rows": rows, "machine": {"cpu": "A Processor", "torch": "2.13.0"}, "commit": "0123456789"}


def test_brief(result):
    lines = brief_table(result).splitlines()
    assert lines[0] == "| method | 0 % wrong: rSum | 40 % wrong: rSum | gap closed |"
    assert lines[2] == "| triplet | 240.0±1.2 / 230.0 | 200.0±1.2 / 180.0 | 0 % / 0 % |"
    tsvc = "| tsvc (reconstruction from the abstract) | 241.0±1.2 / 231.0 | 210.0±1.2 / 200.0 | 25 % / 50 % |"
    assert lines[3] == tsvc
    assert lines[4] == "| oracle | - | 240.0±1.2 / 220.0 | 100 % / 100 % |"
    assert lines[-1] == "Ensemble / single net; 3 seeds. A Processor, torch 2.13.0, commit 0123456789."


def test_brief_names_unlike_numbers_of_seeds(result):
    result["rows"].append(row("pcsr", 0.4, 220, 210, seeds=2))
    assert "; 2 to 3 seeds." in brief_table(result)


def test_brief_of_one_seed_has_no_deviation(result):
    text = brief_table({**result, "rows": [row("pcsr", 0.4, 220, 210, seeds=1)]})
    assert "| pcsr | 220.0 / 210.0 |" in text
    assert "; one seed." in text


def test_full(result):
    text = full_table(result)
    assert text.index("Test, ensemble:") < text.index("| oracle | 40 % | 3 |") < text.index("Test, single net:")
    assert text.count("| oracle | 40 % | 3 |") == 2
    assert "| 240.0±1.2 | 100 % |" in text
    assert "| 220.0±2.5 | 100 % |" in text


def test_collected_settings_are_shared_or_a_runs_own(result, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "RESULTS", tmp_path)
    write_json(tmp_path / "runs/comparison.json", [row | {"runs": ["as below"]} for row in result["rows"]])
    (tmp_path / "runs/plots").mkdir()
    (tmp_path / "runs/plots/rsum-dots.png").write_bytes(b"a picture")
    kept = ("method", "profile", "noise", "best", "dev", "test", "seconds", "date")
    for seed in (0, 1):
        metrics = {name: f"{name} {seed}" for name in kept} | {"seed": seed, "machine": result["machine"]}
        write_json(tmp_path / f"runs/pcsr-0-seed{seed}/metrics.json", metrics | {"left": "out"})
        text = f"output: a{seed}\ntrain: {{epochs: 8, seed: {seed}}}\n"
        write_text(tmp_path / f"runs/pcsr-0-seed{seed}/config.yaml", text)
    made = json.loads(collect(tmp_path / "runs", "kept").read_text(encoding="utf-8"))
    assert made["config"] == {"train.epochs": 8}
    assert made["runs"]["pcsr-0-seed1"]["config"] == {"train.seed": 1}
    assert made["runs"]["pcsr-0-seed1"]["test"] == "test 1"
    assert "left" not in made["runs"]["pcsr-0-seed1"]
    assert made["rows"] == result["rows"]
    assert made["machine"] == result["machine"]
    assert (tmp_path / "kept.png").read_bytes() == b"a picture"
