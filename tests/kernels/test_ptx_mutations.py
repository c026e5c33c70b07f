"""Faults in the real kernels' PTX are noticed, or explained in tests/kernels/ptx/redundant.toml."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernels.ptx.problems import CASES, launches_of
from tests.tools.ptx.compile import find_nvcc
from tests.tools.ptx_mutations import RESULTS, explained, explanations, run, trials

LEAST = 0.95


def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


@pytest.mark.parametrize(
    ("case", "kernel"), [("cuda mixture float32", "mixture mixture_step"), ("triton search bfloat16", "search_kernel")]
)
def test_barriers_and_waits_matter(case: str, kernel: str) -> None:
    if case.startswith("cuda") and find_nvcc() is None:
        pytest.skip("nvcc is not installed: there is no PTX")
    name, launches = [(name, those) for name, those in launches_of(case).items() if name.startswith(kernel)][-1]
    found = list(trials(name, launches, ("barrier", "wait", "commit"), copies=1))
    assert len(found) >= 2
    assert [trial for trial in found if not trial.by and explained(trial, explanations()) is None] == []
    assert any(trial.by == "hazard" for trial in found)


@pytest.mark.kernels
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("case", CASES)
def test_faults_of_a_case(case: str) -> None:
    """No more of them survive than are published."""
    before = committed()["kernels"]
    for name, row in run(case).items():
        assert len(row["survived"]) <= len(before[name]["survived"]), (name, row["survived"])


def test_the_committed_score() -> None:
    """Every case is in it, and the aim is reached."""
    results = committed()
    assert {name.split(":")[0] for name in results["kernels"]} == set(CASES)
    assert results["total"]["noticed or explained"] >= LEAST
    assert results["total"]["tried"] == sum(row["tried"] for row in results["kernels"].values())


def test_explanations_say_of_what_and_why() -> None:
    assert explanations()
    assert all(entry["reason"] and entry["mutants"] and entry["kernel"] for entry in explanations())
