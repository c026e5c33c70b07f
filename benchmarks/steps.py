"""Losses as a training step runs them: forward, or forward and gradients; and how their results are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Implementation

Loss = Callable[[Tensor, Tensor], Tensor]
LOSS_TOLERANCE = 1e-5
ROW_TOLERANCE = 1e-3


def step(loss: Loss, x: Tensor, y: Tensor, backward: bool) -> tuple[Tensor, ...]:
    """The loss, or the loss and its gradients in x and y (which then require them)."""
    if not backward:
        with torch.no_grad():
            return (loss(x, y),)
    value = loss(x, y)
    return value.detach(), *torch.autograd.grad(value, (x, y))


def compiled(loss: Loss) -> Loss:
    """torch.compile at the first call, for the one shape at hand.

    Earlier cases are forgotten: past a limit of recompilations torch would silently run eagerly.
    """

    @functools.cache
    def made() -> Loss:
        import torch._inductor.config as inductor

        torch._dynamo.reset()
        inductor.compile_threads = 1
        return torch.compile(loss, dynamic=False)

    return lambda x, y: made()(x, y)


def losses(named: dict[str, Loss], x: Tensor, y: Tensor, backward: bool) -> dict[str, Implementation]:
    """Baselines from plain loss functions."""
    return {name: Implementation(functools.partial(step, loss, x, y, backward)) for name, loss in named.items()}


def compare(expected: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> str | None:
    """None if the losses agree and so do the gradients but for few rows: near-ties and kinks may fall either way."""
    if not torch.allclose(got[0], expected[0], rtol=LOSS_TOLERANCE, atol=1e-8):
        return f"loss {float(got[0])!r}, expected {float(expected[0])!r}"
    for side, mine, true in zip("xy"[: len(expected) - 1], got[1:], expected[1:], strict=True):
        allowed = max(8, len(true) // 500)
        wrong = int(((mine - true).norm(dim=1) > ROW_TOLERANCE * true.norm(dim=1).max()).sum())
        if wrong > allowed or not bool(mine.isfinite().all()):
            return f"gradient in {side}: {wrong} of {len(true)} rows differ, expected at most {allowed}"
    return None


def checker(expected: Callable[[], Any]) -> Callable[[str, Any], str | None]:
    """A check against what `expected` returns, computed at the first use and kept."""
    kept: list[Any] = []

    def check(_: str, got: Any) -> str | None:
        if not kept:
            kept.append(expected())
        return compare(kept[0], got)

    return check
