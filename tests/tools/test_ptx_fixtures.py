"""What nvcc and Triton really emitted, run by the interpreter and compared with torch in float64."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tools import ptx

FOLDER = Path(__file__).with_name("ptx_fixtures")
ORDERS = ("together", "forward", "reversed", 7)


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.ptx").read_text()


@pytest.fixture(scope="module")
def cuda() -> ptx.Module:
    return ptx.parse(text_of("nvcc"))


def run_triton(
    text: str, grid: Any, args: list[Any], order: str | int = "together", kernel: ptx.Kernel | None = None
) -> ptx.Report:
    """kernel: in the place of the text's own."""
    facts = dict(re.findall(r"(shared|warps)=(\d+)", text.splitlines()[0].split(";")[-1]))
    shared, threads = int(facts["shared"]), 32 * int(facts["warps"])
    return ptx.launch(kernel or ptx.parse(text).only, grid, threads, [*args, None, None], shared, order=order)


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


@pytest.mark.parametrize("order", ORDERS)
def test_softmax_of_cuda(cuda: ptx.Module, order: str | int) -> None:
    x, y = normal(3, 100), torch.empty(3, 100)
    report = ptx.launch(cuda["softmax"], 3, 96, [x, ptx.Uninitialised(y), 100], order=order)
    assert report.clean, report
    expected = x.double().softmax(1) * torch.tensor([1.0, 2.0, 0.5, 4.0]).double().repeat(25)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-7)
    assert report.executed("shfl.sync") == 3 * 96 * 10
    assert report.executed("bar.sync") == 3 * 96 * 3


@pytest.mark.parametrize("order", ORDERS)
def test_atomics_of_cuda(cuda: ptx.Module, order: str | int) -> None:
    rows, n = 6, 70
    x = normal(rows, n)
    keys, histogram, total = (
        torch.zeros(n, dtype=torch.int64),
        torch.zeros(8, dtype=torch.int32),
        torch.zeros(1).double(),
    )
    report = ptx.launch(cuda["reduce"], (2, 3), 64, [x, keys, histogram, total, rows, n], order=order)
    assert report.clean, report
    assert torch.equal(0xFFFFFFFF - (keys & 0xFFFFFFFF), x.argmax(0))
    places = (x.double() * 3 + 4).clamp(min=0).int()  # the conversion to unsigned saturates
    expected = torch.bincount(places.flatten() & 7, minlength=8)
    assert torch.equal(histogram.long(), expected)
    torch.testing.assert_close(total[0], x.double().sum())


