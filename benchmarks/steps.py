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
HALF_TOLERANCE = 2e-2  # of inputs in half precision, whose rounded scores tie often


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
    half = len(expected) > 1 and expected[1].dtype != torch.float32
    tolerance = HALF_TOLERANCE if half or got[0].dtype != torch.float32 else LOSS_TOLERANCE
    if not torch.allclose(got[0].float(), expected[0].float(), rtol=tolerance, atol=1e-8):
        return f"loss {float(got[0])!r}, expected {float(expected[0])!r}"
    for side, mine, true in zip("xy"[: len(expected) - 1], got[1:], expected[1:], strict=True):
        allowed = len(true) // 4 if half else max(8, len(true) // 500)
        row_tolerance = HALF_TOLERANCE if half else ROW_TOLERANCE
        wrong = int(((mine.float() - true.float()).norm(dim=1) > row_tolerance * true.float().norm(dim=1).max()).sum())
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
