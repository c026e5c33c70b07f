"""Warp, barrier and tensor core instructions of the interpreter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.tools.ptx import types
from tests.tools.ptx.tensor import fragment
from tests.tools.ptx.types import Array
from tests.tools.ptx_programs import kernel, run, values

ORDERS = ("together", "forward", "reversed", 5)
FULL = "0xffffffff"


def numbers(count: int = 64, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
@pytest.mark.parametrize("width", [32, 16, 8])
@pytest.mark.parametrize("by", [0, 1, 5, 8, 31])
def test_shuffles(mode: str, width: int, by: int) -> None:
    """As CUDA's __shfl_*_sync of a width computes them."""
    x = numbers()
    control = (32 - width) << 8 | (0 if mode == "up" else 31)
    code = f"shfl.sync.{mode}.b32 %out|%p1, %x, {by}, {control}, {FULL};"
    found = values(code, np.uint32, block=64, x=x)
    lane = np.arange(64)
    inside = lane % width
    source = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": lane - inside + by % width}[mode]
    base = lane - inside
    valid = (source >= base) & (source < base + width)
    if mode == "bfly":
        valid = source < base + width
    assert np.array_equal(found, x[np.where(valid, source, lane)])
    flags = values(code + "\nselp.b32 %out, 1, 0, %p1;", np.uint32, block=64, x=x)
    assert np.array_equal(flags, valid)


def test_votes() -> None:
    x = numbers() & 1
    x[32:] = 1
    compare = "setp.ne.u32 %p1, %x, 0;\n"
    ballot = values(compare + f"vote.sync.ballot.b32 %out, %p1, {FULL};", np.uint32, block=64, x=x)
    assert ballot[0] == sum(int(bit) << lane for lane, bit in enumerate(x[:32]))
    assert ballot[63] == 0xFFFFFFFF
    for mode, expected in (("any", [1, 1]), ("all", [0, 1]), ("uni", [0, 1])):
        code = compare + f"vote.sync.{mode}.pred %p2, %p1, {FULL};\nselp.b32 %out, 1, 0, %p2;"
        assert values(code, np.uint32, block=64, x=x)[[0, 63]].tolist() == expected
    code = compare + f"vote.sync.any.pred %p2, !%p1, {FULL};\nselp.b32 %out, 1, 0, %p2;"
    assert values(code, np.uint32, block=64, x=x)[[0, 63]].tolist() == [1, 0]


