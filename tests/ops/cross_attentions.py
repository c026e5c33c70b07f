"""Problems of the cross-attention heads: ragged captions, every kind of head, what lies beyond a caption is NaN.

For the native core also how near its scores and gradients must be to float64.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from pcsr_fast import ops, reference
from pcsr_fast.ops._cross_attention_gradients import PAIRS
from pcsr_fast.ops.cpu.cross_attention import cross_attention_similarity
from pcsr_fast.ops.cross_attention import problem
from pcsr_fast.reference import HeadParameters, SafParameters, ScanParameters, SgrParameters
from tests.ops.tools import SEEDS

KINDS = ("scan", "sgr", "saf", "saf_training")
TOLERANCE = {"exact": 1e-5, "auto": 1e-5, "bf16": 2e-2}
GRADIENT = 5e-4  # relative to the largest
RAGGED = (3, 1, 24, 8, 17, 1, 31, 32, 33, 2)


class Heads(NamedTuple):
    """Regions (B, R, d), words (C, L, d), lengths (C,) and a head."""

    regions: Tensor
    words: Tensor
    lengths: Tensor
    head: HeadParameters

    def to(self, dtype: torch.dtype) -> Heads:
        """The same in another precision."""
        head = mapped(self.head, lambda value: value.to(dtype))
        return Heads(self.regions.to(dtype), self.words.to(dtype), self.lengths, head)

    def select(self, rows: Tensor, captions: Tensor) -> Heads:
        """Some images with some captions."""
        head = self.head
        if not isinstance(head, ScanParameters):
            head = head._replace(images=head.images[rows], captions=head.captions[captions])
        return Heads(self.regions[rows], self.words[captions], self.lengths[captions], head)

    def leaves(self) -> tuple[Heads, list[Tensor]]:
        """The same with every tensor a leaf that asks for its gradient, and those."""
        head = mapped(self.head, lambda value: value.detach().clone().requires_grad_())
        regions, words = (value.detach().clone().requires_grad_() for value in self[:2])
        found = [regions, words, *(value for value in head if isinstance(value, Tensor) and value.requires_grad)]
        return Heads(regions, words, self.lengths, head), found


def mapped(head: HeadParameters, change) -> HeadParameters:
    """The head with `change` made to every tensor."""
    return type(head)(*(change(value) if isinstance(value, Tensor) else value for value in head))


def make_head(
    seed: int,
    kind: str,
    *,
    images: int = 4,
    lengths: tuple[int, ...] = (3, 1, 4, 3),
    regions: int = 5,
    size: int = 6,
    similarity: int = 4,
    steps: int = 3,
    width: int | None = None,
) -> Heads:
    """A problem in float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def matrix(*shape: int) -> Tensor:
        return draw(*shape) / shape[-1] ** 0.5

    counts = torch.tensor(lengths)
    width = width or int(counts.max())
    V, T = normalize(draw(images, regions, size), dim=2), normalize(draw(len(counts), width, size), dim=2)
    T[torch.arange(width) >= counts[:, None]] = torch.nan
    if kind == "scan":
        return Heads(V, T, counts, ScanParameters())
    align = (normalize(draw(images, size), dim=1), normalize(draw(len(counts), size), dim=1))
    align = (*align, matrix(similarity, size), draw(similarity), matrix(similarity, size), draw(similarity))
    output = (4 * matrix(similarity), draw())
    if kind == "sgr":
        steps_of = [(4 * matrix(steps, similarity, similarity), draw(steps, similarity)) for _ in range(3)]
        return Heads(V, T, counts, SgrParameters(*align, *steps_of[0], *steps_of[1], *steps_of[2], *output))
    gates = (4 * matrix(similarity), draw(), draw(), draw())
    statistics = () if kind == "saf_training" else (draw(), draw().exp())
    return Heads(V, T, counts, SafParameters(*align, *gates, *output, *statistics))


@st.composite
def heads(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, paired: bool = False) -> Heads:
    """Problems of every kind and of small odd sizes; `paired` has as many images as captions."""
    lengths = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=7)))
    sizes = {"regions": draw(st.integers(1, 5)), "size": draw(st.integers(1, 9))}
    sizes |= {"similarity": draw(st.integers(1, 6)), "steps": draw(st.integers(1, 3))}
    images = len(lengths) if paired else draw(st.integers(1, 6))
    width = max(lengths) + draw(st.integers(0, 2))
    return make_head(draw(SEEDS), draw(st.sampled_from(kinds)), images=images, lengths=lengths, width=width, **sizes)


def learnable(seed: int, kind: str, **sizes: Any) -> Heads:
    """A problem in float32 whose weights are about as large as in training: biases do not drown what nodes say."""
    made = make_head(seed, kind, **sizes)
    if kind == "sgr":
        smaller = {f"{name}_weight": getattr(made.head, f"{name}_weight") / 2 for name in ("query", "key", "update")}
        smaller |= {name: value / 20 for name, value in made.head._asdict().items() if name.endswith("_bias")}
        made = made._replace(head=made.head._replace(**smaller))
    return made.to(torch.float32)


