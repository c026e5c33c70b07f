"""Amdahl's row: the arithmetic of the table, and that every op's kernel is timed."""

from __future__ import annotations

import torch

from benchmarks import end_to_end
from pcsr_fast import backends, ops


def test_the_table_says_what_faster_ops_can_gain_at_most():
    runs = {
        "reference": {"cpu": 100.0, "ops": {"triplet_loss": 15.0, "fit_mixture": 5.0}, "test_rsum": 200.0},
        "native": {"cpu": 88.0, "ops": {"triplet_loss": 3.0, "fit_mixture": 1.0}, "test_rsum": 200.1},
    }
    machine = {"cpu": "A CPU", "isa": "avx2", "torch": "2.13"}
    text = end_to_end.end_to_end_table({"runs": runs, "machine": machine, "threads": 1, "commit": "abc"})
    assert "| reference | 100 s | 20.0 s | 20.0 % | 200.0 |" in text
    assert "The ops are 5.0x as fast, the run 1.14x: with ops that cost nothing it would be 1.25x" in text


def test_every_kernel_is_timed_forward_and_backward(monkeypatch):
    seconds: dict[str, float] = {}
    monkeypatch.setattr(backends, "select", backends.select)
    end_to_end._timed_select(seconds)
    x, y = (torch.randn(64, 32, requires_grad=True) for _ in range(2))
    ops.triplet_loss(x, y).backward()
    ops.fit_mixture(torch.cat([torch.rand(100), 3 + torch.rand(50)]))
    assert {"triplet_loss", "hardest_gradient", "fit_mixture"} <= seconds.keys()
    assert all(value >= 0 for value in seconds.values())
