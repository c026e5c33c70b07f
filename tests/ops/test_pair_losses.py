"""Losses of every pair of a set at chosen points: value, edges, determinism; random ones are beside this."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcsr_fast import ops, reference
from tests.ops.tools import (
    DTYPES,
    FORWARD,
    ODD_SIZES,
    STEADY,
    assert_as_good,
    assert_same_bits,
    guarded_memory,
    make_pairs,
    runnable,
    threads,
)

BACKENDS = runnable("pair_losses", torch.zeros(2, 2), torch.zeros(2, 2), margin=0.2, batch_size=None, groups=None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("size", "width"), [*((size, 33) for size in ODD_SIZES), (40, 1537), (1, 1)])
@pytest.mark.parametrize("batch_size", [None, 30])
def test_precision_against_float64(dtype, backend, size, width, batch_size):
    x, y, groups, _ = make_pairs(size, size, width, dtype, grouping="pairs")
    options = {"batch_size": batch_size, "groups": groups, "margin": 0.3}
    truth = reference.pair_losses(x.double(), y.double(), **options)
    theirs, ours = reference.pair_losses(x, y, **options), ops.pair_losses(x, y, **options, backend=backend)
    assert ours.losses.dtype == theirs.losses.dtype
    assert_as_good(ours.losses, theirs.losses, truth.losses, FORWARD[dtype])
    for value, other, expected in zip(ours.statistics, theirs.statistics, truth.statistics, strict=True):
        assert (value.dtype, value.ndim) == (torch.float64, 0)
        assert_as_good(value, other, expected, FORWARD[dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_ids_and_order_of_every_integer_type(backend):
    x, y, _, _ = make_pairs(3, 20, 4, torch.float32)
    order, groups = torch.randperm(20), torch.arange(20) // 2
    expected = ops.pair_losses(x, y, batch_size=6, order=order, groups=groups, backend=backend)
    for dtype in (torch.int32, torch.int8, torch.uint8):
        options = {"order": order.to(dtype), "groups": groups.to(dtype)}
        assert torch.equal(ops.pair_losses(x, y, batch_size=6, **options, backend=backend).losses, expected.losses)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [None, 2, 16])
def test_one_group_has_no_loss(backend, batch_size):
    x, y, _, _ = make_pairs(3, 33, 4, torch.float32)
    found = ops.pair_losses(x, y, groups=torch.ones(33, dtype=torch.int16), batch_size=batch_size, backend=backend)
    assert found.losses.tolist() == [0.0] * 33
    assert [float(value) for value in found.statistics] == [0.0] * 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_does_not_lower_the_precision(backend):
    x, y = torch.randn(20, 64), torch.randn(20, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ops.pair_losses(x, y, backend=backend).losses
    assert torch.equal(inside, ops.pair_losses(x, y, backend=backend).losses)


@pytest.mark.parametrize("backend", BACKENDS)
def test_statistics_normalise_as_minmax_does(backend):
    losses, statistics = ops.pair_losses(torch.randn(50, 8), torch.randn(50, 8), backend=backend)
    scaled = (losses.double() - statistics.minimum) / (statistics.maximum - statistics.minimum)
    torch.testing.assert_close(scaled, ops.minmax(losses).double())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [None, 150])
def test_repeats_to_the_bit_on_any_number_of_threads(backend, batch_size):
    x, y, groups, _ = make_pairs(3, 300, 64, torch.float32, grouping="pairs")
    results = []
    for count in (1, 1, 3) if backend in STEADY else (1, 1, 1):
        with threads(count):
            losses, statistics = ops.pair_losses(x, y, groups=groups, batch_size=batch_size, backend=backend)
            results.append((losses, *statistics))
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            assert_same_bits(value, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [None, 30])
def test_writes_stay_inside_its_own_memory(backend, batch_size):
    x, y, groups, _ = make_pairs(3, 100, 33, torch.float32, grouping="pairs")
    with guarded_memory() as blocks:
        guarded = ops.pair_losses(x, y, groups=groups, batch_size=batch_size, backend=backend)
    assert blocks or backend == "reference"
    expected = ops.pair_losses(x, y, groups=groups, batch_size=batch_size, backend=backend)
    assert_same_bits(guarded.losses, expected.losses)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_read_only_file_mapped_into_memory(backend, tmp_path):
    x, y, _, _ = make_pairs(3, 129, 16, torch.float32)
    expected = ops.pair_losses(x, y, chunk=50, backend=backend).losses
    for name, side in (("x", x), ("y", y)):
        np.save(tmp_path / name, side.numpy())
    mapped = (torch.from_numpy(np.load(tmp_path / f"{name}.npy", mmap_mode="c")) for name in ("x", "y"))
    assert torch.equal(ops.pair_losses(*mapped, chunk=50, backend=backend).losses, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_opcheck(backend, batch_size):
    x, y, groups, _ = make_pairs(3, 7, 4, torch.float32, grouping="pairs")
    order = None if batch_size is None else torch.randperm(7)
    arguments = (x, y, 0.2, batch_size, order, groups, 4, backend)
    torch.library.opcheck(torch.ops.pcsr_fast.pair_losses.default, arguments)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_without_a_break(backend):
    def losses(x: torch.Tensor, y: torch.Tensor, order: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = ops.pair_losses(x, y, batch_size=3, order=order, backend=backend)
        return found.losses, *found.statistics

    x, y, _, _ = make_pairs(3, 7, 4, torch.float32)
    compiled = torch.compile(losses, fullgraph=True, backend="aot_eager")
    for ours, truth in zip(compiled(x, y, torch.arange(7)), losses(x, y, torch.arange(7)), strict=True):
        assert torch.equal(ours, truth)