def errors_and_truth(made: Heads, precision: str) -> tuple[Tensor, Tensor]:
    """Distance of the scores from float64, and that."""
    truth = reference.cross_attention_similarity(*made.to(torch.float64))
    scores = cross_attention_similarity(*made, precision)
    assert scores.dtype == torch.float32
    return (scores.double() - truth).abs(), truth


def check(made: Heads, precision: str) -> tuple[Tensor, Tensor]:
    """As `errors_and_truth`; errors are within the tolerance, relative to the largest score."""
    errors, truth = errors_and_truth(made, precision)
    assert errors.amax() <= TOLERANCE[precision] * truth.abs().amax()
    return errors, truth


def cross_attention_errors() -> list[tuple[float, float]]:
    """Relative error and tolerance of both heads at every precision, on sizes about the edges of tiles."""
    found = []
    for kind, precision, size in itertools.product(("sgr", "scan"), TOLERANCE, (150, 65)):
        made = learnable(size, kind, images=9, lengths=RAGGED, regions=36, size=size, similarity=33)
        errors, truth = errors_and_truth(made, precision)
        found.append((float(errors.amax() / truth.abs().amax()), TOLERANCE[precision]))
        listed = scores_of_pairs(made, torch.ones_like(truth)).double()
        found.append((float((listed - truth).abs().amax() / truth.abs().amax()), TOLERANCE["exact"]))
    return found


def scores_of_pairs(made: Heads, chosen: Tensor, filler: float = 0.0) -> Tensor:
    """Scores (B, C) of the pairs listed for the native core, those not 0 in `chosen`; `filler` elsewhere."""
    asked = problem("test", *made)
    return asked.run(PAIRS, "cpu", asked, torch.full(chosen.shape, filler), *chosen.nonzero(as_tuple=True))


@st.composite
def native_problems(draw: st.DrawFn) -> Heads:
    """Sizes about the edges of vectors, tiles and chunks; captions longer than a chunk too."""
    edges = st.sampled_from((1, 2, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33))
    lengths = draw(st.lists(st.one_of(edges, st.sampled_from((64, 126, 127, 128, 200))), min_size=1, max_size=12))
    sizes = {"images": draw(st.integers(1, 18)), "regions": draw(st.one_of(st.integers(1, 5), st.just(36)))}
    sizes |= {"size": draw(st.one_of(edges, st.just(65))), "similarity": draw(edges), "steps": draw(st.integers(1, 4))}
    width = max(lengths) + draw(st.integers(0, 2))
    return learnable(draw(SEEDS), draw(st.sampled_from(("sgr", "scan"))), lengths=tuple(lengths), width=width, **sizes)


def weighed(made: Heads, kept: float = 1.0) -> Tensor:
    """An upstream gradient (B, C) of its own for each pair, 0 for about 1 - `kept` of them."""
    generator = torch.Generator().manual_seed(1)
    shape = (len(made.regions), len(made.words))
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < kept)


def gradients(made: Heads, upstream: Tensor, backend: str, **options: Any) -> list[Tensor]:
    """Of the scores weighed with `upstream`, with respect to every tensor of the problem."""
    leaves, inputs = made.leaves()
    scores = ops.cross_attention_similarity(*leaves, backend=backend, **options)
    return list(torch.autograd.grad(scores, inputs, upstream.to(scores.dtype)))


def gradient_errors(made: Heads, upstream: Tensor) -> list[tuple[float, float]]:
    """Of each tensor's gradient: distance from float64, and what it may be.

    That is twice PyTorch's own in float32 (a score near 0, to which a caption of one word is sensitive, has little of its
    sign), and a share of the largest value; where all gradients are about 0, what rounding leaves.
    """
    truth = gradients(made.to(torch.float64), upstream, "reference")
    largest = max(1.0, *(float(value.abs().amax()) for value in truth))
    found = []
    for true, *both in zip(truth, *(gradients(made, upstream, name) for name in ("cpu", "torch")), strict=True):
        error, theirs = (float((value.double() - true).abs().amax()) for value in both)
        found.append((error, 2 * theirs + GRADIENT * max(float(true.abs().amax()), largest / 5)))
    return found


def check_gradients(made: Heads, upstream: Tensor) -> None:
    """Gradients as good as float32's own, or within the tolerance."""
    assert all(error <= tolerance for error, tolerance in gradient_errors(made, upstream))


def cross_attention_gradient_errors() -> list[tuple[float, float]]:
    """Errors and tolerances of both heads' gradients, on sizes about the edges of tiles."""
    found = []
    for kind, size in itertools.product(("sgr", "scan"), (150, 65)):
        made = learnable(size, kind, images=9, lengths=RAGGED, regions=36, size=size, similarity=33)
        found += gradient_errors(made, weighed(made))
    return found