def test_matches() -> None:
    x = numbers() % 5
    found = values(f"match.any.sync.b32 %out, %x, {FULL};", np.uint32, block=64, x=x)
    for thread in range(64):
        warp = x[thread // 32 * 32 :][:32]
        assert found[thread] == sum(1 << lane for lane in range(32) if warp[lane] == x[thread])
    same = np.repeat(np.array([3, 4], np.uint32), 32)
    same[40] = 0
    found = values(f"match.all.sync.b32 %out|%p1, %x, {FULL};", np.uint32, block=64, x=same)
    assert found[[0, 63]].tolist() == [0xFFFFFFFF, 0]


@pytest.mark.parametrize("kind", ["u32", "s32"])
def test_reductions_of_warps(kind: str) -> None:
    x = numbers()
    signed = x.view(np.int32) if kind == "s32" else x
    for op, function in (("add", np.add), ("min", np.minimum), ("max", np.maximum)):
        found = values(f"redux.sync.{op}.{kind} %out, %x, {FULL};", np.uint32, block=64, x=x)
        expected = [function.reduce(half.astype(np.int64)) % 2**32 for half in (signed[:32], signed[32:])]
        assert found[[0, 63]].tolist() == expected
    for op, bitwise in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        found = values(f"redux.sync.{op}.b32 %out, %x, {FULL};", np.uint32, block=64, x=x)
        assert found[[0, 63]].tolist() == [bitwise.reduce(x[:32]), bitwise.reduce(x[32:])]


@pytest.mark.parametrize("order", ORDERS)
def test_collectives_of_part_of_a_warp(order: str | int) -> None:
    """Both halves of a branch shuffle among themselves, and meet again."""
    out = np.zeros(32, np.uint32)
    code = f"""
    setp.lt.u32 %p1, %t, 16;
    @%p1 bra LOW;
    shfl.sync.bfly.b32 %r1, %t, 1, 31, 0xffff0000;
    activemask.b32 %r2;
    bra.uni JOIN;
LOW:
    shfl.sync.bfly.b32 %r1, %t, 2, 31, 0xffff;
    activemask.b32 %r2;
JOIN:
    redux.sync.add.u32 %r3, %r1, {FULL};
    popc.b32 %r2, %r2;
    mad.lo.u32 %r1, %r2, 1000, %r1;
    mad.lo.u32 %r1, %r3, 100000, %r1;
    mad.wide.u32 %d1, %t, 4, %out;
    st.global.u32 [%d1], %r1;
    """
    report = run(kernel(code, ["out"]), [out], order=order)
    assert report.clean, report
    lane = np.arange(32)
    expected = np.where(lane < 16, lane ^ 2, lane ^ 1)
    assert np.array_equal(out, expected + 16000 + 496 * 100000)


@pytest.mark.parametrize("order", ORDERS)
def test_block_votes(order: str | int) -> None:
    out = np.zeros((3, 70), np.uint32)
    code = """
    setp.lt.u32 %p1, %lane, 3;
    bar.red.popc.u32 %r1, 0, %p1;
    barrier.cta.red.and.aligned.pred %p2, 0, %p1;
    bar.red.or.pred %p3, 0, !%p1;
    selp.b32 %r2, 1000, 0, %p2;
    selp.b32 %r3, 10000, 0, %p3;
    add.u32 %r1, %r1, %r2;
    add.u32 %r1, %r1, %r3;
    mad.wide.u32 %d1, %t, 4, %out;
    st.global.u32 [%d1], %r1;
    """
    report = run(kernel(code, ["out"]), [out], 3, 70, order=order)
    assert report.clean, report
    assert (out == 10009).all()  # three lanes of each of three warps


@pytest.mark.parametrize("order", ORDERS)
def test_named_barriers(order: str | int) -> None:
    """Two pairs of warps hand values over at barriers of their own, after different numbers of rounds."""
    out = np.zeros(128, np.uint32)
    code = """
    shr.u32 %r1, %t, 6;
    add.u32 %r2, %r1, 1;
    mov.u32 %r3, room;
    shl.b32 %r4, %t, 2;
    add.u32 %r4, %r4, %r3;
    xor.b32 %r5, %t, 32;
    shl.b32 %r5, %r5, 2;
    add.u32 %r5, %r5, %r3;
    mov.u32 %r6, 0;
    mov.u32 %r7, %t;
AGAIN:
    st.shared.u32 [%r4], %r7;
    bar.sync %r2, 64;
    ld.shared.u32 %r7, [%r5];
    bar.sync %r2, 64;
    add.u32 %r6, %r6, 1;
    setp.le.u32 %p1, %r6, %r1;
    @%p1 bra AGAIN;
    mad.wide.u32 %d1, %t, 4, %out;
    st.global.u32 [%d1], %r7;
    """
    report = run(kernel(code, ["out"], ".shared .align 4 .b8 room[512];"), [out], block=128, order=order)
    assert report.clean, report
    thread = np.arange(128)
    assert np.array_equal(out, np.where(thread < 64, thread ^ 32, thread))


SHAPES = [
    ("m16n8k16", "f32", "bf16"),
    ("m16n8k16", "f32", "f16"),
    ("m16n8k16", "f16", "f16"),
    ("m16n8k8", "f32", "bf16"),
    ("m16n8k8", "f32", "f16"),
    ("m16n8k8", "f32", "tf32"),
    ("m16n8k4", "f32", "tf32"),
    ("m8n8k4", "f64", "f64"),
    ("m16n8k32", "s32", "s8"),
    ("m16n8k16", "s32", "u8"),
]


def place(lane: int, register: int, element: int, p: int, halves: int) -> tuple[int, int]:
    """Row and column within A, written out as the PTX reference tabulates it."""
    group, member = lane // 4, lane % 4
    return group + (8 if halves == 2 and register % 2 else 0), member * p + element + 4 * p * (register // halves)


@pytest.mark.parametrize(("shape", "result", "operand"), SHAPES)
def test_tensor_products(shape: str, result: str, operand: str) -> None:
    m, n, k = (int(part) for part in shape.replace("m", "").replace("n", " ").replace("k", " ").split())
    rng = np.random.default_rng(k)
    left, right, sums = rng.integers(-4 if operand != "u8" else 0, 5, (3, 16, 32))
    A, B, C = (
        left[:m, :k],
        right[:k, :n].reshape(-1)[: k * n].reshape(k, n) if k <= 16 else rng.integers(-4, 5, (k, n)),
        sums[:m, :n],
    )
    kind = types.TYPES[operand]
    size = 8 if operand == "f64" else 4
    p = size // kind.size
    halves = m // 8

    def registers(count: int, at: int, matrix: Array, where: str, kind: types.Type, p: int) -> Array:
        flat = np.zeros((32, count, p), kind.raw)
        for lane, register, element in itertools.product(range(32), range(count), range(p)):
            if where == "A":
                row, column = place(lane, register, element, p, halves)
            elif where == "B":
                row, column = lane % 4 * p + element + 4 * p * register, lane // 4
            else:
                index = register * p + element
                row, column = lane // 4 + 8 * (index // 2), 2 * (lane % 4) + index % 2
            flat[lane, register, element] = kind.encode(np.array([matrix[row, column]], kind.values))[0]
        return flat.reshape(32, -1).view(f"u{at}")

    out_kind = types.TYPES[result]
    out_size = 8 if result == "f64" else 4
    parts = {
        "a": registers(m * k // 32 // p, size, A, "A", kind, p),
        "b": registers(k * 8 // 32 // p, size, B, "B", kind, p),
        "c": registers(m * 8 * out_kind.size // 32 // out_size, out_size, C, "C", out_kind, out_size // out_kind.size),
    }
    names, loads, declared = {}, [], ""
    for name, data in parts.items():
        width, bits = data.shape[1], 8 * data.itemsize
        names[name] = [f"%{name}{i}" for i in range(width)]
        declared += f".reg .b{bits} %{name}<{width}>;\n"
        loads.append(f"mad.wide.u32 %d1, %t, {width * data.itemsize}, %p_{name};")
        loads += [f"ld.global.b{bits} {reg}, [%d1+{i * data.itemsize}];" for i, reg in enumerate(names[name])]
    group = {name: "{" + ", ".join(regs) + "}" for name, regs in names.items()}
    opcode = f"mma.sync.aligned.{shape}.row.col.{result}.{operand}.{operand}.{result}"
    stores = [f"mad.wide.u32 %d2, %t, {parts['c'].shape[1] * out_size}, %out;"]
    stores += [f"st.global.b{8 * out_size} [%d2+{i * out_size}], {reg};" for i, reg in enumerate(names["c"])]
    code = "\n".join([*loads, f"{opcode} {group['c']}, {group['a']}, {group['b']}, {group['c']};", *stores])
    out = np.zeros_like(parts["c"])
    report = run(kernel(code, ["p_a", "p_b", "p_c", "out"], declared), [*parts.values(), out])
    assert report.clean, report
    expected = registers(parts["c"].shape[1], out_size, A @ B + C, "C", out_kind, out_size // out_kind.size)
    assert np.array_equal(out, expected)
    assert report.executed(opcode) == 32


def test_tf32_products_ignore_low_bits() -> None:
    x = np.full(32, 0x3F801FFF, np.uint32)  # 1 + a little less than the last bit of tf32
    code = "mov.b32 %r9, 0;\nmma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r1, %r2, %r3, %r4}, "
    code += "{%x, %x, %x, %x}, {%x, %x}, {%r9, %r9, %r9, %r9};\nmov.b32 %out, %r1;"
    assert (values(code, np.float32, x=x) == 8).all()


def test_fragments_cover_their_matrix() -> None:
    for matrix, rows, columns, p in (
        ("A", 16, 16, 2),
        ("A", 16, 8, 1),
        ("B", 16, 8, 2),
        ("C", 16, 8, 1),
        ("C", 16, 8, 2),
        ("A", 8, 4, 1),
    ):
        assert sorted(fragment(matrix, rows, columns, p)) == list(range(rows * columns))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_from_shared_memory(count: int, transposed: bool) -> None:
    x = np.arange(32 * 8, dtype=np.uint16).reshape(32, 8)
    out, words = np.zeros((32, count), np.uint32), x.astype(np.int64)
    registers = ", ".join(f"%r{i + 10}" for i in range(count))
    suffix = ".trans" if transposed else ""
    code = f"""
    mov.u32 %r1, room;
    mad.lo.u32 %r1, %t, 16, %r1;
    mad.wide.u32 %d1, %t, 16, %x;
    ld.global.v4.b32 {{%r2, %r3, %r4, %r5}}, [%d1];
    st.shared.v4.b32 [%r1], {{%r2, %r3, %r4, %r5}};
    bar.warp.sync {FULL};
    ldmatrix.sync.aligned.m8n8.x{count}{suffix}.shared.b16 {{{registers}}}, [%r1];
    mad.wide.u32 %d2, %t, {4 * count}, %out;
    """ + "\n".join(f"st.global.b32 [%d2+{4 * i}], %r{i + 10};" for i in range(count))
    report = run(kernel(code, ["x", "out"], ".shared .align 16 .b8 room[512];"), [x, out])
    assert report.clean, report
    for matrix in range(count):
        part = words[8 * matrix : 8 * matrix + 8]
        part = part.T if transposed else part
        expected = [part[lane // 4, lane % 4 * 2] | part[lane // 4, lane % 4 * 2 + 1] << 16 for lane in range(32)]
        assert out[:, matrix].tolist() == expected


def test_matrix_transposition_in_registers() -> None:
    matrix = torch.arange(64, dtype=torch.int16).reshape(8, 8)
    words = matrix.numpy().view(np.uint32).reshape(-1)
    found = values("movmatrix.sync.aligned.m8n8.trans.b16 %out, %x;", np.uint32, x=words)
    assert np.array_equal(found.view(np.int16).reshape(8, 8), matrix.T.numpy())
