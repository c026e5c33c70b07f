"""Triton kernels whose PTX the interpreter's tests run; `write.py` writes it beside them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product(A, B, C, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """C = A B^T, rows padded by masks."""
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    rn = tl.program_id(1) * BN + tl.arange(0, BN)
    sums = tl.zeros((BM, BN), C.dtype.element_ty)
    for k0 in range(0, K, BK):
        rk = k0 + tl.arange(0, BK)
        a = tl.load(A + rm[:, None] * K + rk[None, :], mask=(rm[:, None] < M) & (rk[None, :] < K), other=0.0)
        b = tl.load(B + rn[None, :] * K + rk[:, None], mask=(rn[None, :] < N) & (rk[:, None] < K), other=0.0)
        sums = tl.dot(a, b, sums, input_precision="ieee", out_dtype=C.dtype.element_ty)
    tl.store(C + rm[:, None] * N + rn[None, :], sums, mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def log_sum_exp(X, Y, TOTAL, N, BM: tl.constexpr, BN: tl.constexpr):
    """Y[row] = log sum exp X[row], their sum added to TOTAL[0] and their maximum kept in TOTAL[1]."""
    rm = tl.program_id(0) * BM + tl.arange(0, BM)
    most = tl.full((BM,), -float("inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    for n0 in range(0, N, BN):
        rn = n0 + tl.arange(0, BN)
        x = tl.load(X + rm[:, None] * N + rn[None, :], mask=rn[None, :] < N, other=-float("inf")).to(tl.float32)
        new = tl.maximum(most, tl.max(x, 1))
        total = total * tl.exp(most - new) + tl.sum(tl.exp(x - new[:, None]), 1)
        most = new
    y = most + tl.log(total)
    tl.store(Y + rm, y)
    tl.atomic_add(TOTAL, tl.sum(y))
    tl.atomic_max(TOTAL + 1, tl.max(y))


@triton.jit
def running(X, Y, Z, N, B: tl.constexpr):
    """Y: running sums in fp16; Z: sorted in fp64, then e^x / (1 + e^x)."""
    r = tl.arange(0, B)
    x = tl.load(X + r, mask=r < N, other=0.0).to(tl.float32)
    tl.store(Y + r, tl.cumsum(x, 0).to(tl.float16), mask=r < N)
    tl.store(Z + r, tl.sort(x).to(tl.float64))
    tl.store(Z + B + r, tl.sigmoid(x.to(tl.float64)))
