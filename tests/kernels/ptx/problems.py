"""Problems whose launches together come to every guard, wait and barrier of each kernel, as small as that allows.

Long rows go around the pipeline of copies and end within a copy; odd ones cannot be copied in blocks; what lies between them
is NaN, so that reading too far shows; 130 rows are a whole tile of CUDA's and a part of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.kernels.triton.launch import Plan
from pcsr_fast.kernels.triton.mixture import two_means
from pcsr_fast.kernels.triton.scatter import hardest_gradients
from pcsr_fast.native_cuda import call
from pcsr_fast.ops import contrastive_loss, fit_mixture, hardest_negatives, retrieval_ranks, triplet_loss
from pcsr_fast.ops.cuda.search import hardest_gradient, search
from tests.kernels.ptx.cuda_module import MIXTURE_THREADS, THREADS, interpreting, program
from tests.kernels.ptx.machine import Launch, Machine
from tests.kernels.ptx.triton_device import interpreting as triton_interpreting
from tests.tools.ptx import Struct, Uninitialised

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
ARITHMETICS = {"plain": (FP32, "exact"), "split": (FP32, "auto"), "bfloat16": (BF16, "auto"), "float16": (FP16, "auto")}
SMALL = Plan("fused", 32, 32, 32, group=2, warps=4)
TALL = Plan("fused", 256, 32, 32, group=2)
THREE_PASSES = SMALL._replace(precision="tf32x3")
CHUNKED = SMALL._replace(schedule="chunked", chunk=40)
FEW = 5  # fewer rows than a block has warps
ROUNDS = 2600  # values of which a block of 256 threads takes four twice, and some more


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


def opposed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sides whose scores are all far below 0, which is what nothing scores, those of a pair (row i and row i) the largest."""
    common = min(len(x), len(y))
    y[:common] = x[:common]
    x[:, 0], y[:, 0] = 1.0, -64.0
    return x, y


def _cuda_search(machine: Machine, name: str) -> None:
    dtype, precision = ARITHMETICS[name]
    with interpreting(machine, most=1):
        for shift, width, stride in (("row", 9, 16), ("col", 9, 0), ("matrix", 141, 0)):
            x, y = opposed(rows(70, width, dtype, stride), rows(70, width, dtype, stride, seed=1))
            margin = rows(70, 70, FP32).contiguous()
            search(x, y, None, precision, margin if shift == "matrix" else margin[0], shift)
        x, y = opposed(rows(FEW, 9, dtype), rows(FEW, 9, dtype, seed=1))
        search(x, y, None, precision)
        x[2, 0] = torch.nan
        search(x, y, None, precision)
        x, y = opposed(long_rows(130, dtype), long_rows(70, dtype, 1))
        search(x, y, (ids(130, 1), ids(70, 1)), precision)
    keys = torch.arange(1, ROUNDS + 1) << 32
    keys[::7] = 0
    values, indices = Uninitialised(torch.empty(ROUNDS)), Uninitialised(torch.empty(ROUNDS, dtype=torch.int64))
    machine.launch(program("hardest", "unpack_keys"), (1,), THREADS, [keys, ROUNDS, values, indices], 0)


