"""Comparisons, selection and moves."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import numpy as np

from .arithmetic import flush
from .instructions import Site, Step, compute, rule
from .memory import LOCAL_WINDOW, SHARED_WINDOW
from .state import Group, Mask
from .types import TYPES, Array

_COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "lo": operator.lt,
    "ls": operator.le,
    "hi": operator.gt,
    "hs": operator.ge,
}
_COMBINE: dict[str | None, Callable[[Array, Array], Array]] = {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}
_TESTS = r"(?P<test>equ|neu|ltu|leu|gtu|geu|eq|ne|lt|le|gt|ge|lo|ls|hi|hs|num|nan)"


def comparison(test: str, is_float: bool) -> Callable[[Array, Array], Array]:
    """Ordered tests are false on NaN, `...u` ones true."""
    if test in ("num", "nan"):
        return lambda x, y: (np.isnan(x) | np.isnan(y)) == (test == "nan")
    plain = _COMPARE[test[:2]]
    if not is_float:
        return plain
    if test.endswith("u"):
        return lambda x, y: plain(x, y) | np.isnan(x) | np.isnan(y)
    if test == "ne":
        return lambda x, y: plain(x, y) & ~np.isnan(x) & ~np.isnan(y)
    return plain


@rule(rf"setp\.{_TESTS}(?:\.(?P<combine>and|or|xor))?{{ftz}}\.(?P<type>[bus](?:16|32|64)|f16|bf16|f32|f64)")
def set_predicate(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["type"]]
    compare, combine = comparison(match["test"], kind.is_float), match["combine"]
    first, second = site.both(0)
    writes = site.write(first, "pred"), site.write(second, "pred")
    x, y = site.read(1, kind), site.read(2, kind)
    other = site.read(3, "pred") if combine else None
    ftz = bool(match["ftz"])

    def step(group: Group, mask: Mask) -> None:
        values = (flush(x(group)), flush(y(group))) if ftz else (x(group), y(group))
        result = compare(*values)
        pair = (result, ~result)
        if other is not None:
            pair = _COMBINE[combine](result, other(group)), _COMBINE[combine](~result, other(group))
        for write, value in zip(writes, pair, strict=True):
            write(group, value, mask)

    return step


@rule(rf"set\.{_TESTS}(?:\.(?P<combine>and|or|xor))?{{ftz}}\.(?P<to>u32|s32|f32|f16x2|bf16x2|f16|bf16)\.(?P<type>\w+)")
def set_value(site: Site, match: re.Match[str]) -> Step:
    """All bits (or 1.0) where the comparison holds."""
    kind, to = TYPES[match["type"]], TYPES[match["to"]]
    compare, combine = comparison(match["test"], kind.is_float), match["combine"]
    true = to.values.type(1 if to.is_float else -1 if to.signed else 0xFFFFFFFF)

    def function(x: Array, y: Array, *other: Array) -> Array:
        result = compare(x, y)
        if other:
            result = _COMBINE[combine](result, other[0])
        return np.where(result, true, to.values.type(0))

    sources = (kind.name, kind.name, "pred") if combine else (kind.name, kind.name)
    return compute(site, to.name, sources, function)


@rule(r"selp\.(?P<type>[bus](?:16|32|64)|f16|bf16|f32|f64)")
def select(site: Site, match: re.Match[str]) -> Step:
    bits = f"b{8 * TYPES[match['type']].size}"

    def function(x: Array, y: Array, chosen: Array) -> Array:
        return np.where(chosen, x, y)

    return compute(site, bits, (bits, bits, "pred"), function)


@rule(r"slct{ftz}\.(?P<type>[bus](?:16|32|64)|f32|f64)\.(?P<by>s32|f32)")
def select_by_sign(site: Site, match: re.Match[str]) -> Step:
    bits = f"b{8 * TYPES[match['type']].size}"

    def function(x: Array, y: Array, by: Array) -> Array:
        return np.where(by >= 0, x, y)

    return compute(site, bits, (bits, bits, match["by"]), function)


@rule(r"mov\.{any}")
def move(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["type"]]
    bits = kind.name if kind.kind == "pred" else f"b{8 * kind.size}"
    return compute(site, bits, (bits,), lambda x: x)


@rule(r"cvta(?P<to>\.to)?\.(?P<space>global|shared(?:::cta)?|local|const|param)\.u(?P<bits>32|64)")
def convert_address(site: Site, match: re.Match[str]) -> Step:
    """Generic addresses of shared and local memory lie in windows above all buffers."""
    window = {"sh": SHARED_WINDOW, "lo": LOCAL_WINDOW}.get(match["space"][:2], 0)
    offset, kind = np.uint64(window), f"u{match['bits']}"
    if kind == "u32" and window:
        raise site.error("a generic address of 32 bits")
    if match["to"]:
        return compute(site, kind, (kind,), lambda x: x - offset if window else x)
    return compute(site, kind, (kind,), lambda x: x + offset if window else x)


@rule(r"isspacep\.(?P<space>global|shared(?:::cta)?|local)")
def is_space(site: Site, match: re.Match[str]) -> Step:
    low, high = {
        "sh": (SHARED_WINDOW, LOCAL_WINDOW),
        "lo": (LOCAL_WINDOW, 1 << 63),
        "gl": (0, SHARED_WINDOW),
    }[match["space"][:2]]
    return compute(site, "pred", ("u64",), lambda x: (x >= np.uint64(low)) & (x < np.uint64(high)))
