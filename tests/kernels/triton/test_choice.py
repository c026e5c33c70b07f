"""What the backend says it can run, and that ops compile and check with it."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast import backends, ops
from pcsr_fast.errors import BackendError
from tests.ops.contrasts import make_contrasts
from tests.ops.tools import arguments
from tests.ops.triplets import make_triplets

X = torch.zeros(2, 2)


def test_reasons() -> None:
    explained = backends.explain("triplet_loss", X.double(), X.double())
    assert explained.reasons["triton"] == "no kernel for float64"
    few = backends.explain("triplet_loss", X, X, negatives="topk:3")
    assert few.reasons["triton"] == "negatives='topk:3': only hardest, mean and sum"
    with pytest.raises(BackendError, match="triton: no kernel for float64"):
        ops.triplet_loss(X.double(), X.double())


@pytest.mark.parametrize("negatives", ["hardest", "mean"])
def test_opcheck_of_triplets(negatives: str) -> None:
    problem = make_triplets(2, 6, 4, torch.float32, "anchor", negatives)
    inputs = {name: getattr(problem, name).requires_grad_() for name in ("x", "y", "margin")}
    op = torch.ops.pcsr_fast.triplet.default
    torch.library.opcheck(op, arguments(op, **problem.options | inputs, backend="triton"))


def test_opcheck_of_contrasts() -> None:
    problem = make_contrasts(2, 6, 4, torch.float32, "ccl_log")
    inputs = {"x": problem.x.requires_grad_(), "y": problem.y.requires_grad_(), "groups": problem.groups}
    op = torch.ops.pcsr_fast.contrastive.default
    settings = {"kind": "ccl_log", "temperature": 0.1, "q": 0.5, "margin": 0.1}
    torch.library.opcheck(op, arguments(op, **settings, **inputs, backend="triton"))


def test_a_compiled_step_runs_the_kernels() -> None:
    compiled = torch.compile(lambda x, y: ops.triplet_loss(x, y), fullgraph=True, backend="aot_eager")
    problem = make_triplets(3, 9, 4, torch.float32, "anchor", "hardest")
    torch.testing.assert_close(compiled(problem.x, problem.y), ops.triplet_loss(problem.x, problem.y))
