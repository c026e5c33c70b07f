"""K1: the hinge triplet loss, forward and forward + backward over B."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Case, Workload
from benchmarks.inputs import planted
from benchmarks.registered import PRECISIONS, by_backend
from benchmarks.steps import Loss, checker, compiled, losses, step
from pcsr_fast.ops import triplet_loss

TITLE = "Triplet loss (K1)"
AXIS = "batch size B"
MARGIN = 0.2
BATCHES = {
    "tiny": ((64, 32),),
    "small": ((256, 1024), (512, 1024), (1024, 1024)),
    "full": tuple((count, 1024) for count in (256, 512, 1024, 2048, 4096, 8192)),
    "gpu": tuple((count, 768) for count in (2048, 8192, 16_384, 65_536)),
}
HEADLINE = {"tiny": 64, "small": 1024, "full": 2048, "gpu": 65_536}
MEAN = {"tiny": (64, 32), "small": (512, 1024), "full": (2048, 1024), "gpu": (8192, 768)}


def plain_scores(x: Tensor, y: Tensor) -> Tensor:
    """x y^T."""
    return x @ y.T


def _linear(a: Tensor, b: Tensor) -> Tensor:
    """a b^T by oneDNN, which on some processors is twice as fast as torch.mm."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return product


class _OneDnnScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _linear(x, y)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        (dS,) = upstream
        return _linear(dS, y.T.contiguous()), _linear(dS.T.contiguous(), x.T.contiguous())


def onednn_scores(x: Tensor, y: Tensor) -> Tensor:
    """x y^T, both products of the backward by oneDNN too."""
    scores: Tensor = _OneDnnScores.apply(x, y)
    return scores


def eager(x: Tensor, y: Tensor, scores: Any = plain_scores) -> Tensor:
    """Hardest negatives as cheaply as plain PyTorch with autograd goes: product, mask, maxima, hinge."""
    S = scores(x, y)
    own = S.diagonal()
    masked = S.masked_fill(torch.eye(len(S), dtype=torch.bool), -torch.inf)
    row = (MARGIN + masked.max(1).values - own).relu()
    return (row + (MARGIN + masked.max(0).values - own).relu()).mean()


def hinge_first(x: Tensor, y: Tensor, negatives: str = "hardest") -> Tensor:
    """The form of the VSE++ family: both hinge matrices, masked, then the maximum or the mean."""
    S = plain_scores(x, y)
    own, masked = S.diagonal(), torch.eye(len(S), dtype=torch.bool)
    row = (MARGIN + S - own[:, None]).clamp(min=0).masked_fill(masked, 0)
    column = (MARGIN + S - own[None, :]).clamp(min=0).masked_fill(masked, 0)
    if negatives == "mean":
        return (row.mean(1) + column.mean(0)).mean()
    return (row.max(1).values + column.max(0).values).mean()


def lean(x: Tensor, y: Tensor) -> Tensor:
    """The same gradient from plain PyTorch: search without a graph, then gather; stands apart from the package."""
    with torch.no_grad():
        S = x @ y.T
        S.fill_diagonal_(-torch.inf)
        caption, image = S.argmax(1), S.argmax(0)
    own = (x * y).sum(1)
    row = (MARGIN + (x * y.index_select(0, caption)).sum(1) - own).relu()
    return (row + (MARGIN + (x.index_select(0, image) * y).sum(1) - own).relu()).mean()


def build(count: int, width: int, backward: bool, negatives: str, truth: str, dtype: torch.dtype) -> Workload:
    """Pairs (count, width) and every implementation; checked against the backend `truth`."""
    x, y, _ = planted(count, count, width, dtype=dtype)
    x.requires_grad_(backward)
    y.requires_grad_(backward)
    plain: Loss = eager if negatives == "hardest" else partial(hinge_first, negatives=negatives)
    named: dict[str, Loss] = {"eager": plain, "torch.compile": compiled(plain)}
    if negatives == "hardest":
        named |= {
            "lean": lean,
            "eager (hinge first)": hinge_first,
            "eager (oneDNN)": partial(eager, scores=onednn_scores),
        }

    def run(**options: Any) -> tuple[Tensor, ...]:
        return step(partial(triplet_loss, margin=MARGIN, negatives=negatives, **options), x, y, backward)

    ours = by_backend("triplet_loss", (x, y), run, PRECISIONS, negatives=negatives)
    return Workload(losses(named, x, y, backward) | ours, checker(partial(run, backend=truth)))


def _case(
    count: int,
    width: int,
    *,
    backward: bool = True,
    negatives: str = "hardest",
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> Case:
    direction = "forward + backward" if backward else "forward"
    return Case(
        name=f"{negatives}, {direction}, B={count}, D={width}",
        op="triplet_loss",
        shapes=((count, width), (count, width)),
        build=partial(build, count, width, backward, negatives, more.pop("truth", "reference"), dtype),
        usual="eager",
        size=count,
        series=f"{negatives}, {direction}",
        dtype=dtype,
        backward=backward,
        **more,
    )


def _large() -> list[Case]:
    """Two batches that show memory, once each; what is not run would take minutes or does not fit."""
    slow = dict.fromkeys(("eager (hinge first)", "eager (oneDNN)", "reference"), "not run: minutes a call")
    matrix = 4 * 65536**2 / 2**30
    # Scores, masked scores, and their gradients, one of them summed from two.
    beyond = dict.fromkeys(("eager", "torch.compile", *slow), f"not run: about {5 * matrix:.0f} GiB by arithmetic")
    beyond |= {"lean": f"not run: {matrix:.0f} GiB by arithmetic", "torch backend": "not run: minutes a call"}
    more: dict[str, Any] = {"headline": True, "repeats": 1, "truth": "torch"}
    return [_case(16384, 1024, not_run=slow, **more), _case(65536, 512, not_run=beyond, **more)]


def cases(size: str) -> list[Case]:
    """Both directions over B, mean negatives; in full also two large batches; for a GPU in bfloat16."""
    more: dict[str, Any] = {"dtype": torch.bfloat16, "truth": "torch"} if size == "gpu" else {}
    found = [
        _case(count, width, backward=backward, headline=backward and count == HEADLINE[size], **more)
        for backward in (False, True)
        for count, width in BATCHES[size]
    ]
    mean = {"dtype": more.get("dtype", torch.float32)}
    found.append(_case(*MEAN[size], negatives="mean", headline=True, **mean))
    return found + (_large() if size == "full" else [])