@pytest.mark.parametrize("order", ORDERS)
def test_tensor_cores_of_cuda(cuda: ptx.Module, order: str | int) -> None:
    m, n, k = 32, 24, 80
    a, b, c = normal(m, k, dtype=torch.bfloat16), normal(n, k, dtype=torch.bfloat16), torch.empty(m, n)
    report = ptx.launch(cuda["tensor"], (n // 8, m // 16), 32, [a, b, ptx.Uninitialised(c), n, k], order=order)
    assert report.clean, report
    torch.testing.assert_close(c.double(), a.double() @ b.double().T, rtol=1e-5, atol=1e-5)
    assert report.executed("mma.sync.aligned.m16n8k16") * 16 * 8 * 16 == 32 * m * n * k


def test_mixed_integers_of_cuda(cuda: ptx.Module) -> None:
    """The same in Python integers."""
    n, rounds = 64, 5
    x = torch.randint(-(2**31), 2**31, (n,), generator=torch.Generator().manual_seed(0)).int()
    h, y, g = (
        normal(n, 2, dtype=torch.float16),
        torch.empty(n, dtype=torch.int32),
        torch.empty(n, 2, dtype=torch.float16),
    )
    args = [x, ptx.Uninitialised(y), h, ptx.Uninitialised(g), rounds]
    report = ptx.launch(cuda["mixed"], 1, n, args)
    assert report.clean, report
    sums = [mixed(int(value), t, rounds) for t, value in enumerate(x)]
    warps = [sums[:32], sums[32:]]
    twos = sum(value & 2 > 0 for value in sums)
    extra = [32 * 3 // 2 + sum(value & 1 for value in warps[t // 32]) + twos for t in range(n)]
    expected = np.array([(s + e) & 0xFFFFFFFF for s, e in zip(sums, extra, strict=True)], np.uint32).view(np.int32)
    assert np.array_equal(y.numpy(), expected)
    half = (h.double() * h.double() + (h + h).double()).half()
    assert torch.equal(g, half.clamp(min=0.5))


def signed(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def mixed(x: int, t: int, rounds: int) -> int:
    own = [signed(x + i) for i in range(8)]
    for i in range(rounds):
        at = (x + i) & 7
        own[at] = signed(own[at] + (own[x * 3 & 7] >> 1))
    total = 0
    for value in own:
        total = signed(total * 7 + value)
    bits = total & 0xFFFFFFFF
    if t % 8 == 0:
        total = signed(total + bits.bit_count())
    elif t % 8 == 1:
        total ^= signed(int(f"{bits:032b}"[::-1], 2))
    elif t % 8 == 2:
        total = signed(total - (32 - bits.bit_length()))
    elif t % 8 == 3:
        total = int(total / 7) + int(np.fmod(total, 11))
    elif t % 8 == 4:
        total = signed(bits // 13)
    elif t % 8 == 5:
        both = (bits | t << 32).to_bytes(8, "little")
        total = signed(int.from_bytes(bytes(both[int(digit)] for digit in "1452"), "little"))
    elif t % 8 == 6:
        total = signed((t << 9 | bits >> 23) & 0xFFFFFFFF)
    return total


TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("order", ["together", "reversed"])
def test_products_of_triton(kind: str, order: str | int) -> None:
    m, n, k = 40, 33, 48
    result = torch.float64 if kind == "fp64" else torch.float32
    a, b, c = normal(m, k, dtype=TYPES[kind]), normal(n, k, dtype=TYPES[kind]), torch.empty(m, n, dtype=result)
    report = run_triton(text_of(f"triton_product_{kind}"), (2, 2), [a, b, ptx.Uninitialised(c), m, n, k], order)
    assert report.clean, report
    torch.testing.assert_close(c.double(), a.double() @ b.double().T, rtol=1e-5, atol=1e-5 if kind != "fp64" else 1e-13)
    assert (report.executed("mma.sync") > 0) == (kind != "fp32")


def test_log_sum_exp_of_triton() -> None:
    rows, n = 32, 50
    x, y, total = normal(rows, n, dtype=torch.bfloat16), torch.empty(rows), torch.tensor([0.0, -100.0])
    report = run_triton(text_of("triton_log_sum_exp_bf16"), 2, [x, ptx.Uninitialised(y), total, n])
    assert report.clean, report
    expected = x.double().logsumexp(1)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(total.double(), torch.stack([expected.sum(), expected.max()]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_scan_and_sort_of_triton(order: str | int) -> None:
    n, block = 50, 64
    x, y, z = normal(n, dtype=torch.float16), torch.empty(n, dtype=torch.float16), torch.empty(2 * block).double()
    report = run_triton(text_of("triton_running_fp16"), 1, [x, ptx.Uninitialised(y), ptx.Uninitialised(z), n], order)
    assert report.clean, report
    padded = torch.cat([x.double(), torch.zeros(block - n).double()])
    torch.testing.assert_close(y.double(), x.double().cumsum(0), rtol=1e-3, atol=1e-3)
    assert torch.equal(z[:block], padded.sort().values)
    torch.testing.assert_close(z[block:], padded.sigmoid(), rtol=1e-7, atol=0)


REDUNDANT = {
    "triton_product_bf16": ["barrier bar.sync 0 #2"],  # nothing is waited for between it and the one before
    "triton_product_fp32": [],
}


@pytest.mark.parametrize("name", REDUNDANT)
def test_every_barrier_of_triton_that_matters_is_missed(name: str) -> None:
    kind = name.split("_")[-1]
    m, n, k = 40, 33, 96
    a, b = normal(m, k, dtype=TYPES[kind]), normal(n, k, dtype=TYPES[kind])
    c, text = torch.empty(m, n), text_of(name)
    mutants = list(ptx.mutate(ptx.parse(text).only, ("barrier",)))
    args = [a, b, c, m, n, k]
    unnoticed = [mutant.name for mutant in mutants if run_triton(text, (2, 2), args, kernel=mutant.kernel).clean]
    assert len(mutants) >= 5
    assert unnoticed == REDUNDANT[name]
