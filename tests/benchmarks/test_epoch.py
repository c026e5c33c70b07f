"""The planted epoch: its table, how time is shared out, and a small run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import epoch
from benchmarks.comparison import ROOT


def test_the_table_compares_what_saw_as_many_pictures():
    runs = {
        "loop": {"cpu": 100.0, "phases": {"head": 90.0, "rest": 10.0}, "images": 2},
        "ours": {"cpu": 10.0, "phases": {"head": 5.0, "rest": 5.0}, "images": 2},
        "all": {"cpu": 40.0, "phases": {"head": 30.0, "rest": 10.0}, "images": 10},
    }
    facts = {"machine": {"cpu": "A CPU", "isa": "amx", "torch": "2.13"}, "threads": 1, "commit": "abc", "captions": 5}
    text = epoch.epoch_table({"runs": runs, **facts})
    assert "| loop | 2 | 100 s | 1.0x | 90 % | 10 % |" in text
    assert "| ours | 2 | 10.0 s | 10.0x | 50 % | 50 % |" in text
    assert "| all | 10 | 40.0 s | - | 75 % | 25 % |" in text


def test_time_is_charged_to_the_innermost_phase(monkeypatch):
    clock = iter(range(0, 100, 1))
    monkeypatch.setattr(epoch.time, "process_time", lambda: next(clock))
    phases = epoch.Phases()
    with phases.phase("outer"), phases.phase("inner"):
        pass
    with pytest.raises(KeyError), phases.phase("inner"):
        raise KeyError
    assert phases.seconds == {"everything else": 2, "outer": 2, "inner": 2}


def test_a_small_epoch_is_trained_and_timed():
    code = (
        "import json, benchmarks.epoch as e\n"
        "words = ['--model.embed_dim', '16', '--model.sim_dim', '8', '--train.batch_size', '16']\n"
        "print(json.dumps(e.epoch(0.5, 'fp32', 16, words, features=24)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["images"] == 8
    assert found["phases"].keys() >= {"encoders, forward", "cross-attention, forward", "backward of both", "optimiser"}
    assert sum(found["phases"].values()) == pytest.approx(found["cpu"], rel=0.05)
