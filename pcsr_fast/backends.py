"""Which implementation an op runs: reference | torch | cpu | cuda | triton.

Every op is registered under its public name. `auto` takes the backend that was measured to be the fastest on a tensor's
GPU (`python -m benchmarks tune`), else the first of ORDER, that supports the inputs; one asked for by name (`backend=`, or
PCSR_FAST_BACKEND) runs or raises. PCSR_FAST_DISABLE=1 leaves the reference alone, whatever was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pcsr_fast.errors import BackendError
from pcsr_fast.measured_choice import measured_best

ORDER = ("triton", "cuda", "cpu", "torch", "reference")

Supports = Callable[..., str | None]


@dataclass(frozen=True)
class Implementation:
    """One backend of one op: what runs, and a check that names why it cannot run given inputs (None: it can)."""

    run: Callable[..., Any]
    supports: Supports


@dataclass(frozen=True)
class Explanation:
    """Answer of `explain`: the backend that would run (None: an error would be raised) and each one's verdict."""

    op: str
    requested: str
    chosen: str | None
    reasons: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.op}: {self.chosen or 'no backend can run this'} (requested: {self.requested})"]
        return "\n".join(lines + [f"  {name:<9} {reason}" for name, reason in self.reasons.items()])

    def __repr__(self) -> str:
        return f"<Explanation: {self.op} runs on {self.chosen}>"


_REGISTRY: dict[str, dict[str, Implementation]] = {}


def always(*args: Any, **options: Any) -> str | None:
    """The `supports` of a backend that runs every input."""
    return None


def register(op: str, backend: str, run: Callable[..., Any], supports: Supports = always) -> None:
    """Add `backend` to `op`. `supports` takes the op's public tensors and options and returns None or a reason.

    Raises:
        ValueError: an unknown backend name, or one registered twice for the op.
    """
    if backend not in ORDER:
        raise ValueError(f"register: backend: got {backend!r}, expected one of {', '.join(ORDER)}")
    implementations = _REGISTRY.setdefault(op, {})
    if backend in implementations:
        raise ValueError(f"register: {op} already has a backend {backend!r}")
    implementations[backend] = Implementation(run, supports)


def registered_ops() -> tuple[str, ...]:
    """Names of all registered ops, sorted."""
    return tuple(sorted(_REGISTRY))


def implemented(op: str) -> tuple[str, ...]:
    """Backends registered for `op`, best first."""
    return tuple(name for name in ORDER if name in _REGISTRY.get(op, {}))


def requested_backend(backend: str | None = None) -> str:
    """What is asked for: the kill switch, then the argument, then PCSR_FAST_BACKEND, then "auto".

    Raises:
        BackendError: the name is no backend.
    """
    if os.environ.get("PCSR_FAST_DISABLE", "") not in ("", "0"):
        return "reference"
    name = backend or os.environ.get("PCSR_FAST_BACKEND", "") or "auto"
    if name != "auto" and name not in ORDER:
        source = "backend" if backend else "PCSR_FAST_BACKEND"
        raise BackendError(f"{source}: got {name!r}, expected auto, {', '.join(ORDER)}")
    return name


def _verdict(op: str, backend: str, args: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """None if the backend can run the inputs, else the reason."""
    implementation = _REGISTRY[op].get(backend)
    if implementation is None:
        return "does not implement this op"
    return implementation.supports(*args, **options)


def _candidates(op: str, requested: str, args: tuple[Any, ...]) -> tuple[str, ...]:
    """Backends to ask, the first of which that can runs."""
    if requested != "auto":
        return (requested,)
    best = measured_best(op, args)
    return ORDER if best is None else (best, *(name for name in ORDER if name != best))


def _explanation(op: str, args: tuple[Any, ...], backend: str | None, options: dict[str, Any]) -> Explanation:
    if op not in _REGISTRY:
        raise BackendError(f"explain: no op {op!r}; expected one of {', '.join(registered_ops())}")
    requested = requested_backend(backend)
    verdicts = {name: _verdict(op, name, args, options) for name in ORDER}
    chosen = next((name for name in _candidates(op, requested, args) if verdicts[name] is None), None)
    reasons = {name: "can run" if verdict is None else verdict for name, verdict in verdicts.items()}
    return Explanation(op, requested, chosen, reasons)


def explain(op: str, *args: Any, backend: str | None = None, **options: Any) -> Explanation:
    """Print which backend `op` would run for these arguments and why the others would not; the answer is returned too.

    `args` and `options` are what the public op takes, e.g. `explain("triplet_loss", x, y, negatives="mean")`.

    Raises:
        BackendError: an unknown op or backend name.
    """
    explanation = _explanation(op, args, backend, options)
    print(explanation)
    return explanation


def select(op: str, backend: str | None, *args: Any, **options: Any) -> Callable[..., Any]:
    """The implementation to run for these public arguments.

    Raises:
        BackendError: the backend asked for cannot run them; the message lists every backend with its reason.
    """
    requested = requested_backend(backend)
    for name in _candidates(op, requested, args):
        if _verdict(op, name, args, options) is None:
            return _REGISTRY[op][name].run
    verdicts = _explanation(op, args, requested, options).reasons
    reasons = "; ".join(f"{name}: {reason}" for name, reason in verdicts.items())
    raise BackendError(f"{op}: backend {requested!r} cannot run these inputs ({reasons})")
