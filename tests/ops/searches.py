"""Problems of the searches (hardest negatives, retrieval ranks) and what float64 says about their answers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast.ops import hardest_negatives, retrieval_ranks, retrieval_ranks_from_scores
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.ranks import TIES, RetrievalRanks
from tests.ops.tools import (
    DTYPES,
    GROUPINGS,
    KINDS,
    SEEDS,
    SIZES,
    STEADY,
    WIDTHS,
    assert_same,
    assert_same_bits,
    dot_bound,
    group_ids,
    rows_of,
    runnable,
)


class Sides(NamedTuple):
    """x (N, D), y (M, D), ids of both sides; whether every score is exact."""

    x: Tensor
    y: Tensor
    groups: tuple[Tensor, Tensor]
    exact: bool

    def backends(self, **options: str) -> list[str]:
        return runnable("hardest_negatives", self.x, self.y, groups=self.groups, **options)

    def search(self, backend: str, **options: str) -> HardestNegatives:
        return hardest_negatives(self.x, self.y, self.groups, backend=backend, **options)


@st.composite
def sides(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, kinds: tuple[str, ...] = KINDS) -> Sides:
    """Problems of every size, dtype, kind and grouping, the sides of unlike length."""
    dtype, kind, grouping = (draw(st.sampled_from(choices)) for choices in (dtypes, kinds, GROUPINGS))
    rows, columns, width, seed = draw(SIZES), draw(SIZES), draw(WIDTHS), draw(SEEDS)
    generator = torch.Generator().manual_seed(seed)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (rows, columns))
    ids = [group_ids(grouping, count, generator) for count in (rows, columns)]
    filled = tuple(torch.arange(n) if side is None else side for side, n in zip(ids, (rows, columns), strict=True))
    return Sides(x, y, filled, kind == "integers")


def assert_same_values(found: HardestNegatives, other: HardestNegatives, problem: Sides, backend: str) -> None:
    """Equal values: to the bit where the score of a pair does not depend on its place."""
    bits = problem.exact or backend in STEADY
    for name in ("row_values", "column_values"):
        ours, theirs = getattr(found, name), getattr(other, name)
        assert torch.equal(ours == -torch.inf, theirs == -torch.inf)
        finite = ours > -torch.inf
        if finite.any():
            assert_same(ours[finite], theirs[finite], bits=bits, dtype=ours.dtype)


def check_side(values: Tensor, indices: Tensor, scores: Tensor, bound: Tensor, exact: bool) -> None:
    """Of true scores (N, M), -inf where there is no negative: each choice lies within rounding of the largest."""
    most, first = scores.max(1)
    none = most == -torch.inf
    assert torch.equal(indices == -1, none)
    assert torch.equal(values == -torch.inf, none)
    chosen = indices.clamp(min=0)[:, None]
    score, slack = scores.gather(1, chosen)[:, 0], bound.amax(1)
    assert (none | (score >= most - 2 * slack)).all()
    assert (none | ((values.double() - score).abs() <= bound.gather(1, chosen)[:, 0])).all()
    if exact:
        first = (scores == most[:, None]).to(torch.uint8).argmax(1)
        assert torch.equal(indices, first.masked_fill(none, -1))


def check_choices(problem: Sides, found: HardestNegatives, bound: Tensor) -> None:
    """Both directions; where scores are exact, the lowest index among equals."""
    other = problem.groups[0][:, None] != problem.groups[1][None, :]
    scores = (problem.x.double() @ problem.y.double().T).masked_fill(~other, -torch.inf)
    check_side(found.row_values, found.row_indices, scores, bound, problem.exact)
    check_side(found.column_values, found.column_indices, scores.T, bound.T, problem.exact)


class Gallery(NamedTuple):
    """Images x (N, D), captions y (M, D), the image of each caption, a tie rule; whether every score is exact."""

    x: Tensor
    y: Tensor
    image_of_text: Tensor
    ties: str
    exact: bool

    def backends(self, **options: str) -> list[str]:
        return runnable("retrieval_ranks", self.x, self.y, ties=self.ties, **options)

    def ranks(self, backend: str, **options: str) -> RetrievalRanks:
        return retrieval_ranks(self.x, self.y, self.image_of_text, self.ties, backend=backend, **options)


def make_gallery(
    images: int, texts: int, width: int, dtype: torch.dtype, kind: str, ties: str, seed: int = 0
) -> Gallery:
    """Drawn from `seed`: any number of captions an image, none included."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (images, texts))
    return Gallery(x, y, torch.randint(0, images, (texts,), generator=generator), ties, kind == "integers")


@st.composite
def galleries(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, kinds: tuple[str, ...] = KINDS) -> Gallery:
    """Galleries of every size, dtype, kind and tie rule."""
    dtype, kind, ties = (draw(st.sampled_from(choices)) for choices in (dtypes, kinds, TIES))
    return make_gallery(draw(SIZES), draw(SIZES), draw(WIDTHS), dtype, kind, ties, draw(SEEDS))


