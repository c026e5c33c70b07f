"""The one call every custom op makes: choose a backend, run it at the precision the inputs have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.reference.reduction import compute_dtype

PRECISIONS = ("auto", "exact", "bf16", "screened")


def at_precision(value: Tensor, precision: str) -> Tensor:
    """`value` as scores are computed from it: in float32 at least, rounded to bfloat16 before if asked for.

    "auto" and "screened" say how to be fast, not what to compute: both are "exact" here.
    """
    wide = value.to(torch.bfloat16) if precision == "bf16" else value
    return wide.to(compute_dtype(value.dtype))


def run(op: str, backend: str, tensors: tuple[Any, ...], options: dict[str, Any], *raw: Any) -> Any:
    """Run `op` on `raw`; `tensors` and `options` are the public arguments a backend decides by.

    Autocast is off inside: it would silently turn float32 scores into half precision.
    """
    implementation = backends.select(op, backend, *tensors, **options)
    with torch.autocast(tensors[0].device.type, enabled=False):
        return implementation(*raw)
