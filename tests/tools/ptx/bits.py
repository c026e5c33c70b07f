"""Logic, shifts and bit fields."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .instructions import Site, Step, compute, rule
from .types import TYPES, Array

_LOGIC: dict[str, Callable[[Array, Array], Array]] = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}


@rule(r"(?P<op>and|or|xor)\.(?P<type>b16|b32|b64|pred)")
def logic(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind, kind), _LOGIC[match["op"]])


@rule(r"(?P<op>not|cnot)\.(?P<type>b16|b32|b64|pred)")
def complement(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    if match["op"] == "cnot":
        return compute(site, kind, (kind,), lambda x: (x == 0).astype(x.dtype))
    return compute(site, kind, (kind,), np.invert)


def shift_left(x: Array, amount: Array) -> Array:
    """Amounts from the width on give 0."""
    bits = 8 * x.dtype.itemsize
    return np.where(amount < bits, x << np.minimum(amount, bits - 1).astype(x.dtype), x.dtype.type(0))


def shift_right(x: Array, amount: Array) -> Array:
    """Amounts from the width on give 0, or the sign of a signed type."""
    bits = 8 * x.dtype.itemsize
    shifted = x >> np.minimum(amount, bits - 1).astype(x.dtype)
    return shifted if x.dtype.kind == "i" else np.where(amount < bits, shifted, x.dtype.type(0))


@rule(r"(?P<op>shl|shr)\.{bits}")
def shift(site: Site, match: re.Match[str]) -> Step:
    kind = match["type"]
    return compute(site, kind, (kind, "u32"), shift_left if match["op"] == "shl" else shift_right)


@rule(r"shf\.(?P<side>l|r)\.(?P<mode>wrap|clamp)\.b32")
def funnel(site: Site, match: re.Match[str]) -> Step:
    """Shift of the 64 bits {high, low} (operands: low, high, amount)."""
    left, wrap = match["side"] == "l", match["mode"] == "wrap"

    def function(low: Array, high: Array, amount: Array) -> Array:
        count = (amount & 31 if wrap else np.minimum(amount, 32)).astype(np.uint64)
        value = (high.astype(np.uint64) << np.uint64(32)) | low
        return ((value << count) >> np.uint64(32) if left else value >> count).astype(np.uint32)

    return compute(site, "b32", ("b32", "b32", "u32"), function)


@rule(r"lop3\.b32")
def three_inputs(site: Site, match: re.Match[str]) -> Step:
    table = int(site.operand(4).value)  # type: ignore[union-attr]

    def function(x: Array, y: Array, z: Array, _: Array) -> Array:
        result = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.uint32)
        for case in range(8):
            if table >> case & 1:
                result |= (x if case & 4 else ~x) & (y if case & 2 else ~y) & (z if case & 1 else ~z)
        return result

    return compute(site, "b32", ("b32", "b32", "b32", "b32"), function)


@rule(r"prmt\.b32")
def permute_bytes(site: Site, match: re.Match[str]) -> Step:
    """Each nibble of the selector picks a byte of {y, x}; its high bit spreads the sign of that byte."""

    def function(x: Array, y: Array, selector: Array) -> Array:
        value = (y.astype(np.uint64) << np.uint64(32)) | x
        result = np.zeros(1, np.uint32)
        for index in range(4):
            nibble = (selector >> np.uint32(4 * index)) & np.uint32(15)
            byte = ((value >> (nibble & np.uint32(7)).astype(np.uint64) * np.uint64(8)) & np.uint64(255)).astype(
                np.uint32
            )
            sign = np.where(byte & 128, np.uint32(255), np.uint32(0))
            result = result | np.where(nibble & 8, sign, byte) << np.uint32(8 * index)
        return result

    return compute(site, "b32", ("b32", "b32", "b32"), function)


@rule(r"bfe\.(?P<type>[us](?:32|64))")
def extract_field(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["type"]]
    bits = 8 * kind.size

    def function(x: Array, position: Array, length: Array) -> Array:
        start, count = (position & 255).astype(np.int64), (length & 255).astype(np.int64)
        end = np.minimum(start + count, bits)
        shifted = shift_left(x.view(kind.raw), bits - end).view(x.dtype)
        inside = shift_right(shifted, bits - end + start)
        outside = (x < 0) if kind.signed else np.zeros(x.shape, bool)  # fields beyond the top read the sign
        return np.where(count == 0, kind.values.type(0), np.where(start >= bits, -outside.astype(kind.values), inside))

    return compute(site, kind.name, (kind.name, "u32", "u32"), function)


@rule(r"bfi\.(?P<type>b32|b64)")
def insert_field(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["type"]]
    bits = 8 * kind.size

    def function(x: Array, y: Array, position: Array, length: Array) -> Array:
        start, count = position & 255, length & 255
        ones = np.full(1, (1 << bits) - 1, kind.raw)
        field = shift_left(~shift_left(ones, np.minimum(count, bits)), start)
        return (y & ~field) | (shift_left(x, start) & field)

    return compute(site, kind.name, (kind.name, kind.name, "u32", "u32"), function)


def leading_zeros(x: Array) -> Array:
    bits = 8 * x.dtype.itemsize
    count = np.zeros(x.shape, np.uint32)
    for width in (32, 16, 8, 4, 2, 1):
        if width < bits:
            empty = x < x.dtype.type(1 << (bits - width))
            count += np.where(empty, np.uint32(width), np.uint32(0))
            x = np.where(empty, x << x.dtype.type(width), x)
    return count + (x == 0)


@rule(r"(?P<op>popc|clz)\.(?P<type>b32|b64)")
def count_bits(site: Site, match: re.Match[str]) -> Step:
    function: Callable[[Array], Array] = leading_zeros
    if match["op"] == "popc":
        function = lambda x: np.bitwise_count(x).astype(np.uint32)  # noqa: E731
    return compute(site, "u32", (match["type"],), function)


@rule(r"bfind(?P<shift>\.shiftamt)?\.(?P<type>[us](?:32|64))")
def find_top(site: Site, match: re.Match[str]) -> Step:
    """Place of the highest bit that differs from the sign, or the shift that brings it to the top; all ones for none."""
    kind = TYPES[match["type"]]
    top = np.uint32(8 * kind.size - 1)

    def function(x: Array) -> Array:
        bits = (np.where(x < 0, ~x, x) if kind.signed else x).view(kind.raw)
        zeros = leading_zeros(bits)
        return np.where(bits == 0, np.uint32(0xFFFFFFFF), zeros if match["shift"] else top - zeros)

    return compute(site, "u32", (kind.name,), function)


@rule(r"brev\.(?P<type>b32|b64)")
def reverse(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["type"]]

    def function(x: Array) -> Array:
        bits: Any = np.unpackbits(x.view(np.uint8).reshape(-1, kind.size), axis=1, bitorder="little")
        return np.packbits(bits[:, ::-1], axis=1, bitorder="little").reshape(-1).view(kind.raw)

    return compute(site, kind.name, (kind.name,), function)


@rule(r"dp4a\.(?P<first>u32|s32)\.(?P<second>u32|s32)")
def dot_of_bytes(site: Site, match: re.Match[str]) -> Step:
    first, second = (np.int8 if match[side] == "s32" else np.uint8 for side in ("first", "second"))

    def function(x: Array, y: Array, z: Array) -> Array:
        pairs = x.view(first).reshape(-1, 4).astype(np.int64) * y.view(second).reshape(-1, 4).astype(np.int64)
        return (pairs.sum(1) + z).astype(np.uint32)

    return compute(site, "u32", ("u32", "u32", "u32"), function)
