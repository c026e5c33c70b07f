"""Correctly rounded floating point on top of numpy's: fused multiply-add and the directed roundings.

Fused operations use rounding to odd: a value that is inexact in the wider format keeps a last bit of 1, so that rounding it
once more gives what one rounding of the exact value would (Boldo and Melquiond, "Emulation of a FMA and correctly rounded
sums", 2008).
"""

from __future__ import annotations

import numpy as np

from .types import Array, Type

_SPLIT = 134217729.0  # 2^27 + 1 cuts a float64 in two halves (Veltkamp)


def two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """The rounded sum and its exact error."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def two_product(x: Array, y: Array) -> tuple[Array, Array]:
    """The rounded product of float64 and its exact error, where nothing overflows."""
    product = x * y
    bx, by = _SPLIT * x, _SPLIT * y
    hx, hy = bx - (bx - x), by - (by - y)
    lx, ly = x - hx, y - hy
    return product, ((hx * hy - product) + hx * ly + lx * hy) + lx * ly


def odd_sum(x: Array, y: Array) -> Array:
    """x + y of float64 rounded to odd."""
    total, error = two_sum(x, y)
    bits = np.ascontiguousarray(total).view(np.int64)
    inexact = np.isfinite(error) & (error != 0) & (bits & 1 == 0)
    away = (error > 0) == (total > 0)
    return np.where(inexact, bits + np.where(away, 1, -1), bits).view(np.float64)


def fma(x: Array, y: Array, z: Array, kind: Type, mode: str = "rn") -> Array:
    """x * y + z rounded once to `kind`; float64 to nearest only."""
    if kind.name != "f64":  # the product of two float32 is exact in float64
        return round_to(odd_sum(x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)), kind, mode)
    high, low = two_product(x, y)
    middle, rest = two_sum(z, low)
    upper, part = two_sum(high, middle)
    plain = x * y + z
    exact = upper + odd_sum(rest, part)
    return np.where(np.isfinite(plain) & np.isfinite(exact), exact, plain)


def to_nearest(values: Array, kind: Type) -> Array:
    """float64 rounded to nearest even as values of `kind` (float32 that fit bfloat16 for bf16)."""
    if kind.kind != "bf":
        return values.astype(kind.values)
    single = values.astype(np.float32)
    back = single.astype(np.float64)
    bits = np.ascontiguousarray(single).view(np.int32)
    inexact = np.isfinite(single) & (back != values) & (bits & 1 == 0)
    odd = np.where(inexact, bits + np.where(np.abs(values) > np.abs(back), np.int32(1), np.int32(-1)), bits).view(
        np.float32
    )
    return kind.decode(kind.encode(odd.reshape(values.shape))).reshape(values.shape)


def round_to(values: Array, kind: Type, mode: str = "rn") -> Array:
    """float64 as values of `kind`: rn nearest even, rz towards zero, rm down, rp up."""
    nearest = to_nearest(values, kind)
    if mode == "rn" or kind.name == "f64":
        return nearest
    wide = nearest.astype(np.float64)
    towards_zero = np.abs(wide) > np.abs(values)
    wrong = {"rz": towards_zero, "rm": wide > values, "rp": wide < values}[mode]
    if kind.kind == "bf":
        bits = np.ascontiguousarray(nearest).view(np.int32)
        return np.where(wrong, bits + np.where(towards_zero, np.int32(-0x10000), np.int32(0x10000)), bits).view(
            np.float32
        )
    to = {"rz": 0.0, "rm": -np.inf, "rp": np.inf}[mode]
    return np.where(wrong, np.nextafter(nearest, kind.values.type(to)), nearest)


def add_rounded(x: Array, y: Array, mode: str) -> Array:
    """x + y with a directed rounding."""
    total, error = two_sum(x, y)
    return _directed(total, error, mode)


def multiply_rounded(x: Array, y: Array, mode: str) -> Array:
    if x.dtype == np.float32:
        exact = x.astype(np.float64) * y.astype(np.float64)
        nearest = exact.astype(np.float32)
        return _directed(nearest, exact - nearest, mode)
    return _directed(*two_product(x, y), mode)


def _directed(nearest: Array, error: Array, mode: str) -> Array:
    """`error` is what the exact value is above the nearest one."""
    above, below = (error > 0) & np.isfinite(error), (error < 0) & np.isfinite(error)
    down = below if mode == "rm" else below & (nearest > 0) if mode == "rz" else np.zeros_like(below)
    up = above if mode == "rp" else above & (nearest < 0) if mode == "rz" else np.zeros_like(above)
    infinity = nearest.dtype.type(np.inf)
    return np.where(down, np.nextafter(nearest, -infinity), np.where(up, np.nextafter(nearest, infinity), nearest))
