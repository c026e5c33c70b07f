"""Which backend runs, by argument, environment and inputs, and how that is explained."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast import backends, native, native_cuda, ops
from pcsr_fast.errors import BackendError, UserError

X = torch.randn(4, 3)
Y = torch.randn(4, 3)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    monkeypatch.delenv("PCSR_FAST_BACKEND", raising=False)
    monkeypatch.delenv("PCSR_FAST_DISABLE", raising=False)


@pytest.fixture
def ran(monkeypatch):
    """A registry with one op of three backends, and the list of those that ran."""
    monkeypatch.setattr(backends, "_REGISTRY", {})
    calls: list[str] = []
    backends.register("op", "reference", lambda value: calls.append("reference"))
    backends.register("op", "torch", lambda value: calls.append("torch"))
    backends.register(
        "op", "cuda", lambda value: calls.append("cuda"), lambda value, **_: None if value.is_cuda else "not on a GPU"
    )
    return calls


def test_every_op_has_a_reference():
    expected = {"triplet_loss", "triplet_loss_from_scores", "contrastive_loss", "contrastive_loss_from_scores"}
    expected |= {"hardest_negatives", "retrieval_ranks", "retrieval_ranks_from_scores", "pair_losses", "fit_mixture"}
    expected |= {"prediction_oscillation", "match_texts", "vote_consistency"}
    assert expected <= set(backends.registered_ops())
    for op in expected:
        assert "reference" in backends._REGISTRY[op]


def test_auto_takes_the_first_that_supports_the_inputs(ran):
    backends.select("op", None, X)(X)
    assert ran == ["torch"]


def test_the_argument_wins_over_the_environment(ran, monkeypatch):
    monkeypatch.setenv("PCSR_FAST_BACKEND", "torch")
    backends.select("op", "reference", X)(X)
    backends.select("op", None, X)(X)
    backends.select("op", "auto", X)(X)
    assert ran == ["reference", "torch", "torch"]


@pytest.mark.parametrize("name", ["triton", "cuda", "cpu"])
@pytest.mark.parametrize("by_environment", [True, False])
def test_one_that_cannot_run_raises_with_every_reason(ran, monkeypatch, name, by_environment):
    if by_environment:
        monkeypatch.setenv("PCSR_FAST_BACKEND", name)
    with pytest.raises(BackendError) as caught:
        backends.select("op", None if by_environment else name, X)
    expected = f"op: backend {name!r} cannot run these inputs (triton: does not implement this op; cuda: not on a GPU; "
    assert str(caught.value) == expected + "cpu: does not implement this op; torch: can run; reference: can run)"
    assert isinstance(caught.value, UserError)


def test_the_kill_switch_leaves_the_reference(ran, monkeypatch):
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    monkeypatch.setenv("PCSR_FAST_BACKEND", "nonsense")
    backends.select("op", None, X)(X)
    backends.select("op", "cuda", X)(X)
    assert ran == ["reference", "reference"]


@pytest.mark.parametrize("value", ["", "0"])
def test_the_kill_switch_can_be_off(ran, monkeypatch, value):
    monkeypatch.setenv("PCSR_FAST_DISABLE", value)
    backends.select("op", None, X)(X)
    assert ran == ["torch"]


def test_unknown_names(ran, monkeypatch):
    with pytest.raises(BackendError, match="backend: got 'fast', expected auto, triton, cuda, cpu, torch, reference"):
        backends.select("op", "fast", X)
    monkeypatch.setenv("PCSR_FAST_BACKEND", "gpu")
    with pytest.raises(BackendError, match="PCSR_FAST_BACKEND: got 'gpu', expected auto"):
        backends.select("op", None, X)
    with pytest.raises(BackendError, match="explain: no op 'sort'; expected one of op"):
        backends.explain("sort", X, backend="torch")


def test_registering_twice_or_elsewhere(ran):
    with pytest.raises(ValueError, match="op already has a backend 'torch'"):
        backends.register("op", "torch", print)
    with pytest.raises(ValueError, match="backend: got 'metal', expected one of triton"):
        backends.register("op", "metal", print)


def test_a_new_backend_is_one_call(ran):
    backends.register("op", "cpu", lambda value: ran.append("cpu"))
    backends.select("op", None, X)(X)
    assert ran == ["cpu"]
    assert backends.explain("op", X).chosen == "cpu"


def test_explain_prints_what_it_returns(capsys):
    explanation = backends.explain("triplet_loss", X, Y)
    assert capsys.readouterr().out == f"{explanation}\n"


def test_explain_names_choice_and_reasons(monkeypatch):
    monkeypatch.setattr(native, "status", lambda: (False, "no compiler"))
    monkeypatch.setattr(native_cuda, "built", lambda: (False, "no nvcc"))
    explanation = backends.explain("triplet_loss", X, Y, negatives="mean")
    assert explanation.chosen == "reference"
    assert str(explanation).splitlines() == [
        "triplet_loss: reference (requested: auto)",
        "  triton    tensors are on cpu",
        "  cuda      no nvcc",
        "  cpu       no compiler",
        "  torch     negatives='mean': only 'hardest'",
        "  reference can run",
    ]
    assert backends.explain("triplet_loss", X, Y).chosen == "torch"
    assert backends.explain("retrieval_ranks", X, Y).reasons["torch"] == "does not implement this op"
    nobody = backends.explain("retrieval_ranks", X, Y, backend="torch")
    assert nobody.chosen is None
    assert str(nobody).startswith("retrieval_ranks: no backend can run this (requested: torch)")


def test_environment_and_argument_reach_the_ops(monkeypatch):
    expected = ops.triplet_loss(X, Y)
    monkeypatch.setenv("PCSR_FAST_BACKEND", "torch")
    torch.testing.assert_close(ops.triplet_loss(X, Y), expected)
    with pytest.raises(BackendError, match=r"backend 'torch' cannot run these inputs .*only 'hardest'"):
        ops.triplet_loss(X, Y, negatives="sum")
    torch.testing.assert_close(ops.triplet_loss(X, Y, backend="reference"), expected)
    with pytest.raises(BackendError, match="contrastive_loss: backend 'torch'"):
        ops.contrastive_loss(X, Y, kind="infonce")


def test_a_compiled_step_follows_the_environment(monkeypatch):
    compiled = torch.compile(lambda x, y: ops.triplet_loss(x, y), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X, Y), ops.triplet_loss(X, Y))
    monkeypatch.setenv("PCSR_FAST_BACKEND", "triton")
    with pytest.raises(BackendError, match="triplet_loss: backend 'triton' cannot run"):
        compiled(X, Y)
