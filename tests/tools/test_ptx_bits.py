"""Bit, conversion, comparison and selection instructions against models in Python integers and numpy."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.ptx.types import Array
from tests.tools.ptx_programs import values
from tests.tools.test_ptx_arithmetic import INTEGERS, assert_same_floats, floats, integers

FEW = settings(max_examples=12)
WORDS = st.integers(0, 2**32 - 1)


def words(count: int = 128, seed: int = 0) -> Array:
    return integers("u32", count, seed)


@pytest.mark.parametrize("op", ["and", "or", "xor"])
def test_logic(op: str) -> None:
    x, y = words(), words(seed=1)
    expected = {"and": x & y, "or": x | y, "xor": x ^ y}[op]
    assert np.array_equal(values(f"{op}.b32 %out, %x, %y;", np.uint32, x=x, y=y), expected)


@pytest.mark.parametrize("kind", ["b16", "s16", "u32", "s32", "b64", "s64", "u64"])
def test_shifts_beyond_the_width(kind: str) -> None:
    kind_of = kind.replace("b", "u")
    x, bits = integers(kind_of), 8 * np.dtype(INTEGERS[kind_of]).itemsize
    amount = (np.arange(128) % (bits + 10)).astype(np.uint32)
    right = [int(a) >> int(s) for a, s in zip(x, amount, strict=True)]
    left = [int(a) << int(s) for a, s in zip(x, amount, strict=True)]
    for op, expected in (("shr." + kind, right), ("shl.b" + str(bits), left)):
        found = values(f"{op} %out, %x, %n;", f"u{bits // 8}", x=x, n=amount)
        assert found.tolist() == [value % (1 << bits) for value in expected]


@FEW
@given(st.lists(st.tuples(WORDS, WORDS, st.integers(0, 70)), min_size=32, max_size=32))
def test_funnel_shifts(rows: list[tuple[int, int, int]]) -> None:
    low, high, amount = (np.array(column, np.uint32) for column in zip(*rows, strict=True))
    for side, mode in (("l", "wrap"), ("l", "clamp"), ("r", "wrap"), ("r", "clamp")):
        found = values(f"shf.{side}.{mode}.b32 %out, %a, %b, %n;", np.uint32, a=low, b=high, n=amount)
        for (a, b, n), result in zip(rows, found, strict=True):
            n = n & 31 if mode == "wrap" else min(n, 32)
            both = b << 32 | a
            assert result == ((both << n) >> 32 if side == "l" else both >> n) & 0xFFFFFFFF


@FEW
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=32, max_size=32), st.integers(0, 255))
def test_lop3_and_prmt(rows: list[tuple[int, int, int]], table: int) -> None:
    x, y, z = (np.array(column, np.uint32) for column in zip(*rows, strict=True))
    found = values(f"lop3.b32 %out, %a, %b, %c, {table:#x};", np.uint32, a=x, b=y, c=z)
    permuted = values("prmt.b32 %out, %a, %b, %c;", np.uint32, a=x, b=y, c=z)
    for (a, b, c), result, bytes_found in zip(rows, found, permuted, strict=True):
        bits = [(a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1) for i in range(32)]
        assert result == sum((table >> case & 1) << i for i, case in enumerate(bits))
        source = (b << 32 | a).to_bytes(8, "little")
        expected = []
        for i in range(4):
            byte, sign = source[c >> 4 * i & 7], c >> 4 * i & 8
            expected.append((255 if byte & 128 else 0) if sign else byte)
        assert bytes_found == int.from_bytes(bytes(expected), "little")


def field(x: int, bits: int, start: int, count: int, signed: bool) -> int:
    """bfe as its reference describes it: bits beyond the top are the sign, or 0."""
    start, count = start & 255, count & 255
    sign = 0 if not signed or not count else x >> min(start + count - 1, bits - 1) & 1
    result = 0
    for i in range(bits):
        bit = x >> (start + i) & 1 if i < count and start + i < bits else sign
        result |= bit << i
    return result


@FEW
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 90), st.integers(0, 90)), min_size=32, max_size=32))
def test_bit_fields(rows: list[tuple[int, int, int]]) -> None:
    x, start, count = (
        np.array(column, kind) for column, kind in zip(zip(*rows, strict=True), ("u8", "u4", "u4"), strict=True)
    )
    for kind in ("u32", "s32", "u64", "s64"):
        bits = int(kind[1:])
        own = x.astype(f"u{bits // 8}")
        found = values(f"bfe.{kind} %out, %x, %s, %n;", own.dtype, x=own, s=start, n=count)
        for value, s, n, result in zip(own, start, count, found, strict=True):
            assert result == field(int(value), bits, int(s), int(n), kind[0] == "s"), (kind, value, s, n)
    for bits in (32, 64):
        a, b = x.astype(f"u{bits // 8}"), (x * 3).astype(f"u{bits // 8}")
        found = values(f"bfi.b{bits} %out, %x, %y, %s, %n;", a.dtype, x=a, y=b, s=start, n=count)
        for (_, s, n), first, second, result in zip(rows, a, b, found, strict=True):
            mask = (((1 << n) - 1) << s) & ((1 << bits) - 1)
            assert result == (int(second) & ~mask) | (int(first) << s & mask)


@pytest.mark.parametrize("bits", [32, 64])
def test_counts(bits: int) -> None:
    x = integers(f"u{bits}")
    python = [int(value) for value in x]
    counts: dict[str, Callable[[int], int]] = {
        f"popc.b{bits}": lambda v: v.bit_count(),
        f"clz.b{bits}": lambda v: bits - v.bit_length(),
        f"bfind.u{bits}": lambda v: (v.bit_length() - 1) % 2**32,
        f"bfind.shiftamt.u{bits}": lambda v: bits - v.bit_length() if v else 2**32 - 1,
        f"bfind.s{bits}": lambda v: ((v ^ (2**bits - 1) if v >> (bits - 1) else v).bit_length() - 1) % 2**32,
    }
    for op, count in counts.items():
        assert values(f"{op} %out, %x;", np.uint32, x=x).tolist() == [count(v) for v in python], op
    reverse = [int(f"{v:0{bits}b}"[::-1], 2) for v in python]
    assert values(f"brev.b{bits} %out, %x;", x.dtype, x=x).tolist() == reverse


def test_dot_of_bytes() -> None:
    x, y, z = words(), words(seed=1), words(seed=2)
    a, b = x.view(np.int8).reshape(-1, 4).astype(np.int64), y.view(np.uint8).reshape(-1, 4).astype(np.int64)
    expected = ((a * b).sum(1) + z) & 0xFFFFFFFF
    assert np.array_equal(values("dp4a.s32.u32 %out, %x, %y, %z;", np.uint32, x=x, y=y, z=z), expected)


@pytest.mark.parametrize("to", ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"])
def test_conversions_of_integers(to: str) -> None:
    for source in INTEGERS:
        x = integers(source)
        bits, wide = int(to[1:]), max(int(to[1:]), 16)
        limits = (0, 2**bits - 1) if to[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for sat in ("", ".sat"):
            found = values(f"cvt{sat}.{to}.{source} %out, %x;", f"{'i' if to[0] == 's' else 'u'}{wide // 8}", x=x)
            exact = [int(v) for v in x]
            if sat:
                expected = [min(max(v, limits[0]), limits[1]) for v in exact]
            else:
                expected = [(v - limits[0]) % 2**bits + limits[0] for v in exact]
            assert found.tolist() == expected, (source, to, sat)


@pytest.mark.parametrize("to", ["u32", "s32", "u64", "s64", "u16"])
def test_floats_to_integers_clamp(to: str) -> None:
    x = np.concatenate([floats("f32"), np.array([0.5, 1.5, 2.5, -0.5, 3e9, -3e9, 1e20], np.float32)])
    limits = np.iinfo(INTEGERS[to])
    for mode, whole in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        found = values(f"cvt.{mode}.{to}.f32 %out, %x;", INTEGERS[to], x=x)
        for value, result in zip(x, found, strict=True):
            if np.isnan(value):
                continue
            exact = limits.max if value == np.inf else limits.min if value == -np.inf else int(whole(float(value)))
            assert result == min(max(exact, limits.min), limits.max), (mode, value)


@pytest.mark.parametrize("source", ["u32", "s32", "u64", "s64"])
def test_integers_to_floats_round_once(source: str) -> None:
    x = np.concatenate([integers(source), np.array([2**24 + 1, 2**24 + 3, 2**31 - 65], INTEGERS[source])])
    found = {mode: values(f"cvt.{mode}.f32.{source} %out, %x;", np.float32, x=x) for mode in ("rn", "rz", "rm", "rp")}
    for index, value in enumerate(x):
        exact = Fraction(int(value))
        low, high = Fraction(float(found["rm"][index])), Fraction(float(found["rp"][index]))
        assert low <= exact <= high
        near = Fraction(float(found["rn"][index]))
        assert near in (low, high)
        assert abs(near - exact) == min(exact - low, high - exact)
        assert found["rz"][index] == (found["rm"] if value >= 0 else found["rp"])[index]


def test_floats_to_halves() -> None:
    x = np.concatenate(
        [floats("f32", 1024), np.array([1 + 2**-8, 1 + 3 * 2**-8, 65520, 65519, 3e38, 1e-7], np.float32)]
    )
    half = values("cvt.rn.f16.f32 %out, %x;", np.float16, x=x)
    with np.errstate(over="ignore"):
        assert_same_floats(half, x.astype(np.float16))
    brain = values("cvt.rn.bf16.f32 %out, %x;", np.int16, x=x)
    expected = torch.from_numpy(x).bfloat16()
    kept = ~torch.isnan(expected)
    assert torch.equal(torch.from_numpy(brain).view(torch.bfloat16)[kept], expected[kept])
    double = values("cvt.rn.f32.f64 %out, %x;", np.float32, x=x.astype(np.float64) * (1 + 2.0**-30))
    assert_same_floats(double, (x.astype(np.float64) * (1 + 2.0**-30)).astype(np.float32))
    for mode, towards in (("rz", 0), ("rn", None)):
        pair = values(f"cvt.{mode}.bf16x2.f32 %out, %x, %y;", np.uint32, x=x, y=-x)
        low, high = pair & 0xFFFF, pair >> 16
        kept = ~np.isnan(x)
        assert np.array_equal(high[kept] ^ 0x8000, low[kept])
        if towards == 0:
            assert np.array_equal(high[kept], x.view(np.uint32)[kept] >> 16)


def test_halves_to_floats() -> None:
    bits = np.arange(0, 2**16, 7, dtype=np.uint16)
    assert_same_floats(values("cvt.f32.f16 %out, %x;", np.float32, x=bits), bits.view(np.float16).astype(np.float32))
    brain = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert_same_floats(values("cvt.f32.bf16 %out, %x;", np.float32, x=bits), brain)


def test_tf32_rounds_ties_away() -> None:
    one = 0x3F800000
    x = np.array([one, one | 0xFFF, one | 0x1000, one | 0x3000, one | 0x80001000, 0x7F800000], np.uint32)
    found = values("cvt.rna.tf32.f32 %out, %x;", np.uint32, x=x)
    expected = [one, one, one | 0x2000, one | 0x4000, one | 0x80002000, 0x7F800000]
    assert found.tolist() == expected


def test_rounding_to_whole_floats() -> None:
    x = np.array([0.5, 1.5, -0.5, 2.7, -2.7, np.inf], np.float32)
    for mode, whole in (("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)):
        assert_same_floats(values(f"cvt.{mode}.f32.f32 %out, %x;", np.float32, x=x), whole(x))


@pytest.mark.parametrize("kind", ["u32", "s32", "s64", "u16"])
def test_comparisons_of_integers(kind: str) -> None:
    x, y = integers(kind), np.where(np.arange(128) % 3, integers(kind, seed=1), integers(kind))
    tests = {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}
    if kind[0] == "u":
        tests |= {"lo": x < y, "ls": x <= y, "hi": x > y, "hs": x >= y}
    for test, expected in tests.items():
        code = f"setp.{test}.{kind} %p1, %x, %y;\nselp.b32 %out, 1, 0, %p1;"
        assert np.array_equal(values(code, np.uint32, x=x, y=y), expected), test


def test_comparisons_with_nan_and_combination() -> None:
    nan = np.nan
    x, y = np.array([1, 2, nan, nan, 3], np.float32), np.array([1, 3, 1, nan, 2], np.float32)
    expected = {
        "eq": [1, 0, 0, 0, 0],
        "ne": [0, 1, 0, 0, 1],
        "lt": [0, 1, 0, 0, 0],
        "ltu": [0, 1, 1, 1, 0],
        "equ": [1, 0, 1, 1, 0],
        "neu": [0, 1, 1, 1, 1],
        "geu": [1, 0, 1, 1, 1],
        "num": [1, 1, 0, 0, 1],
        "nan": [0, 0, 1, 1, 0],
    }
    for test, wanted in expected.items():
        code = f"setp.{test}.f32 %p1, %x, %y;\nselp.b32 %out, 1, 0, %p1;"
        assert values(code, np.uint32, x=x, y=y).tolist() == wanted, test
        code = f"set.{test}.u32.f32 %out, %x, %y;"
        assert values(code, np.uint32, x=x, y=y).tolist() == [2**32 - 1 if w else 0 for w in wanted]
    code = "setp.gt.f32 %p1, %x, 0f40000000;\nsetp.lt.or.f32 %p2|%p3, %x, %y, %p1;\nselp.b32 %r1, 1, 0, %p2;\n"
    code += "selp.b32 %r2, 2, 0, %p3;\nor.b32 %out, %r1, %r2;"  # the complement is of the comparison alone
    assert values(code, np.uint32, x=x, y=y).tolist() == [2, 1, 2, 2, 3]


def test_moves_pack_and_unpack() -> None:
    x = integers("u64")
    code = "mov.b64 {%r1, %r2}, %x;\nmov.b32 {%h1, %h2}, %r1;\nmov.b32 %r3, {%h2, %h1};\nmov.b64 %out, {%r2, %r3};"
    low, high = x & np.uint64(0xFFFFFFFF), x >> np.uint64(32)
    swapped = (low >> np.uint64(16)) | ((low & np.uint64(0xFFFF)) << np.uint64(16))
    assert np.array_equal(values(code, np.uint64, x=x), high | (swapped << np.uint64(32)))
    assert np.array_equal(values("mov.b64 {_, %out}, %x;", np.uint32, x=x), high.astype(np.uint32))


def test_nested_scopes_have_their_own_registers() -> None:
    x = words()
    code = "mov.b32 %r1, %x;\n{\n.reg .b32 %r1;\n.reg .pred p;\nmov.b32 %r1, 5;\nsetp.ne.u32 p, %r1, 5;\n}\nmov.b32 %out, %r1;"
    assert np.array_equal(values(code, np.uint32, x=x), x)