def _cuda_hinges(machine: Machine, name: str) -> None:
    dtype, _ = ARITHMETICS[name]
    with interpreting(machine, most=1):
        for mode, width, stride in (("row", 9, 16), ("col", 9, 0), ("matrix", 141, 0), ("anchor", 9, 0)):
            margin = rows(70, 70, FP32).contiguous().to(dtype)
            x, y = rows(70, width, dtype, stride), rows(70, width, dtype, stride, seed=1)
            x, y = (x, y) if mode == "matrix" else opposed(x, y)
            groups = ids(70) if mode == "anchor" else None
            given = {"margin": margin if mode == "matrix" else margin[0], "margin_mode": mode, "groups": groups}
            triplet_loss(x, y, **given, negatives="sum")
        triplet_loss(rows(FEW, 9, dtype), rows(FEW, 9, dtype, seed=1), margin=0.2, negatives="sum")
        triplet_loss(long_rows(130, dtype), long_rows(130, dtype, 1), margin=0.2, negatives="sum")
    for one in (dtype, FP32):
        wide = rows(3, 300, one)
        side = Struct("PqqqP", (wide, 3, 300, wide.stride(0), None))
        element = "IfE" if one == FP32 else "BFloat16"
        launch = (1,), THREADS, [side, torch.zeros(1, dtype=torch.int32)], 0
        machine.launch(program("hinge", "largest_square", element), *launch)
    sums, unit = torch.arange(ROUNDS), torch.full((1,), 0.5, dtype=torch.float64)
    args = [sums, ROUNDS, unit, 0.25, Uninitialised(torch.empty(ROUNDS))]
    machine.launch(program("hinge", "scale_sums"), (1,), THREADS, args, 0)


