"""Contrastive losses and their gradients from softmaxes gathered over rows and columns (METHODS 7, 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from .launch import Plan, Sides, sources
from .search import own_scores
from .slopes import Gradients, slopes_of
from .softmax import Loss, Softmax, own_slope, own_value, softmax_of, top_terms, with_own
from .sweep import Shift, sweep
from .terms import COMPLEMENTS

# A direction leaves (6, N) for the gradient: largest score, second largest, sum exp((s - second) / tau) without the
# largest, the pair's own score (tal: the largest of its id), then of tal the sum over its id and the value, of the
# complementary losses sum p f'(p) without the largest and the bits of its place.
STATISTICS = 6
NOWHERE = 2.0**100  # above every score: exp((s - NOWHERE) / tau) is 0


def _places(like: Tensor) -> Tensor:
    """The number of each anchor (N,), as bits in a float32."""
    return torch.arange(like.shape[0], dtype=torch.int32, device=like.device).view(torch.float32)


def _with_pairs(tables: tuple[Tensor, Tensor], own: Tensor, loss: Loss, statistics: Tensor) -> Tensor:
    """Losses (N,) of a softmax's own entry; fills the first four statistics, and the last with the largest's place."""
    total = torch.zeros_like(own)
    for table, out in zip(tables, statistics, strict=True):
        softmax, leads = with_own(softmax_of(table, loss), own)
        out[:4] = torch.stack([softmax.top, softmax.second, softmax.rest, own])
        out[5] = torch.where(leads, _places(own), table[3])
        if loss.kind not in COMPLEMENTS:
            total += loss.factor * own_value(loss, softmax, own)
    return total


def _complements(sides: Sides, loss: Loss, plan: Plan, statistics: Tensor) -> Tensor:
    """Losses (N,) of the entries that are not the pair's own; fills the fifth statistic."""
    known = []
    for table in statistics:
        softmax = softmax_of(table, loss)
        known.append(torch.stack([table[0], table[1], softmax.scale.float(), table[5]]))
    states = sweep(loss.gathered("complement"), sides, plan, (known[0], known[1]))
    total = torch.zeros(statistics.shape[2], dtype=torch.float64, device=statistics.device)
    for state, table in zip(states, statistics, strict=True):
        table[4] = state[1]
        of_top, _ = top_terms(loss, softmax_of(table, loss))
        total += state[0] + torch.where(_is_own(table), 0.0, of_top)
    return total


def _is_own(table: Tensor) -> Tensor:
    """Whether the largest entry of each softmax is the pair itself."""
    return table[5].view(torch.int32) == _places(table[5]).view(torch.int32)


def _tal(
    negatives: tuple[Tensor, Tensor],
    positives: tuple[Tensor, Tensor] | None,
    own: Tensor,
    loss: Loss,
    statistics: Tensor,
) -> Tensor:
    """Losses (N,) of tal; without `positives` a pair is alone in its group."""
    total = torch.zeros_like(own)
    for direction, out in enumerate(statistics):
        softmax = softmax_of(negatives[direction], loss)
        largest, moved, weight = own, torch.zeros_like(own), torch.ones_like(own)
        if positives is not None:
            largest, moved, weight = positives[direction][:3].double()
        positive = largest + moved / weight
        value = loss.margin - positive + softmax.top + loss.temperature * torch.log1p(softmax.others)
        value = torch.where(value <= 0, 0.0, value)
        out.copy_(torch.stack([softmax.top, softmax.second, softmax.rest, largest, weight, value]))
        total += value
    return total


def contrastive_losses(sides: Sides, loss: Loss, plan: Plan) -> tuple[Tensor, Tensor]:
    """Losses (N,) and statistics (12, N), float32."""
    own = own_scores(sides, plan).double()
    statistics = torch.zeros(2, STATISTICS, own.shape[0], dtype=torch.float32, device=own.device)
    negatives = sweep(loss.gathered("softmax"), sides, plan)
    if loss.kind == "tal":
        grouped = sides.row_ids is not None
        positives = sweep(loss.gathered("weighted"), sides, plan) if grouped else None
        total = _tal(negatives, positives, own, loss, statistics)
    else:
        total = _with_pairs(negatives, own, loss, statistics)
        if loss.kind in COMPLEMENTS:
            total += _complements(sides, loss, plan, statistics)
    return total.float(), statistics.view(2 * STATISTICS, -1)


def _known_of_tal(table: Tensor, loss: Loss, upstream: Tensor) -> Tensor:
    active, total = table[5] > 0, 1 + softmax_of(table, loss).others
    known = [table[0], upstream / total, table[3], -upstream / table[4]]
    idle = (NOWHERE, 0.0, NOWHERE, 0.0)
    return torch.stack([torch.where(active, value, other) for value, other in zip(known, idle, strict=True)])


def _known_of_own(softmax: Softmax, loss: Loss, upstream: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """What `slopes` knows of the softmax losses, and dL/ds of the pair's own score."""
    slope = upstream / loss.temperature * own_slope(loss, softmax, own)
    nowhere = torch.full_like(slope, NOWHERE)
    known = [softmax.top, -slope / (1 + softmax.others), nowhere, torch.zeros_like(slope)]
    return torch.stack(known), slope * softmax.rest_of(own)


def _known_of_complement(table: Tensor, softmax: Softmax, loss: Loss, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """The same of the complementary losses."""
    factor, own, slopes = upstream / loss.temperature, table[3].double(), table[4].double()
    is_own = _is_own(table)
    base = torch.where(is_own, 0.0, top_terms(loss, softmax)[1])
    to_others = torch.where(is_own, 0.0, base / softmax.rest)
    of_top = base - slopes / (1 + softmax.others)
    known = torch.stack([softmax.second, softmax.scale, slopes, to_others, of_top, factor, torch.zeros_like(base)])
    below = torch.where(is_own, 0.0, softmax.power(own, softmax.second) * to_others)
    known = known.float()
    known[6] = table[5]
    return known, -factor * (softmax.log_of(own).exp() * slopes + below)


def contrastive_gradients(
    upstream: Tensor, sides: Sides, statistics: Tensor, loss: Loss, plan: Plan
) -> tuple[Tensor, Tensor]:
    """dL/dx and dL/dy (N, D) in float32 from dL/dloss (N,) and what the losses left."""
    factor, own = loss.factor * upstream.double(), torch.zeros_like(upstream, dtype=torch.float64)
    known = []
    for table in statistics.view(2, STATISTICS, -1):
        if loss.kind == "tal":
            known.append(_known_of_tal(table, loss, factor).float())
            continue
        softmax = softmax_of(table, loss)
        if loss.kind in COMPLEMENTS:
            one, at_pair = _known_of_complement(table, softmax, loss, factor)
        else:
            one, at_pair = _known_of_own(softmax, loss, factor, table[3].double())
        known.append(one.float())
        own += at_pair
    plan = plan._replace(schedule="chunked")
    what = loss.gathered("complement" if loss.kind in COMPLEMENTS else "softmax")
    diagonal = None if loss.kind == "tal" else own.float()
    gradients, both, ids = Gradients(sides), (known[0], known[1]), sides.ids()
    for rows, source in sources(sides, plan):
        options = {"own": diagonal, "dtype": sides.x.dtype}
        gradients.add(rows, slopes_of(what, source.x, rows, ids, both, plan, Shift(), **options))
    return gradients.dx, gradients.dy
