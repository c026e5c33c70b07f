"""Loads, stores, atomics and address spaces of the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import ptx
from tests.tools.ptx_programs import kernel, run, values

ORDERS = ("together", "forward", "reversed", 3)


@pytest.mark.parametrize("space", ["global", "shared", "local", "generic-shared", "generic-local", "generic-global"])
@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 1), (4, 1), (8, 1), (4, 2), (4, 4), (8, 2), (2, 4), (1, 4)])
def test_each_thread_gets_its_bytes_back(space: str, size: int, count: int) -> None:
    """x -> the space -> y, through vectors."""
    width, bits = size * count, 8 * size
    x = np.random.default_rng(0).integers(0, 256, (64, width), dtype=np.uint8)
    y = np.zeros_like(x)
    register = {1: "%h", 2: "%h", 4: "%r", 8: "%d"}[size]
    names = [f"{register}{index + 1}" for index in range(count)]
    group = "{" + ", ".join(names) + "}" if count > 1 else names[0]
    kind = f"v{count}.b{bits}" if count > 1 else f"b{bits}"
    place = space.split("-")[-1]
    declared = {"shared": f".shared .align 16 .b8 room[{64 * width}];", "local": f".local .align 16 .b8 room[{width}];"}
    code = f"mul.wide.u32 %d10, %t, {width};\nadd.u64 %d11, %x, %d10;\nadd.u64 %d12, %y, %d10;\n"
    if place == "shared":
        code += "mov.u64 %d13, room;\nadd.u64 %d13, %d13, %d10;\n"
    else:
        code += "mov.u64 %d13, %z;\nadd.u64 %d13, %d13, %d10;\n" if place == "global" else "mov.u64 %d13, room;\n"
    if space.startswith("generic"):
        code += f"cvta.{place}.u64 %d13, %d13;\n"
    dot = f".{space}" if not space.startswith("generic") else ""
    code += f"ld.global.{kind} {group}, [%d11];\nst{dot}.{kind} [%d13], {group};\n"
    code += "".join(f"mov.b{max(bits, 16)} {name}, 0;\n" for name in names)
    code += f"ld{dot}.{kind} {group}, [%d13];\nst.global.{kind} [%d12], {group};"
    report = run(kernel(code, ["x", "y", "z"], declared.get(place, "")), [x, y, np.zeros_like(x)], block=64)
    assert report.clean, report
    assert np.array_equal(x, y)


def test_narrow_loads_extend() -> None:
    x = np.array([0, 1, 127, 128, 255], np.uint8)
    for kind, expected in (("u8", x.astype(np.uint32)), ("s8", x.view(np.int8).astype(np.int32).view(np.uint32))):
        out = np.zeros(5, np.uint32)
        code = f"cvt.u64.u32 %d1, %t;\nadd.u64 %d1, %d1, %x;\nld.global.{kind} %r1, [%d1];\n"
        code += "mad.wide.u32 %d2, %t, 4, %out;\nst.global.u32 [%d2], %r1;"
        assert run(kernel(code, ["x", "out"]), [x, out], block=5).clean
        assert np.array_equal(out, expected)


def test_parameters_constants_and_variables() -> None:
    """Numbers by value, tables of the module, and a parameter read through its address."""
    out = np.zeros(4, np.float64)
    outside = (
        ".const .align 4 .f32 table[3] = {0f3F800000, 0f40000000, 0f40400000};\n.global .align 2 .u16 more[2] = {7, 9};"
    )
    code = """
    ld.const.f32 %r1, [table+8];
    mov.u64 %d1, more;
    ld.global.u16 %h1, [%d1+2];
    mov.b64 %d2, half;
    ld.param.f32 %r2, [%d2];
    .reg .f64 %f<4>;
    cvt.f64.f32 %f1, %r1;
    cvt.rn.f64.u16 %f2, %h1;
    cvt.f64.f32 %f3, %r2;
    st.global.f64 [%out], %f1;
    st.global.f64 [%out+8], %f2;
    st.global.f64 [%out+16], %f3;
    cvt.rn.f64.s32 %f0, %count;
    st.global.f64 [%out+24], %f0;
    """
    text = kernel(code, ["out", "f32 half", "s32 count"], outside=outside)
    assert run(text, [out, 0.5, -3], block=1).clean
    assert out.tolist() == [3.0, 9.0, 0.5, -3.0]


def test_results_reach_views_of_tensors() -> None:
    base = torch.zeros(10, 4)
    view = base[2:8:2, 1]  # strided, in the middle of its storage
    code = "mad.wide.u32 %d1, %t, 32, %x;\nmov.b32 %r1, 0f3F800000;\nst.global.f32 [%d1], %r1;"
    assert run(kernel(code, ["x"]), [view], block=3).clean
    assert base.sum() == 3
    assert view.tolist() == [1, 1, 1]


def test_one_tensor_passed_twice_is_one_buffer() -> None:
    x = torch.zeros(32, dtype=torch.int32)
    code = "mad.wide.u32 %d1, %t, 4, %x;\nmad.wide.u32 %d2, %t, 4, %y;\n"
    code += "mov.b32 %r1, 7;\nst.global.u32 [%d1], %r1;\nld.global.u32 %r2, [%d2];\n"
    code += "add.u32 %r2, %r2, 1;\nst.global.u32 [%d2], %r2;"
    assert run(kernel(code, ["x", "y"]), [x, x]).clean
    assert (x == 8).all()


@pytest.mark.parametrize(("first", "second"), [(slice(0, 40), slice(8, 20)), (slice(8, 20), slice(0, 40))])
def test_arguments_that_overlap_have_the_bounds_of_their_union(first: slice, second: slice) -> None:
    x = torch.zeros(64, dtype=torch.int32)
    code = "mad.wide.u32 %d1, %t, 4, %a;\nmad.wide.u32 %d2, %t, 4, %b;\nmov.b32 %r1, 7;\n"
    code += "st.global.u32 [%d1], %r1;\nld.global.u32 %r2, [%d2];"
    assert run(kernel(code, ["a", "b"]), [x[first], x[second]], block=8).clean
    assert x.nonzero().flatten().tolist() == list(range(first.start, first.start + 8))
    for name, offset in (("a", 4 * (40 - first.start)), ("b", -4 * second.start - 4)):
        report = run(kernel(f"ld.global.u32 %r1, [%{name}+{offset}];", ["a", "b"]), [x[first], x[second]])
        assert "160 bytes" in report.errors[0].what
    with pytest.raises(ValueError, match="overlaps several"):
        run(kernel("", ["a", "b", "c"]), [x[:8], x[8:16], x[4:12]])


def test_structs_lie_as_in_c() -> None:
    """{ char c; struct { double d; char e; } s; int *p; short h; }"""
    x = torch.tensor([41, 42], dtype=torch.int32)
    value = ptx.Struct("bSPh", (7, ptx.Struct("db", (2.5, -1)), x, 9))
    text = kernel("", ["out"]).replace("k(", "k(.param .align 8 .b8 s[40], ")
    code = (
        "ld.param.f64 %d1, [s+8];\ncvt.rzi.s32.f64 %r2, %d1;\nld.param.u64 %d2, [s+24];\nld.global.u32 %r4, [%d2+4];\n"
    )
    code += "ld.param.b8 %r1, [s];\nld.param.s8 %r3, [s+16];\nld.param.u16 %h1, [s+32];\ncvt.u32.u16 %r5, %h1;\n"
    code += "".join(f"st.global.u32 [%out+{4 * i}], %r{i + 1};\n" for i in range(5))
    out = torch.zeros(5, dtype=torch.int32)
    report = run(text.replace("ret;", code + "ret;"), [value, ptx.Uninitialised(out)], block=1)
    assert report.clean, report
    assert out.tolist() == [7, 2, -1, 42, 9]
    with pytest.raises(ptx.PTXError, match="40 bytes, its parameter 8"):
        run(kernel("", ["x"]), [value])


def test_arguments_that_do_not_fit() -> None:
    text = kernel("ld.global.u32 %r1, [%x];", ["x"])
    with pytest.raises(ptx.PTXError, match="2 arguments for 1 parameters"):
        run(text, [1, 2])
    with pytest.raises(ValueError, match="expected one to three positive numbers"):
        run(text, [1], grid=0)
    with pytest.raises(ValueError, match="order"):
        run(text, [1], order="sideways")


ATOMICS = {
    "add": lambda old, new: old + new,
    "max": max,
    "min": min,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "and": lambda old, new: old & new,
}


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=64, max_size=64), st.integers(0, 2**32))
def test_atomics_lose_nothing(places: list[int], seed: int) -> None:
    """Any order gives the same memory, and what the threads found is what some order leaves."""
    rng = np.random.default_rng(seed)
    new, at = rng.integers(1, 2**40, 64), np.array(places, np.uint32)
    for op, function in ATOMICS.items():
        kind = "s64" if op in ("max", "min") else "u64" if op == "add" else "b64"
        start = rng.integers(0, 2**40, 4)
        memory, found = start.copy(), np.zeros(64, np.int64)
        code = "mad.wide.u32 %d1, %t, 4, %at;\nld.global.u32 %r1, [%d1];\nmad.wide.u32 %d2, %r1, 8, %memory;\n"
        code += "mad.wide.u32 %d3, %t, 8, %new;\nld.global.u64 %d4, [%d3];\n"
        code += f"atom.global.acq_rel.gpu.{op}.{kind} %d5, [%d2], %d4;\n"
        code += "mad.wide.u32 %d6, %t, 8, %found;\nst.global.u64 [%d6], %d5;"
        text = kernel(code, ["at", "memory", "new", "found"])
        order = ORDERS[int(rng.integers(4))]
        report = run(text, [at, memory, new, found], 2, 32, order=order)
        assert report.clean, report
        for place in range(4):
            mine = [int(value) for value in new[at == place]]
            value = int(start[place])
            for other in mine:
                value = function(value, other)
            assert memory[place] == value
            if op == "add" and mine:  # the values found are sums of a growing set
                steps = sorted(int(v) - int(start[place]) for v in found[at == place])
                assert sorted(np.diff([*steps, sum(mine)]).tolist()) == sorted(mine)


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize("kind", ["f32", "f64", "f16x2"])
def test_atomic_sums_of_floats(kind: str, space: str) -> None:
    dtype = {"f32": np.float32, "f64": np.float64, "f16x2": np.float16}[kind]
    total = np.zeros(2, dtype)
    register, one, mov = {
        "f32": ("%r", "0f3F800000", "b32"),
        "f64": ("%d", "0d3FF0000000000000", "b64"),
        "f16x2": ("%r", "0x3C003C00", "b32"),
    }[kind]
    noftz = ".noftz" if kind == "f16x2" else ""
    size = mov[1:]
    code = f"mov.{mov} {register}5, {one};\n"
    if space == "shared":
        code += f"mov.{mov} {register}6, 0;\nst.shared.b{size} [room], {register}6;\nbar.sync 0;\n"
        code += f"red.shared.add{noftz}.{kind} [room], {register}5;\nbar.sync 0;\nsetp.eq.u32 %p1, %t, 0;\n"
        code += f"@%p1 ld.shared.b{size} {register}7, [room];\n@%p1 st.global.b{size} [%total], {register}7;"
    else:
        code += f"red.global.add{noftz}.{kind} [%total], {register}5;"
    report = run(kernel(code, ["total"], ".shared .align 8 .b8 room[8];"), [total], block=48)
    assert report.clean, report
    assert total[0] == 48
    assert total[1] == (48 if kind == "f16x2" else 0)


@pytest.mark.parametrize("order", ORDERS)
def test_compare_and_swap_lets_one_win(order: str | int) -> None:
    flag, found = np.zeros(1, np.uint32), np.zeros(64, np.uint32)
    code = "add.u32 %r1, %t, 1;\natom.global.cas.b32 %r2, [%flag], 0, %r1;\n"
    code += "mad.wide.u32 %d1, %t, 4, %found;\nst.global.u32 [%d1], %r2;"
    assert run(kernel(code, ["flag", "found"]), [flag, found], 2, 32, order=order).clean
    assert (found == 0).sum() == 1
    assert flag[0] == np.flatnonzero(found == 0)[0] + 1
    if order == "reversed":
        assert flag[0] == 64
    assert set(found) <= {0, flag[0]}


def test_wrapping_counters() -> None:
    code = "atom.global.inc.u32 %r1, [%memory], 4;\natom.global.dec.u32 %r1, [%memory+4], 4;\n"
    code += "atom.global.exch.b32 %r2, [%memory+8], %t;"
    memory = np.array([0, 3, 77], np.uint32)
    assert run(kernel(code, ["memory"]), [memory], block=13).clean
    assert memory.tolist()[:2] == [13 % 5, 0]  # 3 2 1 0 4 3 2 1 0 4 3 2 1 0
    assert memory[2] == 12


def test_asynchronous_copies_arrive_when_waited_for() -> None:
    """cg, ca, zero fill and two groups."""
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    code = """
    mov.u32 %r1, room;
    shl.b32 %r2, %t, 4;
    add.u32 %r3, %r1, %r2;
    mul.wide.u32 %d1, %t, 16;
    add.u64 %d2, %x, %d1;
    setp.lt.u32 %p1, %t, 20;
    selp.b32 %r4, 16, 0, %p1;
    setp.eq.u32 %p2, %t, 3;
    selp.b32 %r4, 8, %r4, %p2;
    cp.async.cg.shared.global [%r3], [%d2], 16, %r4;
    cp.async.commit_group;
    cp.async.ca.shared.global.L2::128B [%r3+512], [%d2], 8;
    cp.async.ca.shared.global [%r3+520], [%d2+8], 4;
    cp.async.commit_group;
    cp.async.wait_group 1;
    ld.shared.v4.b32 {%r5, %r6, %r7, %r8}, [%r3];
    cp.async.wait_all;
    ld.shared.v2.b32 {%r9, %r10}, [%r3+512];
    ld.shared.b32 %r11, [%r3+520];
    add.u64 %d3, %y, %d1;
    add.f32 %r9, %r9, %r5;
    add.f32 %r10, %r10, %r6;
    add.f32 %r11, %r11, %r7;
    st.global.v4.b32 [%d3], {%r9, %r10, %r11, %r8};
    """
    report = run(kernel(code, ["x", "y"], ".shared .align 16 .b8 room[1024];"), [x, y])
    assert report.clean, report
    copied = x.reshape(32, 4).copy()
    copied[20:] = 0
    copied[3, 2:] = 0
    direct = x.reshape(32, 4).copy()
    direct[:, 3] = 0
    assert np.array_equal(y.reshape(32, 4), copied + direct)


def test_clocks_and_special_registers() -> None:
    found = values("mov.u32 %out, %tid.x;", np.uint32, x=np.zeros(40, np.uint32), block=20)
    assert found.tolist() == [*range(20), *range(20)]
    for name, expected in (("%ntid.x", 20), ("%nctaid.x", 2), ("%warpid", 0), ("%ctaid.y", 0)):
        found = values(f"mov.u32 %out, {name};", np.uint32, x=np.zeros(40, np.uint32), block=20)
        assert set(found) == {expected}
    assert values("mov.u32 %out, %lanemask_lt;", np.uint32, x=np.zeros(32)).tolist() == [2**i - 1 for i in range(32)]
    code = "mov.u64 %d1, %clock64;\nmov.u64 %d2, %clock64;\nsetp.ge.u64 %p1, %d2, %d1;\nselp.b32 %out, 1, 0, %p1;"
    assert (values(code, np.uint32, x=np.zeros(32)) == 1).all()