def assert_equal_ranks(ranks: RetrievalRanks, other: RetrievalRanks) -> None:
    assert torch.equal(ranks.i2t, other.i2t)
    assert torch.equal(ranks.t2i, other.t2i)


def check_between(ranks: Tensor, scores: Tensor, own: Tensor, bound: Tensor) -> None:
    """Ranks (rows,) of the best own entry lie between those with every near-tie won and with every near-tie lost."""
    best = scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    slack = bound.amax(1, keepdim=True) * 2
    fewest, most = ((scores > best + slack) & ~own).sum(1), ((scores >= best - slack) & ~own).sum(1)
    some = own.any(1)
    assert torch.equal(ranks == -1, ~some)
    assert (~some | ((fewest <= ranks) & (ranks <= most))).all()


def check_ranks(problem: Gallery, ranks: RetrievalRanks) -> None:
    """Within the band of rounding; where scores are exact, the ranks of the float64 scores."""
    scores = problem.x.double() @ problem.y.double().T
    if problem.exact:
        assert_equal_ranks(
            ranks, retrieval_ranks_from_scores(scores, problem.image_of_text, problem.ties, backend="reference")
        )
        return
    own = problem.image_of_text[None, :] == torch.arange(problem.x.shape[0])[:, None]
    bound = dot_bound(problem.x, problem.y)
    check_between(ranks.i2t, scores, own, bound)
    check_between(ranks.t2i, scores.T, own.T, bound.T)


def rounded(x: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """x with up to `steps` of its last bits changed."""
    ulp = (torch.nextafter(x, torch.full_like(x, torch.inf)) - x).abs()
    return x + ulp * torch.randint(-steps, steps + 1, x.shape, generator=generator)


def adversarial_rows(kind: str, base: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """float32 rows (rows, D) meant to deceive a search that first looks at bfloat16 scores."""
    width = base.shape[0]
    if kind == "last_bits":
        return rounded(base.expand(rows, width).clone(), 2, generator)
    if kind == "below_bfloat16":
        return base * (1 + torch.randint(-3, 4, (rows, width), generator=generator) * 2.0**-11)
    if kind == "halfway":  # between two bfloat16 numbers, where rounding goes either way
        top = base.to(torch.bfloat16).float()
        return rounded((top * (1 + 2.0**-9)).expand(rows, width).clone(), 1, generator)
    if kind == "clusters":  # about half the rows lie a few bits from one direction, the others nowhere near it
        near = rounded(base.expand(rows, width).clone(), 8, generator)
        far = torch.randn(rows, width, generator=generator)
        return torch.where(torch.rand(rows, 1, generator=generator) < 0.5, near, far)
    if kind == "few":
        few = torch.randn(3, width, generator=generator)
        return few[torch.randint(0, 3, (rows,), generator=generator)]
    magnitudes = {
        "huge_and_tiny": torch.randint(-60, 55, (rows, 1), generator=generator),
        "denormal": torch.randint(-149, -120, (rows, 1), generator=generator),
        "zeros": torch.where(torch.rand(rows, 1, generator=generator) < 0.7, -1000, 0),
        "cancelling": torch.zeros(rows, 1),
    }
    values = torch.randn(rows, width, generator=generator)
    if kind == "cancelling":
        values[:, 1::2] = -values[:, : width // 2 * 2 : 2]
        values = rounded(values, 1, generator)
    return values * magnitudes[kind].double().exp2().float()


ADVERSARIES = (
    "last_bits",
    "below_bfloat16",
    "halfway",
    "clusters",
    "few",
    "huge_and_tiny",
    "denormal",
    "zeros",
    "cancelling",
)


def make_adversaries(
    kinds: tuple[str, str], rows: int, columns: int, width: int, seed: int, grouped: bool = False
) -> Sides:
    """Two sides drawn from `seed` that share one direction."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(width, generator=generator)
    x, y = (adversarial_rows(kind, base, count, generator) for kind, count in zip(kinds, (rows, columns), strict=True))
    groups = tuple(
        torch.randint(0, 4, (count,), generator=generator) if grouped else torch.arange(count)
        for count in (rows, columns)
    )
    return Sides(x, y, groups, False)


@st.composite
def adversaries(draw: st.DrawFn) -> Sides:
    """Near-ties, duplicates and extreme norms in float32."""
    kinds = draw(st.sampled_from(ADVERSARIES)), draw(st.sampled_from(ADVERSARIES))
    return make_adversaries(kinds, draw(SIZES), draw(SIZES), draw(WIDTHS), draw(SEEDS), draw(st.booleans()))


def check_screened(problem: Sides) -> None:
    """Screened answers are the exact ones, to the bit, on every backend that screens."""
    for backend in problem.backends(precision="screened"):
        exact, screened = (problem.search(backend, precision=precision) for precision in ("exact", "screened"))
        for value, expected in zip(screened, exact, strict=True):
            assert_same_bits(value, expected)
