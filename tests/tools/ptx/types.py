"""PTX types: how many bytes, and the numpy values that raw register bits stand for.

Registers hold raw bits (unsigned integers, bool for predicates). bfloat16 has no numpy type, so its values are float32;
packed pairs (f16x2, bf16x2) are arrays with a second dimension of two, low half first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RAW: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.uint8),
    2: np.dtype(np.uint16),
    4: np.dtype(np.uint32),
    8: np.dtype(np.uint64),
}


@dataclass(frozen=True)
class Type:
    """size: bytes of one value; kind: "b" bits, "u", "s", "f", "bf" or "pred"; values: numpy type of one element."""

    name: str
    size: int
    kind: str
    values: np.dtype[Any]
    packed: bool = False

    @property
    def raw(self) -> np.dtype[Any]:
        return np.dtype(bool) if self.kind == "pred" else RAW[self.size]

    @property
    def is_float(self) -> bool:
        return self.kind in ("f", "bf")

    @property
    def signed(self) -> bool:
        return self.kind == "s"

    def decode(self, bits: Array) -> Array:
        """Values of raw bits of this type's size."""
        if self.packed:
            bits = bits.view(np.uint16).reshape(-1, 2)
        if self.kind == "bf":
            return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return bits if bits.dtype == self.values else bits.view(self.values)

    def encode(self, values: Array) -> Array:
        """Raw bits of values, which are of `self.values` or, for bfloat16, float32 rounded to nearest even."""
        if self.kind == "bf":
            bits = bfloat16_bits(values)
        elif values.dtype == self.values:
            bits = values
        else:
            bits = values.astype(self.values)
        if self.packed:
            return np.ascontiguousarray(bits).view(np.uint32).reshape(-1)
        return bits if bits.dtype == self.raw else np.ascontiguousarray(bits).view(self.raw)


def bfloat16_bits(values: Array) -> Array:
    """float32 rounded to nearest even; every NaN becomes 0x7FFF, as the device's conversion writes it."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded.astype(np.uint16))


def _table() -> dict[str, Type]:
    types = [Type("pred", 1, "pred", np.dtype(bool))]
    for size in (1, 2, 4, 8):
        types += [Type(f"b{8 * size}", size, "b", RAW[size]), Type(f"u{8 * size}", size, "u", RAW[size])]
        types.append(Type(f"s{8 * size}", size, "s", np.dtype(f"i{size}")))
    types += [Type(f"f{8 * size}", size, "f", np.dtype(f"f{size}")) for size in (2, 4, 8)]
    types.append(Type("bf16", 2, "bf", np.dtype(np.float32)))
    types.append(Type("f16x2", 4, "f", np.dtype(np.float16), packed=True))
    types.append(Type("bf16x2", 4, "bf", np.dtype(np.float32), packed=True))
    types.append(Type("tf32", 4, "f", np.dtype(np.float32)))
    return {kind.name: kind for kind in types}


TYPES = _table()


def resize(bits: Array, size: int, signed: bool = False) -> Array:
    """Raw bits cut to `size` bytes, or extended by zeros or by the sign."""
    if bits.dtype.itemsize == size:
        return bits
    if signed and bits.dtype.itemsize < size:
        return bits.view(f"i{bits.dtype.itemsize}").astype(f"i{size}").view(RAW[size])
    return bits.astype(RAW[size])
