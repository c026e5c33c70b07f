"""Retrieval ranks over random problems: float64, and what a change of the problem does to the ranks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.ops import retrieval_ranks_from_scores
from pcsr_fast.reference.ranks import TIES
from tests.ops.searches import Gallery, adversaries, assert_equal_ranks, check_ranks, galleries
from tests.ops.tools import LAYOUTS, SEEDS, STEADY, runnable, threads

POWERS = st.integers(-3, 3)


@given(galleries())
def test_ranks_follow_float64(problem):
    for backend in problem.backends():
        check_ranks(problem, problem.ranks(backend))


@given(galleries())
def test_scores_follow_float64(problem):
    scores = problem.x.double() @ problem.y.double().T
    for backend in runnable("retrieval_ranks_from_scores", scores, ties=problem.ties):
        ranks = retrieval_ranks_from_scores(scores, problem.image_of_text, problem.ties, backend=backend)
        check_ranks(problem, ranks)


@given(galleries(), st.randoms(use_true_random=False))
def test_permuted_captions_have_permuted_ranks(problem, random):
    """By place, equal scores of a stable sort change places too."""
    order = list(range(problem.y.shape[0]))
    random.shuffle(order)
    pick = torch.tensor(order)
    fair = problem._replace(ties="pessimistic" if problem.ties == "stable" else problem.ties)
    permuted = fair._replace(y=problem.y[pick], image_of_text=problem.image_of_text[pick])
    for backend in fair.backends():
        if problem.exact or backend in STEADY:
            expected = fair.ranks(backend)
            assert_equal_ranks(permuted.ranks(backend), expected._replace(t2i=expected.t2i[pick]))


@given(galleries(kinds=("integers", "duplicates")))
def test_the_rule_of_ties_brackets_the_stable_order(problem):
    for backend in problem.backends():
        if problem.exact or backend in STEADY:
            best, middle, worst = (
                problem._replace(ties=ties).ranks(backend) for ties in ("optimistic", "stable", "pessimistic")
            )
            for name in ("i2t", "t2i"):
                low, rank, high = (getattr(ranks, name) for ranks in (best, middle, worst))
                assert ((low <= rank) & (rank <= high)).all()


@given(galleries(), st.data())
def test_another_caption_lowers_no_rank(problem, data):
    """A copy of a caption, of any image: captions keep their ranks, an image gains at most one better foreign one."""
    copied = data.draw(st.integers(0, problem.y.shape[0] - 1))
    pick = torch.tensor([*range(problem.y.shape[0]), copied])
    more = problem._replace(y=problem.y[pick], image_of_text=problem.image_of_text[pick])
    for backend in problem.backends():
        if problem.exact or backend in STEADY:
            before, after = problem.ranks(backend), more.ranks(backend)
            assert torch.equal(after.t2i, before.t2i[pick])
            rise = after.i2t - before.i2t
            assert ((rise == 0) | (rise == 1)).all()
            assert rise[problem.image_of_text[copied]] == 0


@given(galleries(dtypes=(torch.float32, torch.float64, torch.bfloat16)), POWERS, POWERS)
def test_powers_of_two_change_no_rank(problem, of_x, of_y):
    scaled = problem._replace(x=problem.x * 2.0**of_x, y=problem.y * 2.0**of_y)
    for backend in problem.backends():
        assert_equal_ranks(scaled.ranks(backend), problem.ranks(backend))


@given(galleries(kinds=("integers", "unit")), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_threads_and_layout_do_not_matter(problem, of_x, of_y):
    laid = problem._replace(x=of_x(problem.x), y=of_y(problem.y))
    for backend in problem.backends():
        if problem.exact or backend in STEADY:
            with threads(3):
                ranks = laid.ranks(backend)
            assert_equal_ranks(ranks, problem.ranks(backend))


@given(adversaries(), st.sampled_from(TIES), SEEDS)
def test_screened_ranks_are_the_exact_ones(sides, ties, seed):
    generator = torch.Generator().manual_seed(seed)
    image_of_text = torch.randint(0, sides.x.shape[0], (sides.y.shape[0],), generator=generator)
    problem = Gallery(sides.x, sides.y, image_of_text, ties, False)
    for backend in problem.backends(precision="screened"):
        exact, screened = (problem.ranks(backend, precision=precision) for precision in ("exact", "screened"))
        assert_equal_ranks(screened, exact)
        check_ranks(problem, exact)
