"""Integer and floating-point instructions of the interpreter against numpy, Python integers and exact fractions."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import ptx
from tests.tools.ptx.types import Array
from tests.tools.ptx_programs import kernel, run, values

FEW = settings(max_examples=15)
INTEGERS = {"u16": np.uint16, "s16": np.int16, "u32": np.uint32, "s32": np.int32, "u64": np.uint64, "s64": np.int64}


def integers(kind: str, count: int = 128, seed: int = 0) -> Array:
    """The corners of a type and random ones."""
    limits = np.iinfo(INTEGERS[kind])
    random = np.random.default_rng(seed).integers(limits.min, limits.max, count, dtype=INTEGERS[kind], endpoint=True)
    corners = [0, 1, 2, 7, limits.min, limits.max, limits.max - 1, limits.min + 1]
    random[: len(corners)] = np.random.default_rng(seed + 1).permutation(np.array(corners, INTEGERS[kind]))
    return random


def wrapped(exact: list[int], kind: str) -> Array:
    bits = 8 * np.dtype(INTEGERS[kind]).itemsize
    return np.array([value % (1 << bits) for value in exact], f"u{bits // 8}").view(INTEGERS[kind])


def truncated(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) if y else -1


BINARY: dict[str, Callable[[int, int], int]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul.lo": lambda x, y: x * y,
    "min": min,
    "max": max,
    "div": truncated,
    "rem": lambda x, y: x - truncated(x, y) * y if y else x,
}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("op", BINARY)
def test_integers(op: str, kind: str) -> None:
    x, y = integers(kind), integers(kind, seed=2)
    found = values(f"{op}.{kind} %out, %x, %y;", INTEGERS[kind], x=x, y=y)
    expected = [BINARY[op](int(a), int(b)) for a, b in zip(x, y, strict=True)]
    assert np.array_equal(found, wrapped(expected, kind))


@pytest.mark.parametrize("kind", INTEGERS)
def test_high_halves(kind: str) -> None:
    x, y = integers(kind), integers(kind, seed=3)
    bits = 8 * x.itemsize
    high = [int(a) * int(b) >> bits for a, b in zip(x, y, strict=True)]
    assert np.array_equal(values(f"mul.hi.{kind} %out, %x, %y;", x.dtype, x=x, y=y), wrapped(high, kind))
    found = values(f"mad.hi.{kind} %out, %x, %y, %x;", x.dtype, x=x, y=y)
    assert np.array_equal(found, wrapped([h + int(a) for h, a in zip(high, x, strict=True)], kind))


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32"])
def test_wide_products(kind: str) -> None:
    x, y = integers(kind), integers(kind, seed=4)
    wide = f"{kind[0]}{2 * int(kind[1:])}"
    exact = [int(a) * int(b) for a, b in zip(x, y, strict=True)]
    assert np.array_equal(values(f"mul.wide.{kind} %out, %x, %y;", INTEGERS[wide], x=x, y=y), wrapped(exact, wide))
    z = integers(wide)
    found = values(f"mad.wide.{kind} %out, %x, %y, %z;", INTEGERS[wide], x=x, y=y, z=z)
    assert np.array_equal(found, wrapped([e + int(c) for e, c in zip(exact, z, strict=True)], wide))


def test_carries_make_long_numbers() -> None:
    x, y = integers("u64"), integers("u64", seed=5)
    halves = "mov.b64 {%r1, %r2}, %x;\nmov.b64 {%r3, %r4}, %y;\n"
    for op, exact in (("add", lambda a, b: a + b), ("sub", lambda a, b: a - b)):
        code = halves + f"{op}.cc.u32 %r5, %r1, %r3;\n{op}c.u32 %r6, %r2, %r4;\nmov.b64 %out, {{%r5, %r6}};"
        expected = wrapped([exact(int(a), int(b)) for a, b in zip(x, y, strict=True)], "u64")
        assert np.array_equal(values(code, np.uint64, x=x, y=y), expected)
    product = "mad.lo.cc.u32 %r5, %r1, %r3, %r2;\nmadc.hi.u32 %r6, %r1, %r3, 0;\nmov.b64 %out, {%r5, %r6};"
    exact = [(int(a) & 0xFFFFFFFF) * (int(b) & 0xFFFFFFFF) + (int(a) >> 32) for a, b in zip(x, y, strict=True)]
    assert np.array_equal(values(halves + product, np.uint64, x=x, y=y), wrapped(exact, "u64"))


FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64}


def floats(kind: str, count: int = 256, seed: int = 0, specials: bool = True) -> Array:
    rng = np.random.default_rng(seed)
    spread = 4 if kind == "f16" else 30
    result = (rng.standard_normal(count) * 2.0 ** rng.integers(-spread, spread, count)).astype(FLOATS[kind])
    if specials:
        result[:8] = rng.permutation(
            [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, float(np.finfo(FLOATS[kind]).tiny)]
        )
    return result


def assert_same_floats(found: Array, expected: Array) -> None:
    """Bit by bit, NaN apart."""
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    kept = ~np.isnan(expected)
    bits = f"u{found.itemsize}"
    assert np.array_equal(found[kept].view(bits), expected[kept].astype(found.dtype).view(bits))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("op", ["add", "sub", "mul", "min", "max", "div"])
def test_floats(op: str, kind: str) -> None:
    if op == "div" and kind == "f16":
        op = "mul"
    x, y = floats(kind), floats(kind, seed=1)
    function = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "min": np.fmin,
        "max": np.fmax,
        "div": np.divide,
    }[op]
    with np.errstate(all="ignore"):
        expected = function(x, y)
    suffix = ".rn" if op == "div" else ""
    assert_same_floats(values(f"{op}{suffix}.{kind} %out, %x, %y;", FLOATS[kind], x=x, y=y), expected)


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_nan_modes(kind: str) -> None:
    nan, zero = FLOATS[kind](np.nan), FLOATS[kind](0)
    x = np.array([nan, 1, zero, -zero], FLOATS[kind])
    y = np.array([2, nan, -zero, zero], FLOATS[kind])
    assert_same_floats(values(f"max.{kind} %out, %x, %y;", x.dtype, x=x, y=y), np.array([2, 1, 0.0, 0.0], x.dtype))
    assert_same_floats(values(f"min.{kind} %out, %x, %y;", x.dtype, x=x, y=y), np.array([2, 1, -0.0, -0.0], x.dtype))
    found = values(f"max.NaN.{kind} %out, %x, %y;", x.dtype, x=x, y=y)
    assert np.array_equal(np.isnan(found), [True, True, False, False])


@st.composite
def awkward(draw: st.DrawFn, width: int) -> float:
    """Floats whose sums and products need rounding."""
    return draw(st.floats(width=width, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60))


def rounded(exact: Fraction, kind: Any) -> Any:
    """To nearest even: Python divides integers correctly rounded, and float32 has two neighbours to choose from."""
    if kind is np.float64:
        return np.float64(exact.numerator / exact.denominator)
    guess = np.float32(exact.numerator / exact.denominator)
    near = [guess, np.nextafter(guess, np.float32(np.inf)), np.nextafter(guess, np.float32(-np.inf))]
    return min(near, key=lambda value: (abs(Fraction(float(value)) - exact), int(value.view(np.uint32)) & 1))


@pytest.mark.parametrize(("kind", "width"), [(np.float32, 32), (np.float64, 64)])
def test_fma_rounds_once(kind: Any, width: int) -> None:
    @FEW
    @given(st.lists(st.tuples(awkward(width), awkward(width), awkward(width)), min_size=32, max_size=32))
    def check(triples: list[tuple[float, float, float]]) -> None:
        rows = [*triples, *((x, y, -float(kind(x * y))) for x, y, _ in triples)]  # the second half cancels
        x, y, z = (np.array(column, kind) for column in zip(*rows, strict=True))
        found = values(f"fma.rn.f{width} %out, %x, %y, %z;", kind, x=x, y=y, z=z)
        for a, b, c, result in zip(x, y, z, found, strict=True):
            exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
            if exact == 0 or 2.0**-60 < abs(float(exact)) < 2.0**120:
                assert result == rounded(exact, kind)

    check()


@FEW
@given(st.lists(st.tuples(awkward(32), awkward(32)), min_size=32, max_size=32))
def test_directed_roundings(pairs: list[tuple[float, float]]) -> None:
    x, y = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    for op, exact in (("add", lambda a, b: a + b), ("mul", lambda a, b: a * b)):
        down, up, zero = (values(f"{op}.{mode}.f32 %out, %x, %y;", np.float32, x=x, y=y) for mode in ("rm", "rp", "rz"))
        for a, b, low, high, inner in zip(x, y, down, up, zero, strict=True):
            true = exact(Fraction(float(a)), Fraction(float(b)))
            if abs(true) > Fraction(2) ** 127 or 0 < abs(true) < Fraction(2) ** -100:
                continue
            assert Fraction(float(low)) <= true <= Fraction(float(high))
            assert low == high == true or np.nextafter(low, np.float32(np.inf)) == high
            assert inner == (low if true > 0 else high)


@pytest.mark.parametrize("kind", ["f16x2", "bf16x2"])
def test_packed_halves(kind: str) -> None:
    x, y, z = (floats("f32", seed=seed, specials=False).clip(-50, 50) for seed in range(3))
    if kind == "f16x2":
        x, y, z = (value.astype(np.float16) for value in (x, y, z))
        packed = [value.view(np.uint32) for value in (x, y, z)]
    else:
        bits = [(value.view(np.uint32) >> 16).astype(np.uint16) for value in (x, y, z)]
        packed = [value.view(np.uint32) for value in bits]
        x, y, z = ((value.astype(np.uint32) << 16).view(np.float32) for value in bits)
    found = values(f"fma.rn.{kind} %out, %x, %y, %z;", np.uint32, x=packed[0], y=packed[1], z=packed[2])
    exact = x.astype(np.float64) * y + z.astype(np.float64)
    if kind == "f16x2":
        assert np.array_equal(found.view(np.float16), exact.astype(np.float16))
    else:
        near = (found.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        assert (np.abs(near - exact) <= np.abs(exact) * 2.0**-8 + 1e-30).all()


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("ex2.approx.f32", np.exp2),
        ("lg2.approx.f32", lambda x: np.log2(np.abs(x))),
        ("rcp.rn.f32", lambda x: 1 / x),
        ("sqrt.rn.f32", lambda x: np.sqrt(np.abs(x))),
        ("rsqrt.approx.ftz.f32", lambda x: 1 / np.sqrt(np.abs(x))),
        ("tanh.approx.f32", np.tanh),
        ("sin.approx.f32", np.sin),
        ("cos.approx.ftz.f32", np.cos),
        ("sqrt.rn.f64", lambda x: np.sqrt(np.abs(x))),
        ("rcp.approx.ftz.f64", lambda x: 1 / x),
    ],
)
def test_special_functions(op: str, function: Callable[[Array], Array]) -> None:
    kind = np.float64 if op.endswith("f64") else np.float32
    x = np.random.default_rng(0).uniform(-6, 6, 128).astype(kind)
    if "sqrt" in op or "lg2" in op:
        x = np.abs(x)
    expected = function(x.astype(np.float64)).astype(kind)
    np.testing.assert_allclose(values(f"{op} %out, %x;", kind, x=x), expected, rtol=1e-7)


def test_subnormals_are_flushed_where_asked() -> None:
    x = np.array([1e-40, -1e-40, 1.0], np.float32)
    two = np.full(3, 2, np.float32)
    flushed = values("mul.ftz.f32 %out, %x, %y;", np.float32, x=x, y=two)
    assert_same_floats(flushed, np.array([0.0, -0.0, 2.0], np.float32))
    assert_same_floats(values("mul.f32 %out, %x, %y;", np.float32, x=x, y=two), x * two)


def test_saturation() -> None:
    x = np.array([-1.0, 0.25, 7.0, np.nan], np.float32)
    found = values("add.sat.f32 %out, %x, 0f00000000;", np.float32, x=x)
    assert_same_floats(found, np.array([0, 0.25, 1, 0], np.float32))


@pytest.mark.parametrize("opcode", ["add.s33", "frob.b32", "add.rz.f16", "mul.wide.u64", "wgmma.fence.sync"])
def test_unknown_instructions_are_named_with_their_line(opcode: str) -> None:
    text = kernel(f"mov.u32 %r1, 0;\n{opcode} %r1, %r1, %r1;")
    line = next(number for number, content in enumerate(text.splitlines(), 1) if opcode in content)
    with pytest.raises(ptx.PTXError, match=rf"line {line}: .*{opcode}"):
        run(text)


def test_a_call_that_cannot_be_read_is_shown() -> None:
    with pytest.raises(ptx.PTXError, match=r"line \d+: cannot read the call '%r1, %r1'"):
        run(kernel("call.uni %r1, %r1;"))
