"""Parsing, branches, launches over grids, and mutants."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import ptx
from tests.tools.ptx.operands import Address, Immediate, Name, Register, Vector, parse_operand, split
from tests.tools.ptx_programs import kernel, run, values

ORDERS = ("together", "forward", "reversed", 11)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), min_size=64, max_size=64), st.sampled_from(ORDERS))
def test_loops_of_different_lengths(rounds: list[int], order: str | int) -> None:
    """Nested loops with a way out of the inner one: Collatz steps."""
    x, out = np.array(rounds, np.uint32), np.zeros(64, np.uint32)
    code = """
    mad.wide.u32 %d1, %t, 4, %x;
    ld.global.u32 %r1, [%d1];
    mov.u32 %r2, 0;
OUTER:
    setp.le.u32 %p1, %r1, 1;
    @%p1 bra DONE;
HALVE:
    and.b32 %r3, %r1, 1;
    setp.eq.u32 %p2, %r3, 1;
    @%p2 bra TRIPLE;
    shr.u32 %r1, %r1, 1;
    add.u32 %r2, %r2, 1;
    bra.uni HALVE;
TRIPLE:
    setp.eq.u32 %p3, %r1, 1;
    @%p3 bra OUTER;
    mad.lo.u32 %r1, %r1, 3, 1;
    add.u32 %r2, %r2, 1;
    bra.uni OUTER;
DONE:
    mad.wide.u32 %d2, %t, 4, %out;
    st.global.u32 [%d2], %r2;
    """
    x = np.maximum(x, 1)
    report = run(kernel(code, ["x", "out"]), [x, out], 2, 32, order=order)
    assert report.clean, report
    for start, steps in zip(x, out, strict=True):
        value, count = int(start), 0
        while value > 1:
            value, count = (3 * value + 1 if value % 2 else value // 2), count + 1
        assert steps == count


def test_jump_tables() -> None:
    code = """
    and.b32 %r1, %t, 3;
    TABLE: .branchtargets L0, L1, L2, L3;
    brx.idx %r1, TABLE;
