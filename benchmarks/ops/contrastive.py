"""K1 with a softmax: InfoNCE over B, and one complementary loss, forward + backward."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Case, Workload
from benchmarks.inputs import planted
from benchmarks.registered import by_backend
from benchmarks.steps import Loss, checker, compiled, losses, step
from pcsr_fast.ops import contrastive_loss

TITLE = "Contrastive losses (K1)"
AXIS = "batch size B"
TEMPERATURE = 0.05
BATCHES = {
    "tiny": ((64, 32),),
    "small": ((256, 1024), (1024, 1024)),
    "full": tuple((count, 1024) for count in (256, 512, 1024, 2048, 4096)),
    "gpu": tuple((count, 768) for count in (2048, 8192, 32_768)),
}
HEADLINE = {"tiny": 64, "small": 1024, "full": 2048, "gpu": 32_768}


def infonce(x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy both ways, as CLIP-style code writes it."""
    S = x @ y.T / TEMPERATURE
    labels = torch.arange(len(S))
    return (F.cross_entropy(S, labels) + F.cross_entropy(S.T, labels)) / 2


def ccl_log(x: Tensor, y: Tensor) -> Tensor:
    """Complementary loss: -log(1 - p) of every negative, both ways."""
    S = x @ y.T / TEMPERATURE
    own = torch.eye(len(S), dtype=torch.bool)
    terms = torch.log1p(-S.softmax(1)) + torch.log1p(-S.softmax(0))
    return -terms.masked_fill(own, 0).sum() / len(S)


EAGER: dict[str, Loss] = {"infonce": infonce, "ccl_log": ccl_log}


def build(count: int, width: int, kind: str, dtype: torch.dtype) -> Workload:
    """Pairs (count, width) and every implementation, checked against the reference."""
    x, y, _ = planted(count, count, width, dtype=dtype)
    x.requires_grad_()
    y.requires_grad_()
    named = {"eager": EAGER[kind], "torch.compile": compiled(EAGER[kind])}

    def run(**options: Any) -> tuple[Tensor, ...]:
        return step(partial(contrastive_loss, kind=kind, temperature=TEMPERATURE, **options), x, y, True)

    ours = by_backend("contrastive_loss", (x, y), run, kind=kind)
    return Workload(losses(named, x, y, True) | ours, checker(partial(run, backend="reference")))


def cases(size: str) -> list[Case]:
    """InfoNCE over B; one complementary loss; for a GPU in bfloat16."""
    dtype = torch.bfloat16 if size == "gpu" else torch.float32
    wanted = [("infonce", *shape) for shape in BATCHES[size]]
    wanted += [("ccl_log", *shape) for shape in BATCHES[size] if shape[0] == HEADLINE[size]]
    return [
        Case(
            name=f"{kind}, forward + backward, B={count}, D={width}",
            op="contrastive_loss",
            shapes=((count, width), (count, width)),
            build=partial(build, count, width, kind, dtype),
            dtype=dtype,
            usual="eager",
            size=count,
            series=f"{kind}, forward + backward",
            backward=True,
            headline=count == HEADLINE[size],
        )
        for kind, count, width in wanted
    ]
