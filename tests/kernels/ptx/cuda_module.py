"""`_native_cuda` by interpretation: the launches of csrc/cuda, of the PTX that nvcc makes for sm_80, on the CPU's memory."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast import native_cuda
from tests.kernels.ptx.machine import Machine, Program, alone
from tests.tools.ptx import PTXError, Struct, Uninitialised
from tests.tools.ptx.compile import nvcc

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / "build" / "ptx"
FOLDERS = ("kernels/cuda", "csrc/cuda", "csrc")
THREADS, MIXTURE_THREADS, GRADIENT_THREADS = 256, 256, 128
PIPELINE_BYTES = 4 * 2 * 128 * 64
TILE = 128
# By the numbers of `Arithmetic` and `Type`: how their names are mangled, and the elements.
ARITHMETICS = (("11PlainFloats", 4), ("11SplitFloats", 4), ("8BFloat16", 2), ("7Float16", 2))
TYPES = (("IfE", np.float32), ("8BFloat16", np.uint16), ("7Float16", np.uint16))
Matrix = tuple[int, int, int, int, int]


def _ptx(stem: str) -> str:
    """Of one launcher's file, kept by the hash of all sources."""
    sources = sorted(path for folder in FOLDERS[:2] for path in (ROOT / folder).glob("*.*"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:24]
    made = CACHE / f"{stem}-{key}.ptx"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.part")
        include = [f"-I{ROOT / folder}" for folder in FOLDERS]
        part.write_text(nvcc(ROOT / "csrc" / "cuda" / f"{stem}.cu", "-lineinfo", *include))
        part.replace(made)  # whole or not at all: other processes may look
    return made.read_text()


@functools.cache
def program(stem: str, *parts: str) -> Program:
    """The kernel of `stem`.cu whose mangled name holds all `parts`."""
    text = _ptx(stem)
    names = [line.split()[2].rstrip("(") for line in text.splitlines() if line.startswith(".visible .entry")]
    found = [name for name in names if all(part in name for part in parts)]
    if len(found) != 1:
        raise PTXError(f"{len(found)} kernels of {stem}.cu are called {parts}: {names}")
    return Program(" ".join((stem, *(part.lstrip("0123456789") for part in parts))), alone(text, found[0]), found[0])


def memory(address: int, count: int, kind: Any) -> np.ndarray | None:
    """`count` elements at an address; None for a null pointer."""
    size = count * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), kind) if address else None


def fresh(address: int, count: int, kind: Any) -> Uninitialised | None:
    """An output that nobody has written."""
    there = memory(address, count, kind)
    return None if there is None else Uninitialised(there)


def embeddings(matrix: Matrix, size: int, held: int | None = None) -> Struct:
    """`Matrix` of parameters.h with elements of `size` bytes; held: rows in memory where `rows_of` chooses among them."""
    address, rows, width, stride, rows_of = matrix
    there = rows if held is None else held
    count = (there - 1) * stride + width if there else 0
    return Struct("PqqqP", (memory(address, count, f"u{size}"), rows, width, stride, memory(rows_of, rows, np.int64)))


