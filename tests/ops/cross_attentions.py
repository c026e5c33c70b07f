"""Problems of the native cross-attention and how near its scores must be to float64."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops.cpu.cross_attention import cross_attention_similarity
from tests.ops.heads import Heads, make_head

TOLERANCE = {"exact": 1e-5, "auto": 1e-5, "bf16": 2e-2}
RAGGED = (3, 1, 24, 8, 17, 1, 31, 32, 33, 2)


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
    return found
