"""The files of the ops: every baseline runs and passes its check, and each check can fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils import _pytree

from benchmarks import record
from benchmarks.harness import prepare
from benchmarks.ops import OPS, SIZES
from pcsr_fast import backends
from pcsr_fast.floors import estimate

SLOW = {"torch.compile": "compiles for seconds"}


@pytest.mark.parametrize("op", OPS)
def test_baselines_agree(op):
    for case in record.load(op).cases("tiny"):
        case = replace(case, not_run=SLOW)
        workload = case.workload()
        calls, reasons = prepare(case, workload)
        assert case.usual in calls
        assert "reference" in calls
        could = {name: reason for name, reason in reasons.items() if workload.implementations[name].run is not None}
        assert could == {}
        assert {name.split()[0] for name, one in workload.implementations.items() if one.ours} == {
            "cuda",
            "triton",
            "cpu",
        }


def _spoiled(output):
    """Each floating tensor moved, each integer one stepped, in a copy."""
    return _pytree.tree_map(
        lambda leaf: 1 - leaf if leaf.is_floating_point() else (leaf + 7) % max(1, leaf.max()), output
    )


@pytest.mark.parametrize("op", OPS)
def test_a_check_can_fail(op):
    for case in record.load(op).cases("tiny"):
        workload = case.workload()
        run = workload.implementations["reference"].run
        assert run is not None
        assert workload.check("cpu", run()) is None
        assert workload.check("cpu", _spoiled(run()))


def test_gradients_are_checked():
    case = next(one for one in record.load("triplet").cases("tiny") if one.backward)
    workload = case.workload()
    loss, dx, dy = workload.implementations["eager"].run()
    assert "gradient in y" in (workload.check("cpu", (loss, dx, dy.roll(1, 0))) or "")
    assert "gradient in x" in (workload.check("cpu", (loss, dx * torch.nan, dy)) or "")


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("size", SIZES)
def test_cases_are_named_once_and_priced(op, size):
    cases = record.load(op).cases(size)
    assert len({case.name for case in cases}) == len(cases)
    assert any(case.headline for case in cases)
    for case in cases:
        options = {"backward": case.backward, "batch_size": case.batch_size}
        assert estimate(case.op, case.shapes, **options, peak_flops=1e11, peak_bandwidth=1e10).seconds > 0


def test_a_new_backend_is_picked_up_by_name(monkeypatch):
    ran = backends.Implementation(lambda *args: None, backends.always)
    monkeypatch.setitem(backends._REGISTRY["contrastive_loss"], "triton", ran)
    implementations = record.load("contrastive").cases("tiny")[0].workload().implementations
    assert implementations["triton"].run is not None
    assert implementations["cuda"].reason == "does not implement this op"


def test_screened_ranks_are_the_exact_ones(monkeypatch):
    monkeypatch.setattr("benchmarks.ops.ranks.NEAR", 10.0)
    workload = record.load("ranks").cases("tiny")[0].workload()
    i2t, t2i = workload.implementations["reference"].run()
    assert workload.check("cpu exact", (i2t, t2i)) is None
    assert workload.check("cpu screened", (i2t, t2i)) is None
    assert "differ from precision='exact'" in (workload.check("cpu screened", (i2t, t2i.flip(0))) or "")
