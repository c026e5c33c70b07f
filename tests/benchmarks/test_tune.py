"""`python -m benchmarks tune`: what it keeps of measurements, and who takes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import tune
from benchmarks.__main__ import main
from benchmarks.tune_subjects import Subject
from pcsr_fast import backends
from pcsr_fast.kernels.triton import attention_table, launch_table, tuned
from pcsr_fast.kernels.triton.launch import Plan

START = Plan("fused", 128, 128, 64)
GPU = torch.device("cuda", 0)


def distance(plan: Plan) -> float:
    """Least for one plan, and nearer to it less."""
    wanted = START._replace(block_m=64, block_k=32, stages=4, schedule="chunked")
    return 1.0 + sum(one != other for one, other in zip(plan, wanted, strict=True))


def test_descends_to_the_fastest() -> None:
    best, seconds = tune.descend(START, distance)
    assert best == START._replace(block_m=64, block_k=32, stages=4, schedule="chunked")
    assert seconds == 1.0


def test_noise_is_no_gain() -> None:
    assert tune.descend(START, lambda plan: 1.0 if plan == START else 0.98)[0] == START


def test_what_fails_or_is_wrong_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Narrow tiles raise; a deep pipeline returns something else, and would be the fastest."""

    def run(plan: Plan) -> torch.Tensor:
        if plan.block_n < 128:
            raise RuntimeError("out of resources")
        return torch.full((3,), 0.5 if plan.stages == 4 else 1.0)

    subject = Subject(tuned.PLANS, "search", "bfloat16", START, run)
    assert tune.tune(subject, lambda call: float(call().sum())) == (START, 3.0)
    assert "RuntimeError" in capsys.readouterr().err


def case(op: str, dtype: str, **taken: float) -> dict[str, Any]:
    rows = [{"name": name.replace("_", " "), "wall": {"median": seconds}} for name, seconds in taken.items()]
    return {"op": op, "dtype": dtype, "rows": [*rows, {"name": "cpu", "reason": "no"}]}


def test_cuda_where_it_is_faster_over_all_cases() -> None:
    first = {"cases": [case("ranks", "float32", triton=2.0, cuda=1.0), case("ranks", "float32", triton=1.0, cuda=1.2)]}
    other = {
        "cases": [case("losses", "float32", triton_exact=1.0, cuda_exact=0.99), case("losses", "bfloat16", triton=1)]
    }
    assert tune.faster_backends([first, other]) == {"ranks": {"float32": "cuda"}, "losses": {"float32": "triton"}}


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPU of compute capability 9.0 whose file a test writes."""
    monkeypatch.setattr(tuned, "FOLDER", tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    tuned.tuned.cache_clear()
    yield tmp_path / "sm_90.json"
    tuned.tuned.cache_clear()


def test_plans_that_were_measured_come_before_the_table(measured: Path) -> None:
    known = launch_table.plan_for("search", torch.bfloat16, GPU)
    heads = attention_table.plan_for(torch.bfloat16, GPU, True)
    subjects = [
        Subject(tuned.PLANS, "search", "bfloat16", known, lambda plan: None),
        Subject(tuned.HEADS, "sgr reason", "bfloat16", heads.sgr.reason, lambda tile: None),
    ]
    plans = tune.found(iter(subjects), lambda call: 1.0)
    plans[tuned.PLANS]["search"]["bfloat16"]["stages"] = 2
    plans[tuned.HEADS]["sgr reason"]["bfloat16"]["warps"] = 4
    assert tune.keep(measured, plans, {}) == measured
    assert launch_table.plan_for("search", torch.bfloat16, GPU) == known._replace(stages=2)
    assert launch_table.plan_for("search", torch.float16, GPU) == known
    now = attention_table.plan_for(torch.bfloat16, GPU, True)
    assert now.sgr.reason == heads.sgr.reason._replace(warps=4)
    assert now._replace(sgr=heads.sgr) == heads
    kept = json.loads(measured.read_text())
    assert {"machine", "versions", "commit", "date"} <= kept.keys()


def test_auto_takes_the_backend_that_was_measured_to_be_faster(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_REGISTRY", {})
    for name in ("triton", "cuda"):
        backends.register("some_op", name, lambda value, name=name: name)
    with FakeTensorMode():
        value = torch.empty(3, device="cuda")
    assert backends.select("some_op", None, value)(value) == "triton"
    tune.keep(measured, {}, {"some_op": {"float32": "cuda"}})
    assert backends.select("some_op", None, value)(value) == "cuda"
    assert backends.explain("some_op", value).chosen == "cuda"
    assert backends.select("some_op", "triton", value)(value) == "triton"
    assert backends.select("some_op", None, torch.empty(3))(value) == "triton"


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["tune"]) == 2
    assert "torch finds no GPU" in capsys.readouterr().err


def test_differences_beyond_rounding_are_no_other_order() -> None:
    one = (torch.tensor([1.0, math.nan]), torch.tensor([3]))
    assert tune.same((torch.tensor([1.001, math.nan]), torch.tensor([4])), one)
    assert not tune.same((torch.tensor([1.1, math.nan]), torch.tensor([3])), one)