L0: mov.u32 %out, 10; bra.uni END;
L1: mov.u32 %out, 11; bra.uni END;
L2: mov.u32 %out, 12; bra.uni END;
L3: mov.u32 %out, 13;
END:
    """
    assert values(code, np.uint32, x=np.zeros(32)).tolist() == [10, 11, 12, 13] * 8


@pytest.mark.parametrize("order", ORDERS)
def test_threads_end_at_different_times(order: str | int) -> None:
    out = np.zeros(96, np.uint32)
    code = "mad.wide.u32 %d1, %t, 4, %out;\nsetp.ge.u32 %p1, %t, 40;\n@%p1 exit;\nst.global.u32 [%d1], %t;\n"
    code += "setp.ge.u32 %p1, %t, 9;\n@!%p1 bra ON;\nret;\nON:\nmov.u32 %r1, 1000;\nst.global.u32 [%d1], %r1;"
    assert run(kernel(code, ["out"]), [out], block=96, order=order).clean
    thread = np.arange(96)
    assert np.array_equal(out, np.where(thread < 9, 1000, np.where(thread < 40, thread, 0)))


@pytest.mark.parametrize("order", ORDERS)
def test_grids_and_blocks_of_three_dimensions(order: str | int) -> None:
    grid, block = (2, 3, 2), (5, 2, 3)
    out = np.zeros((2, 3, 2, 3, 2, 5), np.uint32)
    names = [f"{kind}.{axis}" for kind in ("ctaid", "tid") for axis in "zyx"]
    sizes = (2, 3, 2, 3, 2, 5)
    code = "mov.u32 %r1, 0;\nmov.u32 %r2, 0;\n"
    for name, size in zip(names, sizes, strict=True):
        code += f"mov.u32 %r3, %{name};\nmad.lo.u32 %r1, %r1, {size}, %r3;\nmad.lo.u32 %r2, %r2, 10, %r3;\n"
    code += "mad.wide.u32 %d1, %r1, 4, %out;\nst.global.u32 [%d1], %r2;"
    assert run(kernel(code, ["out"]), [out], grid, block, order=order).clean
    digits = np.indices(sizes)
    assert np.array_equal(out, sum(digit * 10 ** (5 - i) for i, digit in enumerate(digits)))


def test_required_threads() -> None:
    text = kernel("mov.u32 %r1, 0;").replace("k()\n{", "k()\n.reqntid 64, 1, 1\n{")
    assert run(text, block=64).clean
    with pytest.raises(ptx.PTXError, match=r"reqntid asks for \(64, 1, 1\)"):
        run(text, block=32)


def test_modules_with_several_kernels() -> None:
    text = kernel("mov.u32 %r1, 0;") + kernel("frob.b32 %r1, %r1;").split(".address_size 64")[1].replace(
        "k()", "other()"
    )
    module = ptx.parse(text)
    assert list(module) == ["k", "other"]
    assert ptx.launch(module["k"], 1, 32, []).clean
    line = text[: text.index("frob")].count("\n") + 1
    with pytest.raises(ptx.PTXError, match=f"kernel other, line {line}: unknown instruction frob"):
        ptx.launch(module["other"], 1, 32, [])
    with pytest.raises(ptx.PTXError, match="2 kernels: k, other"):
        _ = module.only


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("mov.u32 %r1, %nothing;", "%nothing"),
        ("mov.u32 %r1, nothing;", "nothing is not declared"),
        ("bra NOWHERE;", "NOWHERE"),
        ("add.u64 %d1, %r1, %d2;", "4 bytes as u64"),
        ("@%q bra X;", "%q is not declared"),
        ("add.u32 %r1, %r1;", "expected 3 operands"),
        ("ld.global.v2.b32 {%r1}, [%r2];", "expected 2 registers"),
        ("ld.global.b64 %r1, [%d2];", "as wide as the type"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r1}, {%r1}, {%r1}, {%r1};", "1 registers for 512 bytes"),
    ],
)
def test_what_cannot_be_read_is_named(code: str, message: str) -> None:
    with pytest.raises(ptx.PTXError, match=re.escape(message)):
        run(kernel(code))


def test_operands() -> None:
    registers = {"%rd1": Register(0, 8), "%r12": Register(1, 4)}

    def operand(text: str) -> object:
        return parse_operand(text, registers.get)

    assert operand("[%rd1+-8]") == Address(Register(0, 8), -8)
    assert operand("[ %rd1 + 16 ]") == Address(Register(0, 8), 16)
    assert operand("[%r12]") == Address(Register(1, 4), 0)
    assert operand("[table+0x10]") == Address(Name("table"), 16)
    assert operand("{%r12, -1}") == Vector((Register(1, 4), Immediate("i", -1)))
    assert operand("0f3F800000") == Immediate("f", 0x3F800000)
    assert operand("0xffU") == Immediate("i", 255)
    assert operand("1.5") == Immediate("n", 1.5)
    assert split("a, {b, c}, [d], (e, f)") == ["a", "{b, c}", "[d]", "(e, f)"]


MUTABLE = """    setp.lt.s32 %p1, %t, 5;
    selp.b32 %r5, 16, 0, %p1;
    cp.async.cg.shared.global [%r1], [%d1], 0x10, %r5;
    cp.async.commit_group;
    cp.async.wait_group 0;
    bar.sync 0;
    @!%p1 ld.global.u32 %r2, [%d2];
    @%p1 ld.param.u64 %d2, [x];
    @!%p1 ld.global.u32 %r4, [%d3];
    bar.warp.sync 0xffffffff;
    @%p1 bra END;
    @%p1 atom.global.add.u32 %r3, [%d2], 1;
