"""Problems of the cross-attention heads: ragged captions, every kind of head, what lies beyond a caption is NaN."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from pcsr_fast.reference import HeadParameters, SafParameters, ScanParameters, SgrParameters
from tests.ops.tools import SEEDS

KINDS = ("scan", "sgr", "saf", "saf_training")


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
