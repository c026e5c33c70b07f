"""Hardest negatives over random problems: float64, parts of the whole to the bit, and the screened search."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.ops import triplet_loss
from pcsr_fast.reference.hardest import HardestNegatives
from tests.ops.searches import (
    adversaries,
    assert_same_values,
    check_choices,
    check_screened,
    sides,
)
from tests.ops.tools import LAYOUTS, STEADY, assert_same_bits, dot_bound, merged, runnable, threads

POWERS = st.integers(-3, 3)


@given(sides())
def test_choices_are_the_largest_in_float64(problem):
    for backend in problem.backends():
        check_choices(problem, problem.search(backend), dot_bound(problem.x, problem.y))


@given(sides(), st.randoms(use_true_random=False))
def test_permuted_rows_have_permuted_values(problem, random):
    orders = [list(range(side.shape[0])) for side in (problem.x, problem.y)]
    for order in orders:
        random.shuffle(order)
    rows, columns = (torch.tensor(order) for order in orders)
    groups = problem.groups[0][rows], problem.groups[1][columns]
    permuted = problem._replace(x=problem.x[rows], y=problem.y[columns], groups=groups)
    for backend in problem.backends():
        found = problem.search(backend)
        expected = found._replace(row_values=found.row_values[rows], column_values=found.column_values[columns])
        assert_same_values(permuted.search(backend), expected, problem, backend)


@given(sides())
def test_merged_groups_never_raise_a_value(problem):
    groups = tuple(merged(side, side.shape[0]) for side in problem.groups)
    for backend in problem.backends():
        fine, coarse = problem.search(backend), problem._replace(groups=groups).search(backend)
        assert (coarse.row_values <= fine.row_values).all()
        assert (coarse.column_values <= fine.column_values).all()


@given(sides(), st.data())
def test_parts_of_the_rows_give_their_part_of_the_answer(problem, data):
    """However rows are cut into blocks: rows keep their answer to the bit, columns take the better of both parts."""
    cut = data.draw(st.integers(0, problem.x.shape[0]))
    halves = [part for part in (slice(0, cut), slice(cut, None)) if problem.x[part].shape[0]]
    parts = [problem._replace(x=problem.x[p], groups=(problem.groups[0][p], problem.groups[1])) for p in halves]
    for backend in problem.backends():
        found = [part.search(backend) for part in parts]
        joined = HardestNegatives(
            torch.cat([part.row_values for part in found]),
            torch.cat([part.row_indices for part in found]),
            torch.stack([part.column_values for part in found]).amax(0),
            found[0].column_indices,
        )
        whole = problem.search(backend)
        assert_same_values(whole, joined, problem, backend)
        if problem.exact or backend in STEADY:
            assert torch.equal(whole.row_indices, joined.row_indices)


@given(sides(), st.data())
def test_a_copy_of_a_row_changes_no_choice(problem, data):
    """The copy comes last, so that its original wins every tie."""
    copied = data.draw(st.integers(0, problem.y.shape[0] - 1))
    pick = torch.tensor([*range(problem.y.shape[0]), copied])
    doubled = problem._replace(y=problem.y[pick], groups=(problem.groups[0], problem.groups[1][pick]))
    for backend in problem.backends():
        found, more = problem.search(backend), doubled.search(backend)
        expected = found._replace(column_values=found.column_values[pick])
        assert_same_values(more, expected, problem, backend)
        if problem.exact or backend in STEADY:
            assert torch.equal(more.row_indices, found.row_indices)
            assert torch.equal(more.column_indices, found.column_indices[pick])


@given(sides(dtypes=(torch.float32, torch.float64, torch.bfloat16)), POWERS, POWERS)
def test_powers_of_two_scale_values_exactly(problem, of_x, of_y):
    scaled = problem._replace(x=problem.x * 2.0**of_x, y=problem.y * 2.0**of_y)
    for backend in problem.backends():
        found, more = problem.search(backend), scaled.search(backend)
        for name in ("row_values", "column_values"):
            assert torch.equal(getattr(more, name), getattr(found, name) * 2.0 ** (of_x + of_y))
        assert torch.equal(more.row_indices, found.row_indices)
        assert torch.equal(more.column_indices, found.column_indices)


@given(sides())
def test_sides_can_be_exchanged(problem):
    mirrored = problem._replace(x=problem.y, y=problem.x, groups=problem.groups[::-1])
    for backend in problem.backends():
        found, other = problem.search(backend), mirrored.search(backend)
        exchanged = HardestNegatives(*other[2:], *other[:2])
        if problem.exact:
            assert all(torch.equal(a, b) for a, b in zip(found, exchanged, strict=True))
        check_choices(problem, exchanged, dot_bound(problem.x, problem.y))


@given(sides(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_layout_in_memory_does_not_matter(problem, of_x, of_y):
    laid = problem._replace(x=of_x(problem.x), y=of_y(problem.y))
    for backend in problem.backends():
        assert_same_values(laid.search(backend), problem.search(backend), problem, backend)


@given(sides(kinds=("integers", "unit")), st.integers(1, 80))
def test_blocks_and_threads_do_not_matter_to_the_bit(problem, block):
    for backend in problem.backends():
        if not problem.exact and backend not in STEADY:
            continue
        whole = problem.search(backend)
        with pytest.MonkeyPatch.context() as patch, threads(3):
            patch.setattr("pcsr_fast.ops.lean.BLOCK", block)
            blocked = problem.search(backend)
        assert all(torch.equal(value, expected) for value, expected in zip(blocked, whole, strict=True))


@given(adversaries())
def test_screened_is_exact_to_the_bit(problem):
    check_screened(problem)


@given(adversaries())
def test_exact_holds_for_adversaries(problem):
    for backend in problem.backends():
        check_choices(problem, problem.search(backend), dot_bound(problem.x, problem.y))


@given(sides(dtypes=(torch.float32,)))
def test_bf16_chooses_within_its_bound(problem):
    """Rounding both sides to 8 bits moves a score by at most about 2^-7 |x|.|y|; values are what that rounding scored."""
    x, y = problem.x.abs().double(), problem.y.abs().double()
    bound = (2.0**-7 + 2.0**-15) * (x @ y.T) + dot_bound(problem.x, problem.y) + 1e-37
    for backend in problem.backends(precision="bf16"):
        check_choices(problem._replace(exact=False), problem.search(backend, precision="bf16"), bound)


@given(adversaries(), st.sampled_from(("anchor", "row", "col", "matrix")))
def test_screened_triplet_losses_are_exact_to_the_bit(problem, mode):
    size = min(problem.x.shape[0], problem.y.shape[0])
    x, y, groups = problem.x[:size], problem.y[:size], problem.groups[0][:size]
    margin = torch.linspace(0, 0.3, size * size).view(size, size)
    margin = margin if mode == "matrix" else margin[0]
    options = {"margin": margin, "margin_mode": mode, "groups": groups}
    for backend in runnable("triplet_loss", x, y, **options, precision="screened"):
        results = []
        for precision in ("exact", "screened"):
            inputs = [value.clone().requires_grad_() for value in (x, y)]
            losses = triplet_loss(*inputs, **options, reduction="none", backend=backend, precision=precision)
            results.append((losses, *torch.autograd.grad(losses.sum(), inputs)))
        for value, expected in zip(results[1], results[0], strict=True):
            assert_same_bits(value, expected)