END:"""


def test_mutants_change_one_instruction_each() -> None:
    original = ptx.parse(kernel(MUTABLE, ["x"])).only
    first = next(at for at, code in enumerate(original.code) if code.text.startswith("setp"))
    expected = {
        "guard cp.async.cg.shared.global [%r], [%d], 0x10, %r #1": 2,
        "commit cp.async.commit_group #1": 3,
        "wait cp.async.wait_group 0 #1": 4,
        "barrier bar.sync 0 #1": 5,
        "guard @!%p ld.global.u32 %r, [%d] #1": 6,
        "guard @!%p ld.global.u32 %r, [%d] #2": 8,
        "barrier bar.warp.sync 0xffffffff #1": 9,
        "branch @%p bra END #1": 10,
        "guard @%p atom.global.add.u32 %r, [%d], 1 #1": 11,
    }
    mutants = list(ptx.mutate(original))
    assert {mutant.name: mutant.at - first for mutant in mutants} == expected
    for mutant in mutants:
        pairs = enumerate(zip(original.code, mutant.kernel.code, strict=True))
        assert [at for at, (old, new) in pairs if old != new] == [mutant.at]
        assert mutant.kernel.code[mutant.at].guard is None
        assert mutant.name.startswith(mutant.kind)
    assert [mutant.kind for mutant in ptx.mutate(original, ["wait", "commit"])] == ["commit", "wait"]
    with pytest.raises(ValueError, match="unknown kinds"):
        list(ptx.mutate(original, ["colour"]))


def test_mutants_do_what_they_say() -> None:
    """Before and after a first launch, which the original's prepared code comes from."""
    code = """
    setp.lt.u32 %p1, %t, 8;
    @!%p1 bra END;
    mad.wide.u32 %d1, %t, 4, %out;
    @%p1 st.global.u32 [%d1], %t;
    END:
    """
    original = ptx.parse(kernel(code, ["out"])).only
    for _ in range(2):
        for mutant in ptx.mutate(original):
            out = np.zeros(32, np.uint32)
            assert ptx.launch(mutant.kernel, 1, 32, [out]).clean
            assert np.count_nonzero(out) == 7
            both = next(ptx.mutate(mutant.kernel, ["guard" if mutant.kind == "branch" else "branch"]))
            assert ptx.launch(both.kernel, 1, 32, [out]).clean
            assert np.count_nonzero(out) == 31
        report = ptx.launch(original, 1, 32, [np.zeros(32, np.uint32)])
        assert len(report.reached) == len(original.code)


def test_orders_show_a_missing_barrier_as_a_wrong_result() -> None:
    """Without the check for races, only the order of warps can tell."""
    code = """
    mov.u32 %r1, room;
    mad.lo.u32 %r2, %t, 4, %r1;
    mov.u32 %r9, 7777;
    st.shared.u32 [%r2], %r9;
    bar.sync 0;
    st.shared.u32 [%r2], %t;
    bar.sync 0;
    xor.b32 %r3, %r2, 128;
    ld.shared.u32 %r4, [%r3];
    mad.wide.u32 %d1, %t, 4, %out;
    st.global.u32 [%d1], %r4;
    """

    def result(text: str, order: str | int) -> list[int]:
        out = np.zeros(64, np.uint32)
        run(kernel(text, ["out"], ".shared .align 4 .b8 room[256];"), [out], block=64, order=order, races=False)
        return out.tolist()

    expected = [thread ^ 32 for thread in range(64)]
    head, _, tail = code.rpartition("bar.sync 0;")
    for order in ORDERS:
        assert result(code, order) == expected
    assert result(head + tail, "forward")[:32] == [7777] * 32
    assert result(head + tail, "reversed")[32:] == [7777] * 32


FUNCTION = """
.func (.param .b32 result) factorial_like (.param .b32 n_param)
{
.reg .pred %p<3>;
.reg .b32 %r<5>;
ld.param.u32 %r1, [n_param];
mov.u32 %r2, 1;
$again:
setp.eq.u32 %p1, %r1, 0;
st.param.b32 [result+0], %r2;
@%p1 ret;
mul.lo.u32 %r2, %r2, %r1;
sub.u32 %r1, %r1, 1;
bra.uni $again;
}
"""
CALL = """{
.param .b32 param0;
st.param.b32 [param0+0], %r%d;
.param .b32 retval0;
call.uni (retval0),
factorial_like,
(
param0
);
ld.param.b32 %r%d, [retval0+0];
}
"""


def test_a_called_function_has_its_own_registers_and_labels() -> None:
    """Called twice, with lanes that return at different times."""
    code = "and.b32 %r1, %t, 3;\nand.b32 %r2, %t, 7;\nmov.u32 %r3, %r1;\n"
    for source, target in ((3, 4), (2, 5)):
        code += CALL.replace("%d", str(source), 1).replace("%d", str(target), 1)
    code += "mad.wide.u32 %d1, %t, 8, %out;\nst.global.v2.u32 [%d1], {%r4, %r5};"
    out = np.zeros((32, 2), np.int32)
    report = run(kernel(code, ["out"], outside=FUNCTION), [ptx.Uninitialised(out)])
    assert report.clean, report
    assert out.tolist() == [[math.factorial(t & 3), math.factorial(t & 7)] for t in range(32)]
    with pytest.raises(ptx.PTXError, match="no function of this module"):
        ptx.parse(kernel(code, ["out"]))
    with pytest.raises(ptx.PTXError, match="other than its 2"):
        ptx.parse(kernel(code.replace("param0\n)", "param0, param0\n)"), ["out"], outside=FUNCTION))
