"""What is said to have run on a GPU is what left a record."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import gpu_status
from benchmarks.gpu_status import CHECKS, NOT_RUN, keep, status
from pcsr_fast.errors import ConfigError


def test_nothing_has_run_where_nothing_is_recorded(tmp_path):
    assert status(tmp_path).count(NOT_RUN) == len(CHECKS)


def test_a_record_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("pcsr_fast.machine.machine_facts", dict)
    monkeypatch.setattr("benchmarks.record.machine_facts", lambda: {"gpu": "H100", "torch": "2.13"})
    keep(tmp_path, "tests")
    text = status(tmp_path)
    assert "| tests | `make test-gpu` | H100, torch 2.13, " in text
    assert text.count(NOT_RUN) == len(CHECKS) - 1


def test_no_record_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU"):
        keep(tmp_path, "tests")
    with pytest.raises(ConfigError, match="got 'speed', expected one of tests"):
        keep(tmp_path, "speed")


def test_faults_are_counted_in_words(tmp_path):
    total = {"mutants": 1200, "tried": 10, "explained": 2, "noticed": {"hazard": 4, "wrong result": 3}, "survived": 1}
    path = tmp_path / "mutations.json"
    path.write_text(json.dumps({"total": {**total, "kernels": 3, "noticed or explained": 0.9}}))
    said = " ".join(gpu_status.faults(path).split())
    assert "Of 1,200 faults in the PTX of 3 kernels" in said
    assert "10 were tried: 7 are noticed, 2 change nothing" in said
    assert "1 are neither: 90.0 %" in said
