"""K1 by wgmma and tensor copies, emulated as on a device of compute capability 9.0: the same bits as by mma.sync."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast.ops import triplet_loss
from tests.kernels.cuda.problems import ORDERS, make_sides, make_triplets, score_bound
from tests.ops.searches import check_choices
from tests.ops.tools import assert_same_bits, guarded_memory

HALVES = (torch.bfloat16, torch.float16)
# Rows, columns, width: less than a box and a tile, exactly one of each, several, with widths of any number of stages.
SIZES = ((1, 2, 64), (63, 130, 72), (128, 128, 128), (257, 130, 200), (130, 300, 520))


@pytest.fixture(autouse=True)
def hopper(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PCSR_EMULATION_CAPABILITY", "90")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("rows", "columns", "width"), SIZES)
def test_value_and_choice(rows, columns, width, dtype, monkeypatch):
    problem = make_sides(torch.device("cpu"), rows, columns, width, dtype)
    ours = problem.search("cuda")
    check_choices(problem, ours, score_bound(problem))
    monkeypatch.setenv("PCSR_EMULATION_CAPABILITY", "80")
    for wide, narrow in zip(ours, problem.search("cuda"), strict=True):
        assert_same_bits(wide, narrow)


@pytest.mark.parametrize("dtype", HALVES)
def test_order_of_threads_and_blocks_changes_no_bit(dtype, monkeypatch):
    problem = make_sides(torch.device("cpu"), 257, 130, 200, dtype)
    expected = problem.search("cuda")
    for order in ORDERS[1:]:
        monkeypatch.setenv("PCSR_EMULATION_ORDER", order)
        with guarded_memory() as blocks:
            found = problem.search("cuda")
        assert blocks
        for ours, theirs in zip(found, expected, strict=True):
            assert_same_bits(ours, theirs)


@pytest.mark.parametrize("multiprocessors", [2, 3, 20])
def test_the_number_of_clusters_changes_no_bit(multiprocessors, monkeypatch):
    """Four pairs of tiles: two a cluster, one or two, and fewer clusters than the device could hold."""
    problem = make_sides(torch.device("cpu"), 500, 200, 72, torch.bfloat16)
    expected = problem.search("cuda")
    monkeypatch.setenv("PCSR_EMULATION_MULTIPROCESSORS", str(multiprocessors))
    for ours, theirs in zip(problem.search("cuda"), expected, strict=True):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("mode", ["anchor", "row", "col", "matrix"])
def test_losses_of_every_margin_mode(mode, monkeypatch):
    problem = make_triplets(torch.device("cpu"), 130, 72, torch.bfloat16, mode, "hardest")
    wide = triplet_loss(problem.x, problem.y, **problem.options, reduction="none")
    monkeypatch.setenv("PCSR_EMULATION_CAPABILITY", "80")
    assert_same_bits(wide, triplet_loss(problem.x, problem.y, **problem.options, reduction="none"))


def test_rows_that_no_tensor_copy_can_take_change_no_bit():
    problem = make_sides(torch.device("cpu"), 63, 130, 72, torch.bfloat16)
    expected = problem.search("cuda")
    shifted = torch.zeros(63, 75, dtype=torch.bfloat16)[:, 1:73].copy_(problem.x)
    for ours, theirs in zip(problem._replace(x=shifted).search("cuda"), expected, strict=True):
        assert_same_bits(ours, theirs)
