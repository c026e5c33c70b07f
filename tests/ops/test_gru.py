"""The packed GRU against torch's own, which is the truth here."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast import backends, native
from pcsr_fast.ops import _gru_steps
from pcsr_fast.ops._gru_steps import Steps
from pcsr_fast.ops.cpu import gru as cpu
from pcsr_fast.ops.gru import HALF_SIZE, bidirectional_gru
from tests.ops.gru import gradients, mean_of_directions, problem, single_precision_errors, to_float
from tests.ops.tools import SEEDS, guarded_memory, threads

# About the edges of vectors, and of panels of rows and columns.
COUNTS = st.one_of(st.integers(1, 5), st.sampled_from((7, 8, 13, 14, 15, 29)))
UNITS = st.one_of(st.integers(1, 9), st.sampled_from((15, 16, 17, 31, 32, 33, 47, 64, 65, 100)))


@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    width=st.integers(1, 5),
    size=st.integers(1, 5),
    layers=st.integers(1, 3),
)
def test_values_and_gradients_are_those_of_torch(seed: int, lengths: list[int], width: int, size: int, layers: int):
    gru, packed = problem(seed, lengths, width, size, layers)
    found, truth = bidirectional_gru(gru, packed), mean_of_directions(gru, packed)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
    upstream = torch.randn_like(truth)
    for got, expected in zip(
        gradients(found, upstream, gru, packed), gradients(truth, upstream, gru, packed), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_autocast_rounds_products_alone():
    gru, packed = to_float(*problem(0, [7, 3, 5, 7], 16, 32, 2))
    truth = mean_of_directions(gru, packed)
    with torch.autocast("cpu", torch.bfloat16):
        found = bidirectional_gru(gru, packed)
    assert found.dtype == torch.float32
    assert not torch.equal(found, truth)
    torch.testing.assert_close(found, truth, rtol=0, atol=2e-2)
    for got, expected in zip(
        gradients(found, torch.ones_like(truth), gru, packed),
        gradients(truth, torch.ones_like(truth), gru, packed),
        strict=True,
    ):
        assert got.dtype == torch.float32
        assert float((got - expected).norm()) <= 2e-2 * float(expected.norm())


def test_frozen_weights_and_constant_inputs_get_no_gradient():
    gru, packed = problem(1, [3, 2], 3, 4, 1)
    gru.weight_hh_l0.requires_grad_(False)
    packed = packed._replace(data=packed.data.detach())
    bidirectional_gru(gru, packed).sum().backward()
    truth = {name: value.grad for name, value in gru.named_parameters()}
    gru.zero_grad()
    mean_of_directions(gru, packed).sum().backward()
    for name, value in gru.named_parameters():
        assert (truth[name] is None) == (value.grad is None)
        if value.grad is not None:
            torch.testing.assert_close(truth[name], value.grad, rtol=1e-10, atol=1e-12)


def test_a_second_derivative_is_refused():
    gru, packed = problem(2, [2], 2, 2, 1)
    (first,) = torch.autograd.grad(bidirectional_gru(gru, packed).square().sum(), packed.data, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@given(
    seed=SEEDS,
    lengths=COUNTS.flatmap(lambda count: st.lists(st.integers(1, 6), min_size=count, max_size=count)),
    width=st.integers(1, 5),
    size=UNITS,
    layers=st.integers(1, 2),
)
def test_single_precision_follows_float64(seed: int, lengths: list[int], width: int, size: int, layers: int):
    gru, packed = problem(seed, lengths, width, size, layers)
    for ours, theirs, tolerance in single_precision_errors(gru, packed):
        assert ours <= theirs + tolerance


@pytest.mark.parametrize("lengths", [[1], [9], [4] * 30, [1] * 15, [30, 1, 1], list(range(1, 20))])
@pytest.mark.parametrize("size", [20, 150])
def test_regular_lengths_and_sums_deeper_than_a_chunk(lengths: list[int], size: int):
    for ours, theirs, tolerance in single_precision_errors(*problem(7, lengths, 9, size, 1)):
        assert ours <= theirs + tolerance


def recurrence(module: object, dtype: torch.dtype, reverse: bool = False) -> list[torch.Tensor]:
    """What a backend's pair of functions gives, on a layer of 300 units and a strided upstream gradient."""
    draw = torch.Generator().manual_seed(5)
    gates, bias, weight, upstream = (
        torch.randn(shape, generator=draw, dtype=torch.float64).div(scale).to(dtype)
        for shape, scale in (((60, 1200), 1), ((900,), 4), ((900, 300), 17), ((60, 600), 1))
    )
    steps = Steps([20, 20, 15, 4, 1], reverse)
    before, hidden = module.gru_states(gates, bias, weight, steps, dtype)  # type: ignore[attr-defined]
    found = module.gru_gradient(upstream[:, 300:], gates, before, weight, steps, dtype)  # type: ignore[attr-defined]
    return [gates, before, hidden, found]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_loop_and_the_native_core_agree(reverse: bool):
    truth = recurrence(_gru_steps, torch.float64, reverse)
    for got, expected in zip(recurrence(cpu, torch.float32, reverse), truth, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=3e-6)


