"""K2 over a whole data set: exact hardest negatives beside what the bare matrix product costs on this core."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.harness import Case, Implementation, Workload
from benchmarks.inputs import planted
from benchmarks.registered import PRECISIONS, by_backend
from pcsr_fast.ops import hardest_negatives
from pcsr_fast.reference.hardest import HardestNegatives

TITLE = "Hardest negatives of a data set (K1, K2)"
AXIS = "captions M"
SETS = {
    "tiny": ((60, 300, 32),),
    "small": ((4000, 20_000, 1024),),
    "full": ((4000, 20_000, 1024), (29_000, 145_000, 1024)),
    "gpu": ((4000, 20_000, 1024), (29_000, 145_000, 1024)),
}
PRODUCT = "torch.mm (scaled)"
TILE = 4096
SAMPLED = 64
TOLERANCE = 1e-6


def build(images: int, texts: int, width: int) -> Workload:
    """Embeddings and every implementation, checked on sampled rows and columns in float64."""
    x, y, owner = planted(images, texts, width)
    ids = (torch.arange(images), owner)
    tile = min(TILE, images, texts)
    left, right = x[:tile], y[:tile].T

    def run(**options: Any) -> HardestNegatives:
        return hardest_negatives(x, y, ids, **options)

    def check(name: str, got: HardestNegatives) -> str | None:
        if name == PRODUCT:
            return None
        sides = {
            "rows": (x, y, *ids, got.row_values, got.row_indices),
            "columns": (y, x, *ids[::-1], got.column_values, got.column_indices),
        }
        for side, (anchors, others, mine, theirs, values, indices) in sides.items():
            draw = torch.Generator("cpu").manual_seed(1)
            pick = torch.randperm(len(anchors), generator=draw, device="cpu")[:SAMPLED].to(anchors.device)
            S = anchors[pick].double() @ others.double().T
            S[mine[pick, None] == theirs] = -torch.inf
            best, chosen = S.max(1).values, S.gather(1, indices[pick, None])[:, 0]
            off = max(float((best - chosen).max()), float((values[pick] - best).abs().max()))
            if not off <= TOLERANCE:
                return f"{side}: off the float64 maximum by {off:.2g}, expected at most {TOLERANCE:g}"
        return None

    product = Implementation(partial(torch.mm, left, right), scale=images * texts / tile**2)
    return Workload({PRODUCT: product} | by_backend("hardest_negatives", (x, y), run, PRECISIONS, groups=ids), check)


def cases(size: str) -> list[Case]:
    """Whole data sets; the PyTorch backends only where they take no minutes a call."""
    return [
        Case(
            name=f"{images} x {texts}, D={width}",
            op="hardest_negatives",
            shapes=((images, width), (texts, width)),
            build=partial(build, images, texts, width),
            usual=PRODUCT,
            size=texts,
            series="whole set",
            headline=(images, texts, width) == SETS[size][-1],
            repeats=3 if images > 10_000 else None,
            not_run=dict.fromkeys(("torch backend", "reference"), "not run: minutes a call") if images > 10_000 else {},
        )
        for images, texts, width in SETS[size]
    ]
