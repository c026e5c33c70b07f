"""This package's own implementations of an op, by the names its backends are registered under."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.harness import Implementation
from pcsr_fast import backends

BASELINES = {"torch": "torch backend", "reference": "reference"}
PRECISIONS: dict[str, dict[str, Any]] = {"exact": {"precision": "exact"}, "screened": {"precision": "screened"}}
PLAIN: dict[str, dict[str, Any]] = {"": {}}


def why_not(op: str, backend: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str | None:
    """None if the backend can run the public arguments, else its reason."""
    with contextlib.redirect_stdout(io.StringIO()):
        reason = backends.explain(op, *args, **options).reasons[backend]
    return None if reason == "can run" else reason


def by_backend(
    op: str,
    args: tuple[Any, ...],
    call: Callable[..., Any],
    variants: Mapping[str, Mapping[str, Any]] = PLAIN,
    **options: Any,
) -> dict[str, Implementation]:
    """Implementations of `op`: its PyTorch backends where they can run, then ours, one for each variant.

    `call` takes `backend` and a variant's options and runs the public op on `args` and `options`, which only serve to
    ask whether a backend can. One that cannot is kept with its reason.
    """
    found: dict[str, Implementation] = {}
    for backend in reversed(backends.ORDER):
        baseline = BASELINES.get(backend)
        for label, extra in (PLAIN if baseline else variants).items():
            reason = why_not(op, backend, args, {**options, **extra})
            if reason is None:
                run = partial(call, backend=backend, **extra)
                found[baseline or f"{backend} {label}".rstrip()] = Implementation(run, ours=baseline is None)
            elif baseline is None:
                found[f"{backend} {label}".rstrip()] = Implementation(None, reason, ours=True)
    return found