def test_the_number_of_threads_changes_nothing():
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(recurrence(cpu, torch.float32))
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_nothing_is_written_beside_the_results():
    gru, packed = to_float(*problem(3, [5, 2, 2], 3, 13, 2))
    with guarded_memory() as blocks:
        bidirectional_gru(gru, packed).sum().backward()
    assert blocks


@pytest.mark.parametrize("scale", [1e-30, 1e-4, 0.3, 0.6, 2.0, 50.0, 1e4])
def test_gates_are_as_near_as_float32_is(scale: float):
    draw = torch.Generator().manual_seed(1)
    gates = torch.randn(40, 4 * 20, generator=draw) * scale
    inputs = gates.double()
    cpu.gru_states(gates, torch.zeros(60), torch.zeros(60, 20), Steps([40], False), torch.float32)
    torch.testing.assert_close(gates[:, :20].double(), inputs[:, :20].tanh(), rtol=4e-7, atol=0)
    torch.testing.assert_close(gates[:, 20:60].double(), inputs[:, 20:60].sigmoid(), rtol=4e-7, atol=1e-37)


def test_not_a_number_stays_one():
    gates = torch.full((1, 4), float("nan"))
    _, hidden = cpu.gru_states(gates, torch.zeros(3), torch.zeros(3, 1), Steps([1], False), torch.float32)
    assert hidden.isnan().all()


def test_evaluation_gives_what_training_does():
    gru, packed = to_float(*problem(4, [5, 2, 2], 3, 13, 2))
    with torch.no_grad():
        found = bidirectional_gru(gru, packed)
    assert torch.equal(found, bidirectional_gru(gru, packed))


def test_the_loop_runs_what_the_native_core_does_not(monkeypatch: pytest.MonkeyPatch):
    wide = torch.ones(2, 2, dtype=torch.float64)
    assert backends.select("gru_states", None, wide) is _gru_steps.gru_states
    assert backends.select("gru_states", None, wide.float()) is cpu.gru_states
    assert "tensors are float64" in str(backends._REGISTRY["gru_gradient"]["cpu"].supports(wide))
    monkeypatch.setattr(native, "status", lambda: (False, "no compiler"))
    assert backends.select("gru_states", None, wide.float()) is _gru_steps.gru_states


@pytest.mark.parametrize(
    ("size", "tiles", "native_states"), [(HALF_SIZE, True, False), (HALF_SIZE, False, True), (8, True, True)]
)
def test_large_bfloat16_products_are_left_to_tiles(
    monkeypatch: pytest.MonkeyPatch, size: int, tiles: bool, native_states: bool
):
    monkeypatch.setattr(cpu, "has_tiles", lambda: tiles)
    ran = []
    for op, name in itertools.product(("gru_states", "gru_gradient"), ("cpu", "torch")):
        own = backends._REGISTRY[op][name]
        run = functools.partial(lambda run, name, *given: ran.append(name) or run(*given), own.run, name)
        monkeypatch.setitem(backends._REGISTRY[op], name, backends.Implementation(run, own.supports))
    gru, packed = to_float(*problem(0, [2, 1], 3, size, 1))
    with torch.autocast("cpu", torch.bfloat16):
        bidirectional_gru(gru, packed).sum().backward()
    assert ran == ["cpu" if native_states else "torch"] * 4
