"""The emulation itself: right kernels run, wrong ones are found, by message, by result or by a sanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.csrc.sanitize import SANITIZERS
from tests.tools.cuda_emulation.build import build_program

ORDERS = ("forward", "reverse", "random:1", "random:2")


def run(
    program: Path, *words: str, order: str = "forward", wrapper: tuple[str, ...] = (), capability: int = 80
) -> tuple[int, str]:
    """Exit status and what it says."""
    variables = (f"PCSR_EMULATION_ORDER={order}", f"PCSR_EMULATION_CAPABILITY={capability}")
    command = [*wrapper, "env", *variables, str(program), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def plain() -> Path:
    return build_program("faults", "plain")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", ["none", "copies", "warp", "poison", "cluster"])
def test_a_right_kernel_runs_in_every_order(plain: Path, kernel: str, order: str) -> None:
    assert run(plain, kernel, order=order) == (0, "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("divergence", "block 0: of 64 threads 40 wait at __syncthreads, 24 have ended"),
        ("half_a_warp", "32 wait in a warp operation"),
        ("mask", "__shfl_sync: the calling lane is not in the mask (block 0, thread 16)"),
        ("operations", "lanes of one warp are at different operations"),
        ("alignment", "cp.async: an address is not a multiple of 16"),
        ("threads", "invalid configuration argument"),
        (
            "part_of_a_cluster",
            "of 64 threads 32 wait at __syncthreads, 0 have ended, 0 wait for an mbarrier, 32 for their",
        ),
    ],
)
def test_a_broken_rule_is_named(plain: Path, fault: str, said: str) -> None:
    status, message = run(plain, fault)
    assert status == 2
    assert said in message


def test_a_block_that_has_ended_is_out_of_reach(plain: Path) -> None:
    found = [run(plain, "ended_block", order=order) for order in ORDERS]
    assert (2, "cluster: the block whose memory is meant has ended (block 0, thread 31)\n") in found
    assert all(run(plain, "cluster_barrier", order=order)[0] == 2 for order in ORDERS)


@pytest.mark.parametrize("fault", ["barrier", "wait"])
def test_a_missing_barrier_or_wait_changes_the_result_in_some_order(plain: Path, fault: str) -> None:
    assert {run(plain, fault, order=order)[0] for order in ORDERS} & {1}


@pytest.mark.parametrize(
    ("variant", "fault", "report"),
    [
        ("address", "beyond_the_end", "heap-buffer-overflow"),
        ("address", "beyond_shared_memory", "heap-buffer-overflow"),
        ("thread", "barrier", "data race"),
        ("thread", "cluster_barrier", "data race"),
    ],
)
def test_a_sanitizer_names_the_line(variant: str, fault: str, report: str) -> None:
    program, wrapper = build_program("faults", variant), SANITIZERS[variant].wrapper
    status, message = run(program, fault, wrapper=wrapper)
    assert status != 0
    assert report in message
    assert "faults.cpp" in message


@pytest.mark.parametrize("variant", ["address", "thread"])
@pytest.mark.parametrize("kernel", ["none", "copies", "warp", "cluster"])
def test_a_sanitizer_is_silent_about_right_kernels(variant: str, kernel: str) -> None:
    program = build_program("faults", variant)
    assert run(program, kernel, order="random:3", wrapper=SANITIZERS[variant].wrapper) == (0, "")
