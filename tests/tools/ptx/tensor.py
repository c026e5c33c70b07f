"""Tensor core instructions: ldmatrix and mma.sync.

Where the elements of a fragment live, with lane = 4 g + t and p elements in a register: element e of A's register i is at row
g + 8 (i mod h), column t p + e + 4 p (i div h), h being 2 for 16 rows and 1 for 8; of B's at row t p + e + 4 p i, column g.
Sums are exact products added in float64 and rounded once, where the device rounds or truncates after every few terms.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from .instructions import Operation, Site, rule
from .memory import Access
from .operands import Register
from .races import WARP
from .state import Group, Mask
from .types import TYPES, Array, Type

_G, _T = np.arange(WARP)[None, :, None] // 4, np.arange(WARP)[None, :, None] % 4
_EXACT = {"f16": np.float32, "bf16": np.float32, "tf32": np.float32, "f64": np.float64, "s8": np.int32, "u8": np.int32}


@cache
def fragment(matrix: str, rows: int, columns: int, p: int) -> Array:
    """Place of (register, lane, element) within a row-major matrix, flat."""
    count = rows * columns // (WARP * p)
    i, e = np.arange(count)[:, None, None], np.arange(p)[None, None, :]
    if matrix == "A":
        halves = rows // 8
        row, column = _G + 8 * (i % halves), _T * p + e + 4 * p * (i // halves)
    elif matrix == "B":
        row, column = _T * p + e + 4 * p * i, _G
    elif p == 1:  # C and D of one element a register: two neighbours in a row, then 8 rows below
        row, column = _G + 8 * (i // 2), 2 * _T + i % 2
    else:
        row, column = _G + 8 * i, 2 * _T + e
    return (row * columns + column + 0 * e).reshape(-1)


@cache
def inverse(matrix: str, rows: int, columns: int, p: int) -> Array:
    return np.argsort(fragment(matrix, rows, columns, p))


def gather(raw: list[Array], kind: Type, matrix: str, rows: int, columns: int) -> Array:
    """Registers of a group -> (warps, rows, columns) values."""
    p = raw[0].dtype.itemsize // kind.size
    bits = np.stack(raw).reshape(len(raw), -1, WARP).transpose(1, 0, 2)
    flat = np.ascontiguousarray(bits).view(kind.raw).reshape(bits.shape[0], -1)
    return kind.decode(flat[:, inverse(matrix, rows, columns, p)].reshape(-1)).reshape(-1, rows, columns)


def scatter(values: Array, kind: Type, p: int) -> list[Array]:
    """(warps, rows, columns) values of D -> raw registers."""
    warps, rows, columns = values.shape
    bits = kind.encode(values.reshape(-1)).reshape(warps, -1)[:, fragment("C", rows, columns, p)]
    wide = np.ascontiguousarray(bits).view(f"u{kind.size * p}").reshape(warps, -1, WARP)
    return [np.ascontiguousarray(part).reshape(-1) for part in wide.transpose(1, 0, 2)]


def _registers(site: Site, index: int, size: int) -> list[Register]:
    items = site.items(index)
    if not all(isinstance(item, Register) and item.size == size for item in items):
        raise site.error(f"operand {index + 1}: expected registers of {size} bytes")
    return [item for item in items if isinstance(item, Register)]


_AB = r"f16|bf16|tf32|f64|s8|u8"


@rule(
    rf"mma\.sync\.aligned\.m(?P<m>16|8)n8k(?P<k>4|8|16|32)\.row\.col\.(?P<d>f32|f16|f64|s32)"
    rf"\.(?P<a>{_AB})\.(?P<b>{_AB})\.(?P<c>f32|f16|f64|s32)"
)
def multiply(site: Site, match: re.Match[str]) -> Operation:
    m, k, left, right = int(match["m"]), int(match["k"]), TYPES[match["a"]], TYPES[match["b"]]
    result, start = TYPES[match["d"]], TYPES[match["c"]]
    sizes = [8 if name == "f64" else 4 for name in match.group("d", "a", "b", "c")]
    d, a, b, c = (_registers(site, index, size) for index, size in enumerate(sizes))
    expected = [m * 8 * result.size, m * k * left.size, k * 8 * right.size, m * 8 * start.size]
    for name, registers, size, total in zip("DABC", (d, a, b, c), sizes, expected, strict=True):
        if len(registers) * size * WARP != total:
            raise site.error(f"{name} has {len(registers)} registers for {total} bytes")
    sum_type = np.int64 if match["d"] == "s32" else np.float64

    def step(group: Group, mask: Mask) -> None:
        regs = group.regs
        A = gather([regs[r.slot] for r in a], left, "A", m, k)
        B = gather([regs[r.slot] for r in b], right, "B", k, 8)
        C = gather([regs[r.slot] for r in c], start, "C", m, 8)
        if left.name == "tf32":  # the device ignores the low 13 bits
            A, B = ((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for x in (A, B))
        D = A.astype(sum_type) @ B.astype(sum_type) + C
        for register, bits in zip(d, scatter(D.astype(result.values), result, sizes[0] // result.size), strict=True):
            group.put(register.slot, bits, mask)

    return Operation(step, "collective")


@rule(r"ldmatrix\.sync\.aligned\.m8n8\.x(?P<count>[124])(?P<trans>\.trans)?\.shared(?:::cta)?\.b16")
def load_matrices(site: Site, match: re.Match[str]) -> Operation:
    """Lane 8 j + i gives the address of row i of matrix j; lane l receives elements 2 (l mod 4) and the next of row l / 4."""
    count, transposed = int(match["count"]), bool(match["trans"])
    address, registers = site.address(1), _registers(site, 0, 4)
    if len(registers) != count:
        raise site.error(f"expected {count} registers")
    lane = np.arange(WARP)

    def step(group: Group, mask: Mask) -> None:
        rows = address(group).reshape(-1, WARP)[:, : 8 * count].reshape(-1, count, 8)
        lanes = group.lanes(mask)
        result = []
        for index in range(count):
            own = (rows[:, index][:, lane // 4] + 4 * (lane % 4)).reshape(-1)[lanes]
            words = np.zeros(group.n, np.uint32)
            words[lanes] = group.batch.shared.load(Access(group, lanes, own), 4, 1).reshape(-1)
            result.append(_transpose(words) if transposed else words)
        for register, bits in zip(registers, result, strict=True):
            group.put(register.slot, bits, mask)

    def checked(group: Group, mask: Mask) -> None:
        lanes = group.lanes(mask)
        rows = address(group)[lanes]
        bad = (rows & 15 != 0) & (group.lane[lanes] < 8 * count)
        if bad.any():
            group.found(
                "memory", f"misaligned row of a matrix at {int(rows[bad][0]):#x}", lanes[bad], int(rows[bad][0])
            )
        step(group, mask)

    return Operation(checked, "collective")


def _transpose(words: Array) -> Array:
    """Each warp's 8 x 8 matrix of 16-bit elements."""
    return np.ascontiguousarray(words.view(np.uint16).reshape(-1, 8, 8).transpose(0, 2, 1)).view(np.uint32).reshape(-1)


@rule(r"movmatrix\.sync\.aligned\.m8n8\.trans\.b16")
def transpose_matrix(site: Site, match: re.Match[str]) -> Operation:
    read, write = site.read(1, "b32"), site.write(site.operands[0], "b32")
    return Operation(lambda group, mask: write(group, _transpose(read(group)), mask), "collective")