def _cuda_ranks(machine: Machine, name: str) -> None:
    dtype, precision = ARITHMETICS[name]
    with interpreting(machine, most=1):
        for ties, width, stride in (("pessimistic", 9, 16), ("optimistic", 9, 0), ("stable", 141, 0)):
            x, y = rows(70, width, dtype, stride), rows(90, width, dtype, stride, seed=1)
            y[2], y[5] = y[4], y[4]
            retrieval_ranks(x, y, ids(90), ties, precision=precision)
        retrieval_ranks(rows(FEW, 9, dtype), rows(FEW, 9, dtype, seed=1), ids(FEW, 1), "stable", precision=precision)
        x, y = long_rows(130, dtype), long_rows(140, dtype, 1)
        x[1::2], y[1::2] = x[::2], y[::2]
        for ties in ("stable", "pessimistic"):
            retrieval_ranks(x, y, ids(140), ties, precision=precision)
    image_of_text = ids(ROUNDS)
    best = torch.zeros(ROUNDS // 2, dtype=torch.int64)
    args = [rows(1, ROUNDS, FP32)[0], image_of_text, ROUNDS, best]
    machine.launch(program("ranks", "best_captions"), (1,), THREADS, args, 0)


def _gradients(dtype: torch.dtype, gradient: Callable[..., Any], unused: int, value: float) -> None:
    """Rows longer and shorter than a block, a hub, one that four chose; row `unused` has no weight and holds `value`."""
    count = 20
    by_row, by_column = rows(1, count, FP32)[0], rows(1, count, FP32, seed=1)[0]
    by_row[unused] = by_column[unused] = by_column[5] = by_row[6] = 0.0
    chosen = torch.full((count,), 4, dtype=torch.int32), torch.arange(count, dtype=torch.int32) // 2 + 8
    chosen[0][:3], chosen[0][3:7] = torch.tensor([1, 0, 19], dtype=torch.int32), 7
    for width in (5, 1030):
        sides = rows(count, width, dtype), rows(count, width, dtype, seed=1)
        for side in sides:
            side[unused] = value
        gradient(by_row, by_column, *sides, *chosen)


def _mixtures(machine: Machine) -> None:
    """Few values and more than a block's; Lloyd steps that move, and one whose first cluster is empty; many parts."""
    generator = torch.Generator().manual_seed(0)
    low, high = 0.2 + 0.03 * torch.randn(300, generator=generator), torch.rand(50, generator=generator)
    values = torch.cat([low, high]).clamp(0.01, 0.99)
    with interpreting(machine, most=1):
        _fits(values)
    sums, state = rows(2148, 7, FP32).double().abs(), torch.rand(17, generator=generator).double()
    state[12] = 0.0  # it has not converged
    step = Struct("iidd", (1, 0, 1e-3, 1e-6))
    launch = (1,), MIXTURE_THREADS, [sums, 2148, step, state], MIXTURE_THREADS * 7 * 8
    machine.launch(program("mixture", "mixture_step"), *launch)
    for parts in (1, 2):  # runs of several batches, and eight or nine values left over for a thread
        few = values.repeat(42)[:14_436], 14_436, state, Uninitialised(torch.empty(parts, 7).double())
        kernel = program("mixture", "mixture_float32_sumsILb1")
        machine.launch(kernel, (parts,), MIXTURE_THREADS, list(few), MIXTURE_THREADS * 7 * 8 + 24)


def _lines() -> Iterator[tuple[Tensor, Tensor]]:
    """Values in rising order and centres: some that move, and some of which the first has nothing."""
    for ordered, start in (([0.0, 1, 2, 3, 4, 5, 6, 40], [0.0, 1.0]), ([5.0, 6.0, 7.0], [0.0, 5.5])):
        yield torch.tensor(ordered, dtype=torch.float64), torch.tensor(start, dtype=torch.float64)


def _fits(values: Tensor) -> None:
    for kind, given in (("gaussian", 3 * values - 1), ("beta", values)):
        fit_mixture(given, kind, max_iter=2).posterior()
    fit_mixture(3 * values[280:320] - 1, max_iter=3, tol=10.0).posterior()
    for line, centres in _lines():
        sums = line.cumsum(0)
        call("two_means", line.device, line.data_ptr(), sums.data_ptr(), len(line), 20, centres.data_ptr())


def _triton_search(machine: Machine, dtype: torch.dtype, plan: Plan, most: int = 70) -> None:
    with triton_interpreting(machine, plan):
        for width, stride in ((70, 71), (80, 96)):
            for count in (most, 2, 3):
                x, y = opposed(rows(count, width, dtype, stride), rows(40, width, dtype, stride, seed=1))
                if count == 3:
                    x[1, 0] = torch.nan
                hardest_negatives(x, y, (ids(count, 1), ids(40, 1)))


def _triton_margins(machine: Machine, dtype: torch.dtype) -> None:
    with triton_interpreting(machine, SMALL):
        for mode in ("row", "col", "matrix"):
            for count in (40, 2):
                margin = rows(count, count, FP32).to(dtype)
                x, y = rows(count, 33, dtype), rows(count, 33, dtype, seed=1)
                triplet_loss(x, y, margin=margin if mode == "matrix" else margin[0].contiguous(), margin_mode=mode)


def _triton_sums(machine: Machine, loss: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    """In one part, in parts of one tile and of two; few rows, so that all of a tile but them lies outside."""
    for plan, counts in ((SMALL, (70, 2)), (CHUNKED._replace(waves=3), (70, 2)), (CHUNKED, (70,))):
        for count in counts:
            x, y = (rows(count, 33, dtype, seed=seed).requires_grad_() for seed in (0, 1))
            with triton_interpreting(machine, plan):
                loss(x, y, ids(count)).backward()


def _triton_contrast(machine: Machine, kind: str) -> None:
    _triton_sums(machine, lambda x, y, groups: contrastive_loss(x, y, kind=kind, groups=groups), FP32)


def _triton_hinges(machine: Machine, dtype: torch.dtype) -> None:
    _triton_sums(machine, lambda x, y, groups: triplet_loss(x, y, margin=0.2, negatives="sum", groups=groups), dtype)


def _triton_gradients(machine: Machine, dtype: torch.dtype) -> None:
    """What stands in for no anchor, the first row, holds infinity once, and once it counts."""
    for unused, value in ((0, 1.0), (0, torch.inf), (3, 1.0)):
        with triton_interpreting(machine, SMALL):
            _gradients(dtype, hardest_gradients, unused, value)


def _triton_mixtures(machine: Machine) -> None:
    """Values of one part with some left over, in float32 and in float64."""
    values = torch.cat([0.2 + 0.03 * rows(1, 300, FP32)[0], torch.linspace(0.3, 0.9, 50)]).clamp(0.01, 0.99)
    with triton_interpreting(machine, SMALL):
        for kind, given in (("gaussian", values), ("gaussian", values.double()), ("beta", values)):
            fit_mixture(given, kind, max_iter=2, tol=1e-6).posterior()
            fit_mixture(given, kind, max_iter=3, tol=10.0)
        for line, centres in _lines():
            two_means(line, line.cumsum(0), 20, centres)


def _cuda_gradients(machine: Machine, dtype: torch.dtype) -> None:
    with interpreting(machine, most=1):
        _gradients(dtype, hardest_gradient, 3, torch.inf)


# What runs, and the beginnings of the names of the kernels whose launches are looked at.
Case = tuple[Callable[[Machine], None], tuple[str, ...]]
CASES: dict[str, Case] = {
    "cuda hardest bfloat16": (lambda machine: _cuda_search(machine, "bfloat16"), ("hardest",)),
    "cuda hardest float16": (lambda machine: _cuda_search(machine, "float16"), ("hardest walk",)),
    "cuda hardest split": (lambda machine: _cuda_search(machine, "split"), ("hardest walk",)),
    "cuda hardest plain": (lambda machine: _cuda_search(machine, "plain"), ("hardest walk",)),
    "cuda hinges bfloat16": (lambda machine: _cuda_hinges(machine, "bfloat16"), ("hinge", "pairs")),
    "cuda ranks split": (lambda machine: _cuda_ranks(machine, "split"), ("ranks", "pairs")),
    "cuda gradient bfloat16": (lambda machine: _cuda_gradients(machine, BF16), ("gradient",)),
    "cuda mixture float32": (_mixtures, ("mixture",)),
    "triton search bfloat16": (lambda machine: _triton_search(machine, BF16, SMALL), ("search", "unpack")),
    "triton search float16": (lambda machine: _triton_search(machine, FP16, SMALL), ("search",)),
    "triton search float32": (lambda machine: _triton_search(machine, FP32, SMALL), ("search",)),
    "triton search tf32x3": (lambda machine: _triton_search(machine, FP32, THREE_PASSES), ("search",)),
    "triton search tall": (lambda machine: _triton_search(machine, BF16, TALL, 270), ("search",)),
    "triton search chunked": (lambda machine: _triton_search(machine, FP32, CHUNKED), ("search",)),
    "triton margins float32": (lambda machine: _triton_margins(machine, FP32), ("search",)),
    "triton gradient bfloat16": (lambda machine: _triton_gradients(machine, BF16), ("scatter",)),
    "triton mixture float32": (_triton_mixtures, ("float32_sums", "sums", "step", "posterior", "two_means")),
    "triton hinges bfloat16": (lambda machine: _triton_hinges(machine, BF16), ("own", "gather", "join", "slopes")),
    "triton infonce float32": (lambda machine: _triton_contrast(machine, "infonce"), ("gather", "join", "slopes")),
    "triton tal float32": (lambda machine: _triton_contrast(machine, "tal"), ("gather", "join")),
    "triton ccl_gce float32": (lambda machine: _triton_contrast(machine, "ccl_gce"), ("gather", "slopes")),
}


def launches_of(name: str) -> dict[str, list[Launch]]:
    """The launches of a case by kernel, all of which ran clean; specialisations of one kernel are numbered."""
    machine = Machine(keep=True)
    CASES[name][0](machine)
    machine.check()
    found: dict[str, list[Launch]] = {}
    for launch in machine.launches:
        if launch.program.name.startswith(CASES[name][1]):
            found.setdefault(launch.program.text, []).append(launch)
    named: dict[str, list[Launch]] = {}
    for launches in found.values():
        kernel = launches[0].program.name
        number = sum(key.split(", variant")[0] == kernel for key in named)
        named[f"{kernel}, variant {number + 1}" if number else kernel] = launches
    return named
