"""Conversions between types, with every rounding."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .arithmetic import flush
from .floats import odd_sum, round_to
from .instructions import Site, Step, compute, rule
from .state import Group, Mask
from .types import TYPES, Array, Type

_WHOLE: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_TYPE = r"[us](?:8|16|32|64)|f16|bf16|f32|f64"


def to_integer(x: Array, kind: Type, whole: Callable[[Array], Array]) -> Array:
    """Clamped to the type's range; NaN becomes 0 (0x80000000... for 64 bits, as the device has it)."""
    limits = np.iinfo(kind.values)
    value = whole(x.astype(np.float64))
    inside = np.clip(value, float(limits.min), float(limits.max))
    result = np.where(value >= float(limits.max), 0, np.nan_to_num(inside)).astype(kind.values)
    result = np.where(value >= float(limits.max), kind.values.type(limits.max), result)
    missing = kind.values.type(0) if kind.size < 8 else np.uint64(1 << 63).astype(kind.values)
    return np.where(np.isnan(value), missing, result)


def from_integer(x: Array, kind: Type, mode: str) -> Array:
    """Integers of up to 64 bits, rounded once: what float64 cannot hold is rounded to odd."""
    if x.dtype.itemsize < 8 or (kind.name == "f64" and mode == "rn"):
        return x.astype(np.float64) if kind.name == "f64" else round_to(x.astype(np.float64), kind, mode)
    low = (x & x.dtype.type(0xFFFFFFFF)).astype(np.float64)
    high = (x >> x.dtype.type(32)).astype(np.float64) * 2.0**32
    return round_to(odd_sum(high, low), kind, mode)


def clip(x: Array, source: Type, kind: Type) -> Array:
    """Integers clamped to another type's range."""
    low, high = np.iinfo(kind.values).min, np.iinfo(kind.values).max
    own = np.iinfo(source.values)
    return np.clip(x, max(low, own.min), min(high, own.max)).astype(kind.values)


@rule(rf"cvt(?:\.(?P<round>rn|rz|rm|rp|rni|rzi|rmi|rpi))?{{ftz}}{{sat}}\.(?P<to>{_TYPE})\.(?P<type>{_TYPE})")
def convert(site: Site, match: re.Match[str]) -> Step:
    source, kind, mode = TYPES[match["type"]], TYPES[match["to"]], match["round"] or "rn"
    function: Callable[[Array], Array]
    if not source.is_float and not kind.is_float:
        function = (lambda x: clip(x, source, kind)) if match["sat"] else (lambda x: x.astype(kind.values))
    elif not source.is_float:
        function = lambda x: from_integer(x, kind, mode)  # noqa: E731
    elif not kind.is_float:
        if mode not in _WHOLE:
            raise site.error("a conversion to an integer needs .rni, .rzi, .rmi or .rpi")
        function = lambda x: to_integer(x, kind, _WHOLE[mode])  # noqa: E731
    elif mode in _WHOLE:
        function = lambda x: _WHOLE[mode](x).astype(kind.values)  # noqa: E731
    else:
        function = lambda x: round_to(x.astype(np.float64), kind, mode)  # noqa: E731

    def finished(x: Array) -> Array:
        result = function(flush(x) if match["ftz"] and source.name == "f32" else x)
        if match["sat"] and kind.is_float:
            result = np.where(np.isnan(result), kind.values.type(0), np.clip(result, 0, 1)).astype(kind.values)
        return flush(result) if match["ftz"] and kind.name == "f32" else result

    return compute(site, kind.name, (source.name,), finished)


@rule(r"cvt\.(?P<round>rn|rz)(?P<relu>\.relu)?\.(?P<to>f16x2|bf16x2)\.f32")
def convert_pair(site: Site, match: re.Match[str]) -> Step:
    """The first operand goes to the upper half."""
    kind, mode = TYPES[match["to"]], match["round"]

    def function(high: Array, low: Array) -> Array:
        pair = np.stack(np.broadcast_arrays(low, high), 1)
        result = round_to(pair.astype(np.float64), kind, mode)
        return np.maximum(result, result.dtype.type(0)) if match["relu"] else result

    return compute(site, kind.name, ("f32", "f32"), function)


@rule(r"cvt\.(?P<round>rn|rz)\.relu\.(?P<to>f16|bf16)\.f32")
def convert_positive(site: Site, match: re.Match[str]) -> Step:
    kind, mode = TYPES[match["to"]], match["round"]
    zero = kind.values.type(0)
    return compute(site, kind.name, ("f32",), lambda x: np.maximum(round_to(x.astype(np.float64), kind, mode), zero))


@rule(r"cvt\.rna\.tf32\.f32")
def convert_tf32(site: Site, match: re.Match[str]) -> Step:
    """To 10 bits of mantissa, ties away from zero; NaN stays NaN."""

    def function(bits: Array) -> Array:
        rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
        special = (bits & np.uint32(0x7F800000)) == np.uint32(0x7F800000)
        return np.where(special, np.where(bits & np.uint32(0x7FFFFF), np.uint32(0x7FFFFFFF), bits), rounded)

    return compute(site, "b32", ("b32",), function)


@rule(r"cvt\.pack\.sat\.(?P<to>u16|s16)\.s32")
def convert_and_pack(site: Site, match: re.Match[str]) -> Step:
    kind = TYPES[match["to"]]
    reads, write = [site.read(index, "s32") for index in (1, 2)], site.write(site.operands[0], "b32")

    def step(group: Group, mask: Mask) -> None:
        high, low = (clip(read(group), TYPES["s32"], kind).view(np.uint16).astype(np.uint32) for read in reads)
        write(group, (high << np.uint32(16)) | low, mask)

    return step