class CudaModule:
    """The functions of csrc/bind_cuda.cpp, for a device that runs at most `most` blocks at a time."""

    device_type, architectures, compiler, mixture_numbers = "cpu", "sm_80", "nvcc, interpreted", 17

    def __init__(self, machine: Machine, most: int) -> None:
        self.machine, self.most = machine, most

    def _loop(self, stem: str, parts: tuple[str, ...], count: int, args: list[Any], each: int = THREADS) -> None:
        """A kernel that loops over `count` items, `each` of them a block at a time."""
        if count:
            threads = GRADIENT_THREADS if stem == "gradient" else THREADS
            self.machine.launch(program(stem, *parts), (min(self.most, -(-count // each)),), threads, args, 0)

    def _walk(
        self,
        stem: str,
        epilogue: str,
        sides: tuple[Struct, Struct],
        arithmetic: int,
        of: Struct,
        diagonal: bool = False,
    ) -> None:
        down, across = (-(-side.values[1] // TILE) for side in sides)
        tiles = down if diagonal else down * across
        name = ARITHMETICS[arithmetic][0]
        if tiles:
            args = [Struct("SSb", (*sides, diagonal)), tiles, of]
            grid = (min(tiles, self.most),)
            self.machine.launch(program(stem, "walk_tiles", name, epilogue), grid, THREADS, args, PIPELINE_BYTES)

    def hardest(self, queue, x, y, arithmetic, groups, shift, margins, margin_stride, keys, own, out) -> int:
        N, M, size = x[1], y[1], ARITHMETICS[arithmetic][1]
        counts = {1: N, 2: M, 3: (N - 1) * margin_stride + M}
        epilogue = (
            memory(groups[0], N, np.int64),
            memory(groups[1], M, np.int64),
            memory(margins, counts.get(shift, 0), np.float32),
            margin_stride,
            shift,
            memory(keys[0], N, np.uint64),
            memory(keys[1], M, np.uint64),
            fresh(own, N, np.float32),
        )
        sides = embeddings(x, size), embeddings(y, size)
        self._walk("hardest", "HardestNegatives", sides, arithmetic, Struct("PPPqiPPP", epilogue))
        for side, count in enumerate((N, M)):
            found = fresh(out[2 * side], count, np.float32), fresh(out[2 * side + 1], count, np.int64)
            args = [memory(keys[side], count, np.uint64), count, *found]
            self._loop("hardest", ("unpack_keys",), count, args)
        return 0

    def side_gradient(self, queue, matrix, kind, plan, out) -> int:
        name, element = TYPES[kind]
        count, width = matrix[1], matrix[2]
        kinds = (np.float32, np.int32, np.float32, np.int32, np.int64)
        given = [memory(address, count, kind) for address, kind in zip(plan, kinds, strict=True)]
        data = embeddings(matrix, np.dtype(element).itemsize).values[0]
        side = Struct("PqqqPPPPPP", (data, matrix[3], count, width, *given, fresh(out, count * width, element)))
        self._loop("gradient", ("side_gradient", name), count, [side], each=1)
        return 0

    def _pair_scores(self, x: Struct, y: Struct, arithmetic: int, scores: int) -> None:
        epilogue = Struct("P", (fresh(scores, y.values[1], np.float32),))
        self._walk("pairs", "PairScores", (x, y), arithmetic, epilogue, diagonal=True)

    def hinge_sums(self, queue, x, y, arithmetic, groups, margins, factor, work, out) -> int:
        address, margin_count, margin_step, shift = margins
        count, (name, size) = x[1], ARITHMETICS[arithmetic]
        sides = embeddings(x, size), embeddings(y, size)
        self._pair_scores(*sides, arithmetic, work[2])
        given = embeddings((address, margin_count, 1, 1, 0), 4)
        for number, (side, element) in enumerate(((sides[0], name), (sides[1], name), (given, "IfE"))):
            one = memory(work[0] + 4 * number, 1, np.uint32)
            parts = ("largest_square", "IfE" if size == 4 else element)
            self._loop("hinge", parts, side.values[1], [side, one], each=THREADS // 32)
        unit = [memory(work[0], 3, np.uint32), count, fresh(work[1], 1, np.float64)]
        self.machine.launch(program("hinge", "choose_unit"), (1,), 1, unit, 0)
        sums = [memory(one, count, np.uint64) for one in work[3:]]
        own, scale = memory(work[2], count, np.float32), memory(work[1], 1, np.float64)
        held = memory(address, margin_count, np.float32)
        epilogue = (memory(groups, count, np.int64), own, held, margin_step, shift, scale, *sums)
        self._walk("hinge", "HingeSums", sides, arithmetic, Struct("PPPqiPPP", epilogue))
        for total, place in zip(sums, out, strict=True):
            args = [total, count, scale, factor, fresh(place, count, np.float32)]
            self._loop("hinge", ("scale_sums",), count, args)
        return 0

    def ranks(self, queue, x, y, arithmetic, image_of_text, ties, work, out) -> int:
        images, texts, size = x[1], y[1], ARITHMETICS[arithmetic][1]
        sides = embeddings(x, size), embeddings(y, size)
        own_images = embeddings((x[0], texts, x[2], x[3], image_of_text), size, held=images)
        self._pair_scores(own_images, sides[1], arithmetic, work[1])
        chosen, own = memory(image_of_text, texts, np.int64), memory(work[1], texts, np.float32)
        best = memory(work[0], images, np.uint64)
        self._loop("ranks", ("best_captions",), texts, [own, chosen, texts, best])
        counts = memory(out[0], images, np.uint64), memory(out[1], texts, np.uint64)
        epilogue = Struct("PPPiPP", (chosen, best, own, ties, *counts))
        self._walk("ranks", "RankCounts", sides, arithmetic, epilogue)
        return 0

    def mixture_pass(self, queue, values, assigned, stage, kind, tol, reg_covar, state, partials, parts) -> int:
        address, count, wide = values
        held, sums = memory(state, self.mixture_numbers, np.float64), memory(partials, 7 * parts, np.float64)
        given = memory(address, count, np.float64 if wide else np.float32)
        shared = MIXTURE_THREADS * 7 * 8
        if (wide, kind, stage) == (False, 0, 1):
            name, args = f"mixture_float32_sumsILb{int(address % 16 == 0)}", [given, count, held, sums]
            more = 24  # the log-odds
        else:
            args = [given, count, memory(assigned, count, np.uint8), kind, held, sums]
            name, more = "mixture_sumsIdE" if wide else "mixture_sumsIfE", 0
        self.machine.launch(program("mixture", name), (parts,), MIXTURE_THREADS, args, shared + more)
        step = [sums, parts, Struct("iidd", (stage, kind, tol, reg_covar)), held]
        self.machine.launch(program("mixture", "mixture_step"), (1,), MIXTURE_THREADS, step, shared)
        return 0

    def mixture_posterior(self, queue, values, kind, state, low, high, out) -> int:
        address, count, wide = values
        given = memory(address, count, np.float64 if wide else np.float32)
        held = memory(state, self.mixture_numbers, np.float64)
        name = "mixture_posteriorIdE" if wide else "mixture_posteriorIfE"
        args = [given, count, kind, held, float(low), float(high), fresh(out, count, np.float64)]
        self._loop("mixture", (name,), count, args)
        return 0

    def two_means(self, queue, ordered, sums, count, steps, centres) -> int:
        held = [memory(address, count, np.float64) for address in (ordered, sums)]
        args = [*held, count, steps, memory(centres, 2, np.float64)]
        self.machine.launch(program("mixture", "two_means"), (1,), 1, args, 0)
        return 0


@contextmanager
def interpreting(machine: Machine, most: int = 2) -> Iterator[None]:
    """Every launch of a CUDA kernel inside goes to `machine`; ops on the CPU's tensors take the backend "cuda"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_cuda, "_import", lambda: (CudaModule(machine, most), ""))
        patch.setenv("PCSR_FAST_BACKEND", "cuda")
        yield
