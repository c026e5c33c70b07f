"""Triplet losses on the native core (METHODS 2.2; KERNELS 1, K1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cpu.hinge import hinge, hinge_of_scores
from pcsr_fast.ops.cpu.search import Search, search, search_scores
from pcsr_fast.reference.reduction import compute_dtype
from pcsr_fast.reference.selection import parse_negatives
from pcsr_fast.reference.triplet import TripletParts

MOST_TOP = 64


def hardest_parts(look: Callable[..., Search], margin: Tensor, margin_mode: str) -> TripletParts:
    """Both parts from a search that adds the margins it is given to the scores."""
    if margin.ndim == 0 or margin_mode == "anchor":
        found, own = look()
        gap = margin - own
    else:
        found, own = look(margin, margin_mode)
        gap = -own
    row, column = (found.row_values + gap).relu(), (found.column_values + gap).relu()
    return TripletParts(row, column, found.row_indices, found.column_indices)


def _without_indices(parts: tuple[Tensor, Tensor]) -> TripletParts:
    none = torch.empty(0, dtype=torch.int64)
    return TripletParts(*parts, none, none.clone())


def triplet(
    x: Tensor, y: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None, precision: str
) -> TripletParts:
    """Both parts of the loss of x y^T in O(B) memory."""
    if negatives != "hardest":
        x, y = at_precision(x, precision), at_precision(y, precision)
        return _without_indices(hinge(x, y, margin, margin_mode, negatives, groups))
    look = functools.partial(search, x, y, groups, precision)
    return hardest_parts(look, margin.to(compute_dtype(x.dtype)), margin_mode)


def triplet_from_scores(
    S: Tensor, margin: Tensor, margin_mode: str, negatives: str, groups: Tensor | None
) -> TripletParts:
    """Both parts of the loss of ready-made scores."""
    if negatives != "hardest":
        return _without_indices(hinge_of_scores(S, margin, margin_mode, negatives, groups))
    look = functools.partial(search_scores, S, groups)
    return hardest_parts(look, margin.to(compute_dtype(S.dtype)), margin_mode)


def supports_triplet(*tensors: Tensor, negatives: str = "hardest", **options: Any) -> str | None:
    """As `supports`; lists of the largest scores are kept short."""
    _, top = parse_negatives(negatives)
    return supports(*tensors) or (f"negatives={negatives!r}: at most topk:{MOST_TOP}" if top > MOST_TOP else None)
