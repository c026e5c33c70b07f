"""Every subject of `python -m benchmarks tune` runs with another plan and answers alike."""

from __future__ import annotations

import pytest
import torch

from benchmarks import tune
from benchmarks.tune_subjects import Subject, head_subjects, matrix_subjects
from pcsr_fast.kernels.triton.tuned import HEADS, PLANS

CPU = torch.device("cpu")
DTYPES = {"float32", "tf32x3", "bfloat16", "float16"}


def changed(subjects: list[Subject], field: str, value: int) -> None:
    for subject in subjects:
        assert tune.same(subject.run(subject.start._replace(**{field: value})), subject.run(subject.start)), subject


def test_works_of_the_launch_table(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = list(matrix_subjects(40, 33, CPU))
    names = {"search", "shifted search", "ranks", "sums"}
    assert {(one.table, one.name, one.dtype) for one in subjects} == {(PLANS, n, d) for n in names for d in DTYPES}
    changed([one for one in subjects if one.dtype == "bfloat16"], "block_m", 32)
    monkeypatch.setattr(tune, "ALTERNATIVES", {"block_n": (32,)})
    search = [one for one in subjects if one.name == "search" and one.dtype == "float32"]
    kept = tune.found(iter(search), lambda call: (call(), 1.0)[1])
    assert kept[PLANS]["search"]["float32"] == search[0].start._asdict()


@pytest.mark.kernels
@pytest.mark.timeout(1200)
def test_tiles_of_the_heads() -> None:
    subjects = list(head_subjects(2, 64, CPU))
    kernels = {"scan", "sgr local", "sgr glob", "sgr reason", "sgr answer"}
    assert {(one.table, one.name, one.dtype) for one in subjects} == {(HEADS, n, d) for n in kernels for d in DTYPES}
    changed([one for one in subjects if one.dtype == "float32"], "block_k", 32)
