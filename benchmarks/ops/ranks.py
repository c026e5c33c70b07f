"""K5: retrieval ranks in both directions, five captions a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Case, Implementation, Workload
from benchmarks.inputs import planted
from benchmarks.registered import PRECISIONS, by_backend
from pcsr_fast.ops import retrieval_ranks

TITLE = "Retrieval ranks (K5)"
AXIS = "captions M"
SETS = {
    "tiny": ((40, 200, 32),),
    "small": ((200, 1000, 1024), (1000, 5000, 1024)),
    "full": ((200, 1000, 1024), (1000, 5000, 1024), (5000, 25_000, 1024)),
    "gpu": ((1000, 5000, 1024), (5000, 25_000, 1024), (29_000, 145_000, 1024)),
}
NEAR = 2e-6  # scores closer than this may be rounded either way in float32
Ranks = tuple[Tensor, Tensor]


def numpy_argsort(x: Tensor, y: Tensor, image_of_text: Tensor) -> Ranks:
    """The usual path: the score matrix, then a full sort of every row and column."""
    S, owner = x.cpu().numpy() @ y.cpu().numpy().T, image_of_text.cpu().numpy()
    i2t, t2i = np.empty(S.shape[0], np.int64), np.empty(S.shape[1], np.int64)
    for image in range(S.shape[0]):
        order = np.argsort(S[image])[::-1]
        i2t[image] = np.flatnonzero(owner[order] == image)[0]
    for text in range(S.shape[1]):
        order = np.argsort(S[:, text])[::-1]
        t2i[text] = np.flatnonzero(order == owner[text])[0]
    return torch.from_numpy(i2t).to(x.device), torch.from_numpy(t2i).to(x.device)


def torch_argsort(x: Tensor, y: Tensor, image_of_text: Tensor) -> Ranks:
    """The same with torch: both sorts whole, then the first place of an own one."""
    S = x @ y.T
    own = image_of_text[S.argsort(1, descending=True)] == torch.arange(len(x))[:, None]
    here = S.argsort(0, descending=True) == image_of_text
    return own.int().argmax(1), here.int().argmax(0)


def rank_bounds(x: Tensor, y: Tensor, image_of_text: Tensor, block: int = 500) -> tuple[Ranks, Ranks]:
    """Smallest and largest ranks that float64 scores allow when those within NEAR of the own one count either way."""
    y, texts = y.double(), torch.arange(len(y))
    own = (x.double()[image_of_text] * y).sum(1)
    low_t2i, high_t2i = torch.zeros(len(y), dtype=torch.int64), torch.zeros(len(y), dtype=torch.int64)
    low_i2t, high_i2t = [], []
    for first in range(0, len(x), block):
        S = x[first : first + block].double() @ y.T
        theirs = image_of_text == torch.arange(first, first + len(S))[:, None]
        best = own.expand(len(S), -1).masked_fill(~theirs, -torch.inf).max(1, keepdim=True).values
        S[theirs] = -torch.inf
        low_i2t.append((best + NEAR < S).sum(1))
        high_i2t.append((best - NEAR < S).sum(1))
        low_t2i += (own[texts] + NEAR < S).sum(0)
        high_t2i += (own[texts] - NEAR < S).sum(0)
    return (torch.cat(low_i2t), low_t2i), (torch.cat(high_i2t), high_t2i)


def build(images: int, texts: int, width: int) -> Workload:
    """Embeddings and every implementation; ranks must be those of float64, ours the same to the bit at any precision."""
    x, y, owner = planted(images, texts, width, correlation=0.1)
    bounds: list[tuple[Ranks, Ranks]] = []
    exact: dict[str, Ranks] = {}

    def run(**options: Any) -> Ranks:
        ranks = retrieval_ranks(x, y, owner, **options)
        return ranks.i2t, ranks.t2i

    def check(name: str, got: Ranks) -> str | None:
        if not bounds:
            bounds.append(rank_bounds(x, y, owner))
        for side, rank, low, high in zip(("i2t", "t2i"), got, *bounds[0], strict=True):
            outside = int(((rank < low) | (rank > high)).sum())
            if outside:
                return f"{side}: {outside} of {len(rank)} ranks differ from float64"
        backend, _, precision = name.partition(" ")
        if precision == "exact":
            exact[backend] = got
        same = precision != "screened" or backend not in exact or all(map(torch.equal, got, exact[backend]))
        return None if same else "ranks differ from precision='exact'"

    found = {
        "numpy argsort": Implementation(partial(numpy_argsort, x, y, owner)),
        "torch argsort": Implementation(partial(torch_argsort, x, y, owner)),
    }
    return Workload(found | by_backend("retrieval_ranks", (x, y), run, PRECISIONS), check)


def cases(size: str) -> list[Case]:
    """Over the number of captions, the largest in the summary."""
    return [
        Case(
            name=f"both ways, {images} x {texts}, D={width}",
            op="retrieval_ranks",
            shapes=((images, width), (texts, width)),
            build=partial(build, images, texts, width),
            usual="numpy argsort",
            size=texts,
            series="both ways",
            headline=(images, texts, width) == SETS[size][-1],
            not_run={"torch argsort": "not run: 40 s a call"} if texts > 10_000 else {},
        )
        for images, texts, width in SETS[size]
    ]
