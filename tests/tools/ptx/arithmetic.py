"""Integer and floating-point arithmetic.

Approximate instructions (div.approx, ex2.approx, ...) are computed as the exact value rounded to nearest.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .floats import add_rounded, fma, multiply_rounded, round_to
from .instructions import Site, Step, compute, rule
from .state import Group, Mask
from .types import TYPES, Array

TINY = np.float32(2.0**-126)  # the smallest normal float32


def flush(values: Array) -> Array:
    """Subnormal float32 become zeros of the same sign."""
    return np.where(np.abs(values) < TINY, np.copysign(np.float32(0), values), values)


def finished(function: Callable[..., Array], match: re.Match[str]) -> Callable[..., Array]:
    """`function` with the .ftz and .sat of an opcode of float type."""
    groups = match.groupdict()

    def call(*values: Array) -> Array:
        result = function(*(map(flush, values) if groups.get("ftz") and values[0].dtype == np.float32 else values))
        if groups.get("sat"):
            result = np.where(np.isnan(result), result.dtype.type(0), np.clip(result, 0, 1)).astype(result.dtype)
        return flush(result) if groups.get("ftz") and result.dtype == np.float32 else result

    return call if groups.get("ftz") or groups.get("sat") else function


_WRAPPING: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul.lo": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


@rule(r"(?P<op>add|sub|mul\.lo|min|max)\.{int}")
def integer(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind, kind), _WRAPPING[match["op"]])


def divide(x: Array, y: Array) -> Array:
    """Towards zero; all bits set where y is 0, as the device does."""
    safe = np.where(y == 0, y.dtype.type(1), y)
    quotient = x // safe
    if x.dtype.kind == "i":
        quotient = quotient + ((x % safe != 0) & ((x < 0) != (safe < 0))).astype(x.dtype)
    return np.where(y == 0, ~np.zeros_like(quotient), quotient)


@rule(r"(?P<op>div|rem)\.{int}")
def quotient(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    if match["op"] == "div":
        return compute(site, kind, (kind, kind), divide)
    return compute(site, kind, (kind, kind), lambda x, y: np.where(y == 0, x, x - divide(x, y) * y))


def high(x: Array, y: Array) -> Array:
    """The upper half of a product."""
    bits = 8 * x.dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"{x.dtype.kind}{x.dtype.itemsize * 2}").type
        return ((x.astype(wide) * y.astype(wide)) >> wide(bits)).astype(x.dtype)
    products = [int(a) * int(b) >> 64 for a, b in zip(*np.broadcast_arrays(x, y), strict=True)]
    return np.array([value & (2**64 - 1) for value in products], np.uint64).view(x.dtype)


@rule(r"mul\.(?P<part>hi|wide)\.{int}")
def multiply_wide(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    if match["part"] == "hi":
        return compute(site, kind, (kind, kind), high)
    wide = f"{kind[0]}{2 * int(kind[1:])}"
    return compute(site, wide, (kind, kind), lambda x, y: x.astype(TYPES[wide].values) * y.astype(TYPES[wide].values))


@rule(r"mad\.(?P<part>lo|hi|wide)\.{int}")
def multiply_add(site: Site, match: re.Match[str]) -> Step:
    kind, part = match["type"], match["part"]
    if part == "wide":
        wide = f"{kind[0]}{2 * int(kind[1:])}"
        values = TYPES[wide].values
        return compute(site, wide, (kind, kind, wide), lambda x, y, z: x.astype(values) * y.astype(values) + z)
    product = high if part == "hi" else np.multiply
    return compute(site, kind, (kind, kind, kind), lambda x, y, z: product(x, y) + z)


@rule(r"(?P<op>add|addc|sub|subc|mad\.lo|madc\.lo|mad\.hi|madc\.hi)(?P<out>\.cc)?\.(?P<type>[us]32)")
def with_carry(site: Site, match: re.Match[str]) -> Step:
    """Extended precision: the carry is a flag of each thread."""
    count, wide = len(site.operands) - 1, np.uint64
    reads, write = [site.read(index, "u32") for index in range(1, count + 1)], site.write(site.operands[0], "u32")
    op, uses, minus = match["op"], match["op"].split(".")[0].endswith("c"), match["op"].startswith("sub")

    def step(group: Group, mask: Mask) -> None:
        values = [read(group).astype(wide) for read in reads]
        if op.startswith("mad"):
            product = values[0] * values[1]
            values = [product >> wide(32) if op.endswith("hi") else product & wide(0xFFFFFFFF), values[2]]
        carry = group.carry.astype(wide) if uses else wide(0)
        total = values[0] - values[1] - carry if minus else values[0] + values[1] + carry
        if match["out"]:
            out = ((total >> wide(32)) & wide(1)).astype(np.uint32)
            group.carry = np.broadcast_to(out, group.n) if mask is None else np.where(mask, out, group.carry)
        write(group, total.astype(np.uint32), mask)

    return step


@rule(r"(?P<op>neg|abs)\.{int}")
def integer_sign(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind,), np.negative if match["op"] == "neg" else np.abs)


@rule(r"(?P<op>neg|abs){ftz}\.{float}")
def float_sign(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind,), finished(np.negative if match["op"] == "neg" else np.abs, match))


_EXACT = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


@rule(r"(?P<op>add|sub|mul|div){round}(?:\.(?:full|approx))?{ftz}{sat}\.{float}")
def float_binary(site: Site, match: re.Match[str]) -> Step:
    kind, op, mode = match["type"], match["op"], match["round"] or "rn"
    function: Callable[..., Array] = _EXACT[op]
    if mode != "rn":
        if op == "div" or kind not in ("f32", "f64"):
            raise site.error(f"unknown rounding of {op}")
        exact = multiply_rounded if op == "mul" else add_rounded
        sign = -1 if op == "sub" else 1
        return compute(site, kind, (kind, kind), finished(lambda x, y: exact(x, sign * y, mode), match))
    return compute(site, kind, (kind, kind), finished(function, match))


@rule(r"fma{round}{ftz}{sat}(?P<relu>\.relu)?\.{float}")
def fused(site: Site, match: re.Match[str]) -> Step:
    kind, mode, relu = match["type"], match["round"] or "rn", match["relu"]
    target = TYPES[kind]
    if kind == "f64" and mode != "rn":
        raise site.error(f"rounding {mode} of fma.f64 is not modelled")

    def function(x: Array, y: Array, z: Array) -> Array:
        result = fma(x, y, z, target, mode)
        return np.maximum(result, result.dtype.type(0)) if relu else result

    return compute(site, kind, (kind, kind, kind), finished(function, match))


@rule(r"(?P<op>min|max){ftz}(?P<nan>\.NaN)?(?:\.xorsign\.abs)?\.{float}")
def extreme(site: Site, match: re.Match[str]) -> Step:
    """Without .NaN a NaN counts as missing; -0 is less than +0."""
    kind, least = match["type"], match["op"] == "min"
    if "xorsign" in match[0]:
        raise site.error("unknown modifier .xorsign")
    choose = (np.minimum if least else np.maximum) if match["nan"] else (np.fmin if least else np.fmax)

    def function(x: Array, y: Array) -> Array:
        zeros = (x == 0) & (y == 0)
        signed = np.where(np.signbit(x) == least, x, y)
        return np.where(zeros, signed, choose(x, y))

    return compute(site, kind, (kind, kind), finished(function, match))


_UNARY: dict[str, Callable[[Array], Array]] = {
    "rcp": lambda x: 1 / x,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}


@rule(r"(?P<op>rcp|sqrt|rsqrt|ex2|lg2|sin|cos|tanh)(?:\.approx|{round}){ftz}\.(?P<type>f32|f64|f16x2|bf16x2|f16|bf16)")
def special(site: Site, match: re.Match[str]) -> Step:
    """Computed in float64 and rounded."""
    kind, function, mode = match["type"], _UNARY[match["op"]], match["round"] or "rn"
    if kind == "f64" and mode != "rn":
        raise site.error(f"rounding {mode} of {match['op']}.f64 is not modelled")

    def value(x: Array) -> Array:
        return round_to(function(x.astype(np.float64)), TYPES[kind], mode)

    return compute(site, kind, (kind,), finished(value, match))


@rule(r"copysign\.(?P<type>f32|f64)")
def sign_of_first(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind, kind), lambda x, y: np.copysign(y, x))


@rule(r"testp\.(?P<test>finite|infinite|number|notanumber|normal|subnormal)\.(?P<type>f32|f64)")
def test(site: Site, match: re.Match[str]) -> Step:
    least = np.finfo(TYPES[match["type"]].values).tiny
    tests: dict[str, Callable[[Array], Array]] = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= least),
        "subnormal": lambda x: (x != 0) & (np.abs(x) < least),
    }
    return compute(site, "pred", (match["type"],), tests[match["test"]])
