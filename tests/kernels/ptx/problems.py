"""Problems whose launches together come to every guard, wait and barrier of each kernel, as small as that allows.

Long rows go around the pipeline of copies and end within a copy; odd ones cannot be copied in blocks; what lies between them
is NaN, so that reading too far shows; 130 rows are a whole tile of CUDA's and a part of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.native_cuda import call
from pcsr_fast.ops import contrastive_loss, fit_mixture, retrieval_ranks, triplet_loss
from pcsr_fast.ops.cuda.search import hardest_gradient, search
from tests.kernels.ptx.cuda_module import MIXTURE_THREADS, interpreting, program
from tests.kernels.ptx.machine import Launch, Machine
from tests.tools.ptx import Struct

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
ARITHMETICS = {"plain": (FP32, "exact"), "split": (FP32, "auto"), "bfloat16": (BF16, "auto"), "float16": (FP16, "auto")}
SMALL = Plan("fused", 32, 32, 32, group=2, warps=4)
THREE_PASSES = SMALL._replace(precision="tf32x3")
CHUNKED = SMALL._replace(schedule="chunked", chunk=40)


def rows(count: int, width: int, dtype: torch.dtype, stride: int = 0, seed: int = 0) -> Tensor:
    """(count, width) of rows of about unit length, with NaN between them."""
    generator = torch.Generator().manual_seed(seed + count)
    made = torch.randn(count, stride or width + 1, generator=generator) / width**0.5
    made[:, width:] = torch.nan
    return made.to(dtype)[:, :width]


def long_rows(count: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Of 280 bytes, 288 apart: five stages of the CUDA pipeline."""
    size = torch.empty(0, dtype=dtype).element_size()
    return rows(count, 280 // size, dtype, 288 // size, seed)


def ids(count: int, step: int = 2) -> Tensor:
    return torch.arange(count) // step


def _cuda_search(name: str) -> None:
    dtype, precision = ARITHMETICS[name]
    for shift, size in (("row", 20), ("col", 20), ("matrix", 20)):
        x, y = rows(size, 9, dtype), rows(size, 9, dtype, seed=1)
        search(x, y, None, precision, rows(size, size, FP32) if shift == "matrix" else rows(1, size, FP32)[0], shift)
    search(long_rows(130, dtype), long_rows(70, dtype, 1), (ids(130), ids(70)), precision)


def _cuda_hinges(name: str) -> None:
    dtype, _ = ARITHMETICS[name]
    for mode, count in (("row", 20), ("col", 20), ("matrix", 20), ("anchor", 20)):
        margin = rows(count, count, FP32) if mode == "matrix" else rows(1, count, FP32)[0]
        x, y, groups = rows(count, 9, dtype), rows(count, 9, dtype, seed=1), ids(count) if mode == "anchor" else None
        triplet_loss(x, y, margin=margin.to(dtype), margin_mode=mode, negatives="sum", groups=groups)
    triplet_loss(long_rows(130, dtype), long_rows(130, dtype, 1), margin=0.2, negatives="sum")


def _cuda_ranks(name: str) -> None:
    dtype, precision = ARITHMETICS[name]
    for ties in ("pessimistic", "optimistic", "stable"):
        x, y = rows(20, 9, dtype), rows(30, 9, dtype, seed=1)
        y[2], y[5] = y[4], y[4]
        retrieval_ranks(x, y, ids(30), ties, precision=precision)
    retrieval_ranks(long_rows(130, dtype), long_rows(140, dtype, 1), ids(140), "stable", precision=precision)


def _gradients(dtype: torch.dtype, gradient: Callable[..., Any], unused: float) -> None:
    """Rows longer and shorter than a block; row 3 has no weight and holds `unused`."""
    count = 9
    by_row, by_column = rows(1, count, FP32)[0], rows(1, count, FP32, seed=1)[0]
    by_row[3] = by_column[3] = by_column[5] = by_row[6] = 0.0
    chosen = torch.tensor([1, 0, 4, 4, 4, 4, 4, 4, 4]), torch.tensor([2, 2, 1, 0, 8, 7, 2, 2, 2])
    for width in (5, 140, 600):
        sides = rows(count, width, dtype), rows(count, width, dtype, seed=1)
        for side in sides:
            side[3] = unused
        gradient(by_row, by_column, *sides, *chosen)


def _mixtures(machine: Machine) -> None:
    """Few values and more than a block's; Lloyd steps that move, and one whose first cluster is empty; many parts."""
    generator = torch.Generator().manual_seed(0)
    low, high = 0.2 + 0.03 * torch.randn(300, generator=generator), torch.rand(50, generator=generator)
    values = torch.cat([low, high]).clamp(0.01, 0.99)
    for kind, given in (("gaussian", 3 * values - 1), ("beta", values)):
        fit_mixture(given, kind, max_iter=2).posterior()
    fit_mixture(3 * values[280:320] - 1, max_iter=3, tol=10.0).posterior()
    for ordered, start in (([0.0, 1, 2, 3, 4, 5, 6, 40], [0.0, 1.0]), ([5.0, 6.0, 7.0], [0.0, 5.5])):
        line = torch.tensor(ordered, dtype=torch.float64)
        centres = torch.tensor(start, dtype=torch.float64)
        addresses = line.data_ptr(), line.cumsum(0), centres.data_ptr()
        call("two_means", line.device, addresses[0], addresses[1].data_ptr(), len(ordered), 20, addresses[2])
    sums, state = rows(300, 7, FP32).double().abs(), torch.rand(17, generator=generator).double()
    state[12] = 0.0  # it has not converged
    step = Struct("iidd", (1, 0, 1e-3, 1e-6))
    launch = (1,), MIXTURE_THREADS, [sums, 300, step, state], MIXTURE_THREADS * 7 * 8
    machine.launch(program("mixture", "mixture_step"), *launch)


def _triton_search(dtype: torch.dtype) -> None:
    from pcsr_fast.ops.triton.search import hardest_negatives

    for width, stride in ((70, 71), (80, 96)):
        x, y = rows(70, width, dtype, stride), rows(40, width, dtype, stride, seed=1)
        hardest_negatives(x, y, (ids(70), ids(40)), "auto")


def _triton_margins(dtype: torch.dtype) -> None:
    for mode in ("row", "col", "matrix"):
        margin = rows(40, 40, FP32) if mode == "matrix" else rows(1, 40, FP32)[0]
        x, y = rows(40, 33, dtype), rows(40, 33, dtype, seed=1)
        triplet_loss(x, y, margin=margin.to(dtype), margin_mode=mode)


def _triton_hinges(dtype: torch.dtype) -> None:
    x, y = (rows(40, 33, dtype, seed=seed).requires_grad_() for seed in (0, 1))
    triplet_loss(x, y, margin=0.2, negatives="sum", groups=ids(40)).backward()


def _triton_contrast(dtype: torch.dtype, kind: str) -> None:
    x, y = (rows(40, 33, dtype, seed=seed).requires_grad_() for seed in (0, 1))
    contrastive_loss(x, y, kind=kind, groups=ids(40)).backward()


def _triton_gradients(dtype: torch.dtype) -> None:
    from pcsr_fast.kernels.triton.scatter import hardest_gradients

    _gradients(dtype, hardest_gradients, 1.0)


# What runs, with which plan (None: by CUDA), and the beginnings of the names of the kernels whose launches are looked at.
Case = tuple[Callable[[Machine], None], Plan | None, tuple[str, ...]]
CASES: dict[str, Case] = {
    "cuda hardest bfloat16": (lambda _: _cuda_search("bfloat16"), None, ("hardest",)),
    "cuda hardest float16": (lambda _: _cuda_search("float16"), None, ("hardest walk",)),
    "cuda hardest split": (lambda _: _cuda_search("split"), None, ("hardest walk",)),
    "cuda hardest plain": (lambda _: _cuda_search("plain"), None, ("hardest walk",)),
    "cuda hinges bfloat16": (lambda _: _cuda_hinges("bfloat16"), None, ("hinge", "pairs")),
    "cuda ranks split": (lambda _: _cuda_ranks("split"), None, ("ranks",)),
    "cuda gradient bfloat16": (lambda _: _gradients(BF16, hardest_gradient, torch.inf), None, ("gradient",)),
    "cuda mixture float32": (_mixtures, None, ("mixture",)),
    "triton search bfloat16": (lambda _: _triton_search(BF16), SMALL, ("search", "unpack")),
    "triton search float16": (lambda _: _triton_search(FP16), SMALL, ("search",)),
    "triton search float32": (lambda _: _triton_search(FP32), SMALL, ("search",)),
    "triton search tf32x3": (lambda _: _triton_search(FP32), THREE_PASSES, ("search",)),
    "triton search chunked": (lambda _: _triton_search(FP32), CHUNKED, ("search",)),
    "triton margins float32": (lambda _: _triton_margins(FP32), SMALL, ("search",)),
    "triton gradient bfloat16": (lambda _: _triton_gradients(BF16), SMALL, ("scatter",)),
    "triton hinges bfloat16": (lambda _: _triton_hinges(BF16), SMALL, ("own", "gather", "join", "slopes")),
    "triton infonce float32": (lambda _: _triton_contrast(FP32, "infonce"), CHUNKED, ("gather", "join", "slopes")),
    "triton tal float32": (lambda _: _triton_contrast(FP32, "tal"), CHUNKED, ("gather", "join")),
    "triton ccl_gce float32": (lambda _: _triton_contrast(FP32, "ccl_gce"), CHUNKED, ("gather", "slopes")),
}


def run_case(name: str, machine: Machine) -> None:
    """Run a case's problems on `machine`, CUDA's with one block for all tiles."""
    run, plan, _ = CASES[name]
    if plan is None:
        with interpreting(machine, most=1):
            run(machine)
        return
    from tests.kernels.ptx import triton_device

    with triton_device.interpreting(machine, plan):
        run(machine)


def launches_of(name: str) -> dict[str, list[Launch]]:
    """The launches of a case by kernel, all of which ran clean; specialisations of one kernel are numbered."""
    machine = Machine(keep=True)
    run_case(name, machine)
    machine.check()
    found: dict[str, list[Launch]] = {}
    for launch in machine.launches:
        if launch.program.name.startswith(CASES[name][2]):
            found.setdefault(launch.program.text, []).append(launch)
    named: dict[str, list[Launch]] = {}
    for launches in found.values():
        kernel = launches[0].program.name
        number = sum(key.split(", variant")[0] == kernel for key in named)
        named[f"{kernel}, variant {number + 1}" if number else kernel] = launches
    return named
