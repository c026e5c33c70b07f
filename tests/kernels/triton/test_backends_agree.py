"""Every backend of an op, Triton's interpreted and CUDA's emulated, within rounding of float64 on the same problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import ops, reference
from pcsr_fast.reference.hinge import MARGIN_MODES
from pcsr_fast.reference.ranks import TIES
from tests.kernels.cuda.conftest import emulated_module  # noqa: F401, a fixture
from tests.kernels.cuda.problems import score_bound
from tests.ops import contrasts, searches, triplets
from tests.ops.tools import FORWARD, GROUPINGS, LAYOUTS, SEEDS, assert_as_good, group_ids, make_pairs, rows_of, runnable

# Of nothing but one, below, at and beyond the edges of tiles, and of several tiles.
SIZES = st.sampled_from((1, 2, 63, 100, 127, 130, 257))
WIDTHS = st.sampled_from((1, 33, 64, 70))
DTYPES = st.sampled_from((torch.float32, torch.bfloat16, torch.float16))
STRIDES = st.sampled_from((lambda value: value, *LAYOUTS))
ALL = {"triton", "cuda", "cpu", "reference"}
pytestmark = pytest.mark.filterwarnings("ignore::pcsr_fast.ops.MixtureWarning")
few = settings(max_examples=4, deadline=None)
many = settings(max_examples=40, deadline=None)


@pytest.fixture(autouse=True)
def all_backends(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Emulated CUDA kernels stand in for the built ones, and no backend is asked for."""
    module = request.getfixturevalue("emulated_module")
    monkeypatch.setattr("pcsr_fast.native_cuda._import", lambda: (module, ""))
    monkeypatch.delenv("PCSR_FAST_BACKEND")


def check_search(
    rows: int, columns: int, width: int, dtype: torch.dtype, layout: Any, grouping: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (rows_of("unit", count, width, generator).to(dtype) for count in (rows, columns))
    ids = (group_ids(grouping, count, generator) for count in (rows, columns))
    numbered = tuple(torch.arange(n) if one is None else one for one, n in zip(ids, (rows, columns), strict=True))
    problem = searches.Sides(layout(x), layout(y), numbered, False)
    names = problem.backends()
    assert set(names) >= ALL
    for name in names:
        searches.check_choices(problem, problem.search(name), score_bound(problem))


def check_ranks(images: int, texts: int, width: int, dtype: torch.dtype, layout: Any, ties: str, seed: int) -> None:
    made = searches.make_gallery(images, texts, width, dtype, "integers", ties, seed)
    problem = made._replace(x=layout(made.x), y=layout(made.y))
    names = problem.backends()
    assert set(names) >= ALL
    for name in names:
        searches.check_ranks(problem, problem.ranks(name))


def check_triplets(
    size: int, width: int, dtype: torch.dtype, layout: Any, mode: str, negatives: str, seed: int
) -> None:
    made = triplets.make_triplets(seed, size, width, dtype, mode, negatives)
    problem = made._replace(x=layout(made.x), y=layout(made.y))
    assert set(problem.backends()) >= ALL
    triplets.check_against_float64(problem)


def check_pair_losses(
    size: int, width: int, dtype: torch.dtype, layout: Any, batch_size: int | None, seed: int
) -> None:
    made = make_pairs(seed, size, width, dtype, "unit", "pairs")
    options = {"batch_size": batch_size, "groups": made.groups, "margin": 0.3}
    truth = reference.pair_losses(made.x.double(), made.y.double(), **options)
    theirs = reference.pair_losses(made.x, made.y, **options)
    names = runnable("pair_losses", made.x, made.y, **options)
    assert set(names) >= ALL
    for name in names:
        ours = ops.pair_losses(layout(made.x), layout(made.y), **options, backend=name)
        assert_as_good(ours.losses, theirs.losses, truth.losses, FORWARD[dtype])


def check_contrasts(size: int, width: int, dtype: torch.dtype, kind: str, seed: int) -> None:
    problem = contrasts.make_contrasts(seed, size, width, dtype, kind)
    names = problem.backends()
    assert set(names) >= ALL - {"cuda"}
    contrasts.check_against_float64(problem, names)


def check_mixture(count: int, dtype: torch.dtype, kind: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    low = 0.2 + 0.05 * torch.randn(count, generator=generator)
    values = torch.where(torch.rand(count, generator=generator) < 0.4, low + 0.5, low).clamp(0.01, 0.99).to(dtype)
    names = runnable("fit_mixture", values, kind=kind)
    assert set(names) >= ALL
    truth = ops.fit_mixture(values.double(), kind, backend="reference")
    for name in names:
        fit = ops.fit_mixture(values, kind, backend=name)
        assert_as_good(fit.posterior(), truth.posterior(), truth.posterior(), 1e-4)


Check = Callable[..., None]
CHECKS: dict[str, tuple[Check, tuple[st.SearchStrategy[Any], ...]]] = {
    "search": (check_search, (SIZES, SIZES, WIDTHS, DTYPES, STRIDES, st.sampled_from(GROUPINGS), SEEDS)),
    "ranks": (check_ranks, (SIZES, SIZES, WIDTHS, DTYPES, STRIDES, st.sampled_from(TIES), SEEDS)),
    "triplets": (
        check_triplets,
        (
            *(SIZES, WIDTHS, DTYPES, STRIDES, st.sampled_from(MARGIN_MODES)),
            *(st.sampled_from(("hardest", "mean", "sum")), SEEDS),
        ),
    ),
    "pair losses": (check_pair_losses, (SIZES, WIDTHS, DTYPES, STRIDES, st.sampled_from((None, 30)), SEEDS)),
    "contrasts": (
        check_contrasts,
        (SIZES, WIDTHS, DTYPES, st.sampled_from(("infonce", "rce", "ccl_log", "ccl_gce", "tal")), SEEDS),
    ),
    "mixture": (
        check_mixture,
        (st.sampled_from((63, 130, 1000)), DTYPES, st.sampled_from(("gaussian", "beta")), SEEDS),
    ),
}


def run(name: str, examples: settings) -> None:
    check, strategies = CHECKS[name]
    examples(given(st.tuples(*strategies))(lambda drawn: check(*drawn)))()


@pytest.mark.parametrize("name", CHECKS)
def test_a_few_problems(name: str) -> None:
    run(name, few)


@pytest.mark.kernels
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CHECKS)
def test_many_problems(name: str) -> None:
    run(name, many)


@pytest.mark.parametrize("backend", [None, *sorted(ALL)])
def test_nothing_at_all_is_refused_alike(backend: str | None) -> None:
    nothing, some = torch.empty(0, 3), torch.rand(5, 3)
    calls: tuple[Callable[[], Tensor], ...] = (
        lambda: ops.hardest_negatives(nothing, some, (torch.arange(0), torch.arange(5)), backend=backend),
        lambda: ops.triplet_loss(nothing, nothing, backend=backend),
        lambda: ops.pair_losses(nothing, nothing, backend=backend),
        lambda: ops.retrieval_ranks(nothing, some, torch.zeros(5, dtype=torch.int64), backend=backend),
        lambda: ops.contrastive_loss(nothing, nothing, kind="infonce", backend=backend),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"x: got shape \(0, 3\)"):
            call()
