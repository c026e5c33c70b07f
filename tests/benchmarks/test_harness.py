"""The harness: rounds, medians, ratios, checks, and what cannot run."""

from __future__ import annotations

import pytest
import torch

from benchmarks.harness import Case, Implementation, Samples, Workload, measure, prepare, rows
from pcsr_fast.errors import UserError
from pcsr_fast.floors import estimate
from tests.benchmarks import tiny


def _workload(**runs) -> Workload:
    return Workload({name: Implementation(run) for name, run in runs.items()}, lambda name, got: None)


def test_rounds_take_turns():
    order: list[str] = []
    workload = _workload(a=lambda: order.append("a"), b=lambda: order.append("b"))
    samples = measure(workload, {"a": 2, "b": 1}, repeats=3)
    assert order == ["a", "a", "b"] * 3
    assert {name: (len(one.wall), len(one.cpu)) for name, one in samples.items()} == {"a": (3, 3), "b": (3, 3)}
    assert all(seconds > 0 for one in samples.values() for seconds in one.wall + one.cpu)


def test_a_sample_is_per_call_and_scaled(monkeypatch):
    ticks = iter(range(0, 1000, 6))
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(f"benchmarks.harness.time.{clock}", lambda: next(ticks))
    workload = Workload({"a": Implementation(lambda: None, scale=5.0)}, lambda name, got: None)
    taken = measure(workload, {"a": 3}, repeats=1)["a"]
    assert taken.cpu == [6 * 5 / 3]
    assert taken.wall == [18 * 5 / 3]


def test_ratios_are_of_median_cpu_times():
    workload = Workload(
        {
            "eager": Implementation(lambda: None),
            "lean": Implementation(lambda: None),
            "cpu": Implementation(lambda: None, ours=True),
            "cuda": Implementation(None, "no GPU", ours=True),
        },
        lambda name, got: None,
    )
    samples = {
        "eager": Samples([9.0, 9.0, 9.0], [6.0, 100.0, 5.0]),
        "lean": Samples([9.0, 9.0, 9.0], [2.0, 4.0, 3.0]),
        "cpu": Samples([1.0, 5.0, 3.0], [2.0, 1.0, 2.0]),
    }
    floor = estimate("triplet_loss", ((8, 4), (8, 4)), peak_flops=512.0, peak_bandwidth=1e9)
    table = {row["name"]: row for row in rows(workload, samples, {"cuda": "no GPU"}, {"cpu": {"extra": 7}}, floor)}
    assert table["cpu"]["ratios"] == {"eager": 3.0, "lean": 1.5}
    assert table["eager"]["ratios"] == {"lean": 0.5}
    assert table["cpu"]["wall"] == {"median": 3.0, "min": 1.0, "samples": [1.0, 5.0, 3.0]}
    assert table["cpu"]["floor_share"] == pytest.approx(1.0 / 2.0)
    assert table["cpu"]["memory"] == {"extra": 7}
    assert table["cuda"] == {"name": "cuda", "ours": True, "reason": "no GPU"}


def test_what_cannot_run_is_kept_with_its_reason():
    case = tiny.cases("tiny")[0]
    calls, reasons = prepare(case, case.workload())
    assert set(calls) == {"allocate", "return", "piece", "cpu"}
    assert reasons == {"broken": "RuntimeError: no compiler", "cuda": "no GPU", "slow": "not run: slow"}
    assert calls["piece"] > 1


def test_a_wrong_result_ends_the_run():
    case = Case("C", "triplet_loss", (), lambda: _workload(), "a", 1, "s")
    workload = Workload({"a": Implementation(lambda: torch.zeros(1))}, lambda name, got: f"{name} gave {float(got)}")
    with pytest.raises(UserError, match=r"^C: a: wrong result: a gave 0.0$"):
        prepare(case, workload)
