"""The sanitizer catches planted bugs and passes every kernel of K1."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from tests.tools.triton_sanitizer import Fault, sanitized

BLOCK = 64


@triton.jit
def double(x, out, N, ABOVE: tl.constexpr, BLOCK: tl.constexpr):
    """Right where ABOVE is 0."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + places, tl.load(x + places, mask=places < N) * 2, mask=places < N + ABOVE)


@triton.jit
def double_without_mask(x, out, N, BLOCK: tl.constexpr):
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + places, tl.load(x + places) * 2, mask=places < N)


@triton.jit
def total(x, out, N, ATOMIC: tl.constexpr, BLOCK: tl.constexpr):
    """A race unless ATOMIC."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + places, mask=places < N, other=0.0))
    if ATOMIC:
        tl.atomic_add(out, part)
    else:
        tl.store(out, tl.load(out) + part)


@triton.jit
def read_what_the_next_program_writes(out, N, BLOCK: tl.constexpr):
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ahead = tl.load(out + places + BLOCK, mask=places + BLOCK < N, other=0.0)
    tl.store(out + places, ahead, mask=places < N)


@triton.jit
def read_beside_atomics(out, seen, BLOCK: tl.constexpr):
    tl.atomic_max(out, tl.program_id(0))
    tl.store(seen + tl.program_id(0), tl.load(out))


@triton.jit
def store_many_to_one(x, out, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    tl.store(out + places // 2, tl.load(x + places))


@triton.jit
def rows_by_a_wrong_stride(x, out, N, D, stride, BLOCK: tl.constexpr):
    inner = tl.arange(0, BLOCK)
    row = tl.load(x + tl.program_id(0) * stride + inner, mask=inner < D, other=0.0)
    tl.store(out + tl.program_id(0), tl.sum(row))


def kinds(faults: list[Fault]) -> set[str]:
    return {fault.what for fault in faults}


@pytest.mark.parametrize("size", [1, 63, 64, 100])
def test_a_right_kernel_has_no_faults(size: int) -> None:
    x, grid = torch.randn(size), (triton.cdiv(size, BLOCK),)
    with sanitized() as faults:
        out, sum_of_all = torch.empty(size), torch.zeros(1)
        double[grid](x, out, size, ABOVE=0, BLOCK=BLOCK)
        total[grid](out, sum_of_all, size, ATOMIC=True, BLOCK=BLOCK)
    assert not faults
    torch.testing.assert_close(sum_of_all[0], 2 * x.sum())


def test_one_lane_beyond_the_tail() -> None:
    x = torch.randn(100)
    memory = torch.zeros(128)
    with sanitized() as faults:
        double[(2,)](x, memory[:100], 100, ABOVE=1, BLOCK=BLOCK)
    assert faults == [Fault("double", (1, 0, 0), "write out of bounds", 1, "out")]


def test_a_missing_mask() -> None:
    x = torch.randn(128)[:100]
    with sanitized() as faults:
        double_without_mask[(2,)](x, torch.zeros(100), 100, BLOCK=BLOCK)
    assert faults == [Fault("double_without_mask", (1, 0, 0), "read out of bounds", 28, "x")]


def test_a_race_of_sums() -> None:
    with sanitized() as faults:
        total[(3,)](torch.randn(150), torch.zeros(1), 150, ATOMIC=False, BLOCK=BLOCK)
    assert kinds(faults) == {"read races with another program", "write races with another program"}
    assert {fault.argument for fault in faults} == {"out"}


def test_a_race_that_the_interpreters_order_hides() -> None:
    with sanitized() as faults:
        read_what_the_next_program_writes[(2,)](torch.randn(128), 128, BLOCK=BLOCK)
    assert faults == [
        Fault("read_what_the_next_program_writes", (1, 0, 0), "write races with another program", 64, "out")
    ]


def test_a_plain_read_beside_atomics() -> None:
    with sanitized() as faults:
        read_beside_atomics[(2,)](torch.zeros(1, dtype=torch.int32), torch.zeros(2, dtype=torch.int32), BLOCK=BLOCK)
    assert "read races with another program" in kinds(faults)


def test_lanes_that_write_one_element() -> None:
    with sanitized() as faults:
        store_many_to_one[(1,)](torch.randn(BLOCK), torch.zeros(BLOCK // 2), BLOCK=BLOCK)
    assert faults == [Fault("store_many_to_one", (0, 0, 0), "several lanes write one element", 32, "out")]


def test_memory_between_the_rows_of_a_view() -> None:
    x = torch.randn(4, 40)[:, :30]
    with sanitized() as faults:
        rows_by_a_wrong_stride[(4,)](x, torch.zeros(4), 4, 30, 40, BLOCK=BLOCK)
    assert not faults
    with sanitized() as faults:
        rows_by_a_wrong_stride[(4,)](x, torch.zeros(4), 4, 30, 30, BLOCK=BLOCK)
    assert kinds(faults) == {"read out of bounds"}


def test_memory_never_written() -> None:
    with sanitized() as faults:
        x = torch.empty(BLOCK)
        x[:60] = 1.0
        double[(1,)](x, torch.empty(BLOCK), BLOCK, ABOVE=0, BLOCK=BLOCK)
    assert faults == [Fault("double", (0, 0, 0), "read of memory never written", 4, "x")]
