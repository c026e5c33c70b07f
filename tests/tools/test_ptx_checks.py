"""Every check of the interpreter: a kernel that violates it, and one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tools import ptx
from tests.tools.ptx_programs import kernel, run

ORDERS = ("together", "forward", "reversed", 2)
ROOM = ".shared .align 16 .b8 room[1024];"
OWN = "mov.u32 %r1, room;\nmad.lo.u32 %r2, %lane, 4, %r1;\nshl.b32 %r3, %t, 2;\nadd.u32 %r3, %r3, %r1;\n"
FINISH = "mad.wide.u32 %d1, %t, 4, %out;\nst.global.u32 [%d1], %r9;\n"


def kinds(report: ptx.Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def shared(code: str, block: int = 64, grid: int = 1, **options: Any) -> ptx.Report:
    """%r2, %r3: addresses of the lane's and the thread's word of `room`; %r9 goes to out[thread]."""
    text = kernel(OWN + code + FINISH, ["out"], ROOM)
    return run(text, [np.zeros(block * grid, np.uint32)], grid, block, **options)


# memory


@pytest.mark.parametrize(
    "what", ["ld.global.u32 %r1, [%d1];", "st.global.u32 [%d1], %t;", "atom.global.add.u32 %r1, [%d1], 1;"]
)
def test_bounds_of_buffers(what: str) -> None:
    code = f"mad.wide.u32 %d1, %t, 4, %x;\nsetp.lt.u32 %p1, %t, %n;\n@%p1 {what}"
    text = kernel(code, ["x", "u32 n"])
    assert run(text, [np.zeros(20, np.uint32), 20]).clean
    report = run(text, [np.zeros(20, np.uint32), 22])
    assert kinds(report) == {"memory"}
    finding = report.errors[0]
    assert finding.threads == (20, 21)
    assert finding.line == next(i for i, line in enumerate(text.splitlines(), 1) if what in line)
    assert "at byte 80 of argument 0 (80 bytes)" in finding.what


def test_addresses_before_a_buffer_and_in_none() -> None:
    x = np.zeros(8, np.uint32)
    report = run(kernel("ld.global.u32 %r1, [%x+-4];", ["x"]), [x], block=1)
    assert "at byte -4 of argument 0" in report.errors[0].what
    report = run(kernel("ld.global.u32 %r1, [%x];", ["x"]), [None], block=1)
    assert "in no buffer" in report.errors[0].what
    report = run(
        kernel("mul.wide.u32 %d1, %t, 0x80000000;\nadd.u64 %d1, %d1, %x;\nld.global.u32 %r1, [%d1];", ["x"]),
        [x],
        block=3,
    )
    assert report.errors[0].threads == (1, 2)  # an index that left 32 bits


def test_refused_writes_change_nothing() -> None:
    x, y = np.zeros(4, np.uint32), np.zeros(4, np.uint32)
    code = "mad.wide.u32 %d1, %t, 4, %x;\nst.global.u32 [%d1], 7;"
    report = run(kernel(code.replace(", 7", ", %lane"), ["x", "y"]), [x, y], block=32)
    assert not report.clean
    assert x.tolist() == [0, 1, 2, 3]
    assert not y.any()


@pytest.mark.parametrize(("offset", "good"), [(0, True), (8, False), (4, False), (16, True)])
def test_alignment_of_vectors(offset: int, good: bool) -> None:
    code = f"ld.global.v4.b32 {{%r1, %r2, %r3, %r4}}, [%x+{offset}];"
    report = run(kernel(code, ["x"]), [np.zeros(16, np.uint32)])
    assert report.clean == good
    if not good:
        assert "misaligned read" in report.errors[0].what


def test_alignment_of_a_view() -> None:
    """A tensor that begins in the middle of its storage keeps its alignment."""
    import torch

    code = "ld.global.v2.b32 {%r1, %r2}, [%x];"
    assert run(kernel(code, ["x"]), [torch.zeros(8)[2:]]).clean
    assert "misaligned" in run(kernel(code, ["x"]), [torch.zeros(8)[1:]]).errors[0].what


@pytest.mark.parametrize(("address", "good"), [("%r3", True), ("%r3+800", False), ("%r3+2", False)])
def test_bounds_of_shared_memory(address: str, good: bool) -> None:
    report = shared(f"st.shared.u32 [{address}], %t;\nmov.u32 %r9, 0;\n")
    assert report.clean == good
    assert good or kinds(report) == {"memory"}


def test_dynamic_shared_memory_is_as_large_as_the_launch_says() -> None:
    outside = ".extern .shared .align 16 .b8 more[];"
    text = kernel("mov.u32 %r1, more;\nmad.lo.u32 %r1, %t, 4, %r1;\nst.shared.u32 [%r1], %t;", outside=outside)
    assert run(text, shared_bytes=128).clean
    assert kinds(run(text, shared_bytes=124)) == {"memory"}


def test_reads_of_what_nobody_wrote() -> None:
    assert kinds(shared("ld.shared.u32 %r9, [%r3];\n")) == {"uninitialised"}
    assert shared("st.shared.u32 [%r3], %t;\nld.shared.u32 %r9, [%r3];\n").clean
    text = kernel("mad.wide.u32 %d1, %t, 4, %x;\nld.global.u32 %r1, [%d1];", ["x"])
    x = np.zeros(32, np.uint32)
    assert run(text, [x]).clean
    assert kinds(run(text, [ptx.Uninitialised(x)])) == {"uninitialised"}


# races


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("barrier", ["bar.sync 0;\n", ""])
def test_reads_after_writes(order: str | int, barrier: str) -> None:
    code = f"st.shared.u32 [%r3], %t;\n{barrier}xor.b32 %r4, %r3, 128;\nld.shared.u32 %r9, [%r4];\n"
    report = shared(code, order=order)
    assert ("read after write" in kinds(report)) == (not barrier) or "uninitialised" in kinds(report)
    assert report.clean == bool(barrier)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("barrier", ["bar.sync 0;\n", ""])
def test_writes_after_reads(order: str | int, barrier: str) -> None:
    code = "st.shared.u32 [%r3], %t;\nbar.sync 0;\nxor.b32 %r4, %r3, 128;\nld.shared.u32 %r9, [%r4];\n"
    report = shared(code + f"{barrier}st.shared.u32 [%r3], %lane;\n", order=order)
    if barrier:
        assert report.clean, report
    elif order != "together":
        assert not report.clean  # the same fault, seen as a read of what another warp wrote
    else:
        (finding,) = report.findings
        assert finding.kind == "write after read"
        assert f"at line {finding.line - 1}," in finding.what


@pytest.mark.parametrize(("value", "good"), [("%t", False), ("5", True)])
def test_writes_after_writes(value: str, good: bool) -> None:
    """Two warps write the same words; equal values do no harm."""
    report = shared(f"mov.u32 %r9, {value};\nst.shared.u32 [%r2], %r9;\n")
    assert kinds(report) == (set() if good else {"write after write"})
    report = shared(f"mov.u32 %r9, {value};\nst.shared.u32 [%r1], %r9;\n", block=32)
    assert kinds(report) == (set() if good else {"write after write"})


@pytest.mark.parametrize(
    ("barrier", "good"), [("bar.warp.sync 0xffffffff;\n", True), ("", False), ("bar.sync 0;\n", True)]
)
def test_races_within_a_warp(barrier: str, good: bool) -> None:
    code = f"st.shared.u32 [%r3], %t;\n{barrier}xor.b32 %r4, %r3, 4;\nld.shared.u32 %r9, [%r4];\n"
    assert shared(code).clean == good


@pytest.mark.parametrize("by", [4, 128])
def test_a_warp_barrier_orders_its_own_warp_only(by: int) -> None:
    code = f"st.shared.u32 [%r3], %t;\nbar.warp.sync 0xffffffff;\nxor.b32 %r4, %r3, {by};\nld.shared.u32 %r9, [%r4];\n"
    report = shared(code)
    assert report.clean == (by == 4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [48, 64])
def test_one_thread_updates_what_all_have_read(order: str | int, block: int) -> None:
    """Also in blocks that are no whole number of warps."""
    code = "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1], %t;\nbar.sync 0;\nld.shared.u32 %r9, [%r1];\n"
    update = "@%p1 ld.shared.u32 %r5, [%r1];\n@%p1 add.u32 %r5, %r5, 1;\n@%p1 st.shared.u32 [%r1], %r5;\n"
    good = shared(code + "bar.sync 0;\n" + update + "bar.sync 0;\nld.shared.u32 %r9, [%r1];\n", block, order=order)
    assert good.clean, good
    assert not shared(code + update, block, order=order).clean


def test_atomics_and_plain_accesses() -> None:
    start = "setp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.u32 [%r1], %t;\nbar.sync 0;\natom.shared.add.u32 %r9, [%r1], 1;\n"
    assert shared(start).clean
    assert shared(start + "bar.sync 0;\nld.shared.u32 %r9, [%r1];\n").clean
    assert kinds(shared(start + "ld.shared.u32 %r9, [%r1];\n")) == {"read after write"}
    assert kinds(shared(start.replace("bar.sync 0;\n", ""))) & {"write after write", "uninitialised"}


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_that_share_global_memory(order: str | int) -> None:
    def conflict(code: str) -> ptx.Report:
        text = kernel(f"mov.u32 %r2, %ctaid.x;\nmad.wide.u32 %d1, %lane, 4, %x;\n{code}", ["x"])
        return run(text, [np.zeros(32, np.uint32)], 3, 32, order=order)

    assert kinds(conflict("st.global.u32 [%d1], %r2;")) == {"write after write"}
    assert conflict("mov.u32 %r3, 9;\nst.global.u32 [%d1], %r3;").clean
    assert conflict("atom.global.add.u32 %r3, [%d1], 1;").clean
    assert conflict("ld.global.u32 %r3, [%d1];").clean
    assert not conflict("atom.global.add.u32 %r3, [%d1], 1;\nld.global.u32 %r3, [%d1];").clean
    read_write = "setp.eq.u32 %p1, %r2, 1;\n@%p1 st.global.u32 [%d1], %t;\n@!%p1 ld.global.u32 %r3, [%d1];"
    assert not conflict(read_write).clean


@pytest.mark.parametrize("order", ["together", "forward"])
def test_blocks_that_hand_data_over(order: str) -> None:
    """The last block to count itself sums what all blocks wrote."""
    code = """
    mov.u32 %r1, %ctaid.x;
    add.u32 %r2, %r1, 1;
    mad.wide.u32 %d1, %r1, 4, %parts;
    st.global.u32 [%d1], %r2;
    membar.gl;
    atom.global.add.u32 %r3, [%count], 1;
    setp.ne.u32 %p1, %r3, 2;
    @%p1 ret;
    membar.gl;
    ld.global.u32 %r4, [%parts];
    ld.global.u32 %r5, [%parts+4];
    ld.global.u32 %r6, [%parts+8];
    add.u32 %r4, %r4, %r5;
    add.u32 %r4, %r4, %r6;
    st.global.u32 [%parts], %r4;
    """
    text = kernel(code, ["parts", "count"])

    def launched(wrap: Any) -> tuple[ptx.Report, int]:
        parts = np.zeros(3, np.uint32)
        return run(text, [wrap(ptx.Uninitialised(parts)), np.zeros(1, np.uint32)], 3, 1, order=order), int(parts[0])

    assert kinds(launched(lambda array: array)[0]) == {"read after write", "write after write"}
    report, total = launched(ptx.HandedOver)
    assert report.clean, report
    assert total == 6


def test_threads_of_a_block_that_share_global_memory() -> None:
    code = "mad.wide.u32 %d1, %t, 4, %x;\nst.global.u32 [%d1], %t;\n{}xor.b32 %r1, %t, 32;\nmad.wide.u32 %d2, %r1, 4, %x;\n"
    code += "ld.global.u32 %r2, [%d2];"
    x = np.zeros(64, np.uint32)
    assert run(kernel(code.format("bar.sync 0;\n"), ["x"]), [x], block=64).clean
    report = run(kernel(code.format(""), ["x"]), [x], block=64)
    assert kinds(report) == {"read after write"}
    assert "last used by thread" in report.hazards[0].what


# barriers and collectives


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_that_not_everyone_reaches(order: str | int) -> None:
    skip = "mov.u32 %r9, 0;\nsetp.lt.u32 %p1, %t, {};\n@%p1 bra OVER;\nbar.sync 0;\nOVER:\n"
    for limit, good in ((0, True), (64, True), (32, False), (5, False)):
        report = shared(skip.format(limit), order=order)
        assert report.clean == good, (limit, str(report))
        assert good or kinds(report) == {"barrier"}
    other = "mov.u32 %r9, 0;\nsetp.lt.u32 %p1, %t, 32;\n@%p1 bra OVER;\nbar.sync 0;\nbra.uni END;\nOVER:\nbar.sync 0;\nEND:\n"
    assert "different barriers" in shared(other, order=order).errors[0].what


def test_barriers_after_threads_have_ended() -> None:
    code = "setp.ge.u32 %p1, %t, 40;\n@%p1 ret;\nbar.sync 0;\n"
    assert "24 of its threads have ended" in run(kernel(code), block=64).errors[0].what
    assert run(kernel(code), block=40).clean


@pytest.mark.parametrize("order", ORDERS)
def test_collectives_with_missing_lanes(order: str | int) -> None:
    code = "mov.u32 %r9, 0;\nsetp.lt.u32 %p1, %lane, {};\n@%p1 shfl.sync.bfly.b32 %r9, %t, 0, 31, {};\n"
    assert shared(code.format(32, "0xffffffff"), order=order).clean
    assert shared(code.format(16, "0xffff"), order=order).clean
    assert kinds(shared(code.format(16, "0xffffffff"), order=order)) == {"collective"}
    assert kinds(shared(code.format(16, "0x7fff"), order=order)) == {"collective"}
    assert "takes no part" in str(shared(code.format(16, "0xffff").replace("%t, 0", "%t, 16"), order=order))
    matrix = "@%p1 mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%r4,%r5,%r6,%r7}, {%t,%t,%t,%t}, "
    matrix += "{%t,%t}, {%t,%t,%t,%t};\n"
    for limit, good in ((32, True), (31, False)):
        assert shared(f"mov.u32 %r9, 0;\nsetp.lt.u32 %p1, %lane, {limit};\n{matrix}", order=order).clean == good


# cp.async

COPY = "mov.u32 %r1, room;\nmad.lo.u32 %r2, %t, 16, %r1;\nmad.wide.u32 %d1, %t, 16, %x;\n"
READ = "xor.b32 %r3, %r2, {};\nld.shared.u32 %r4, [%r3];\n"


def copies(code: str, order: str | int = "together") -> ptx.Report:
    return run(kernel(COPY + code, ["x"], ROOM), [np.zeros(256, np.uint32)], block=64, order=order)


ISSUE = "cp.async.cg.shared.global [%r2], [%d1], 16;\ncp.async.commit_group;\n"


@pytest.mark.parametrize("order", ORDERS)
def test_copies_that_are_waited_for(order: str | int) -> None:
    wait, barrier = "cp.async.wait_group 0;\n", "bar.sync 0;\n"
    assert copies(ISSUE + wait + READ.format(0), order).clean
    assert copies(ISSUE + wait + barrier + READ.format(512), order).clean
    assert not copies(ISSUE + wait + READ.format(512), order).clean
    assert "in flight" in kinds(copies(ISSUE + barrier + READ.format(0) + wait, order))
    assert "in flight" in kinds(copies(ISSUE + "cp.async.wait_group 1;\n" + READ.format(0) + wait, order))
    assert kinds(copies(ISSUE, order)) == {"async"}
    assert "in flight" in kinds(copies(ISSUE + "st.shared.u32 [%r2], %t;\n" + wait, order))
    uncommitted = ISSUE.splitlines()[0] + "\n"
    assert "in flight" in kinds(copies(uncommitted + wait + READ.format(0) + "cp.async.wait_all;\n", order))
    assert copies(uncommitted + "cp.async.wait_all;\n" + READ.format(0), order).clean


@pytest.mark.parametrize(("barrier", "good"), [("bar.sync 0;\n", True), ("", False)])
def test_copies_over_what_others_still_read(barrier: str, good: bool) -> None:
    first = ISSUE + "cp.async.wait_group 0;\nbar.sync 0;\n" + READ.format(512)
    report = copies(first + barrier + ISSUE + "cp.async.wait_group 0;\n")
    assert kinds(report) == (set() if good else {"write after read"})


def test_copies_from_outside_of_a_buffer() -> None:
    code = COPY + "setp.lt.u32 %p1, %t, 8;\nselp.b32 %r5, 16, 0, %p1;\n"
    copy = "cp.async.cg.shared.global [%r2], [%d1], 16, %r5;\ncp.async.wait_all;\n"
    x = np.zeros(32, np.uint32)
    assert run(kernel(code + copy, ["x"], ROOM), [x]).clean  # nothing is read where the size is 0
    assert kinds(run(kernel(code + copy.replace(", %r5", ""), ["x"], ROOM), [x])) == {"memory"}
    misaligned = copy.replace("[%r2]", "[%r2+8]")
    assert "misaligned cp.async" in run(kernel(code + misaligned, ["x"], ROOM), [x]).errors[0].what


# the report


def test_endless_loops_are_stopped() -> None:
    report = run(kernel("AGAIN:\nbra.uni AGAIN;"), max_steps=1000)
    assert kinds(report) == {"steps"}
    assert run(
        kernel("mov.u32 %r1, 0;\nAGAIN:\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 100;\n@%p1 bra AGAIN;")
    ).clean


def test_findings_say_where_and_count() -> None:
    code = "mov.u32 %r5, 0;\n.loc 1 42 7\nAGAIN:\nst.global.u32 [%x+16], %t;\n"
    code += "add.u32 %r5, %r5, 1;\nsetp.lt.u32 %p1, %r5, 3;\n@%p1 bra AGAIN;"
    text = kernel(code, ["x"], outside='.file 1 "/a/b/kernel.py"')
    report = run(text, [np.zeros(4, np.uint32)], (1, 2, 2), (1, 1, 1))
    (finding,) = report.errors
    assert finding.count == 12
    assert (finding.kernel, finding.source, finding.block, finding.threads) == ("k", "kernel.py:42", (0, 0, 0), (0,))
    assert text.splitlines()[finding.line - 1] == finding.text + ";"
    assert "[12 times]" in str(report)
    assert report.counts["st.global.u32"] == 12
    assert report.executed("setp") == 12
