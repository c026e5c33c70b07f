"""Two-component mixtures by Triton (METHODS 2.3; KERNELS 1, K3)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from pcsr_fast.ops import device_mixture
from pcsr_fast.ops.triton.arguments import DTYPES, on_device, supports
from pcsr_fast.reference.gaussian import MixtureFit
from pcsr_fast.reference.two_means import MAX_LLOYD_STEPS


class _Steps:
    """`device_mixture.Steps` of the kernels."""

    def __init__(self, values: Tensor, kind: str, tol: float, reg_covar: float) -> None:
        from pcsr_fast.kernels.triton.mixture import Passes

        self.values = values
        self.passes = Passes(values, kind, tol, reg_covar)

    def step(self, state: Tensor, stage: int, assigned: Tensor | None = None) -> None:
        """Queue one pass and the step that follows."""
        self.passes.step(state, stage, None if assigned is None else assigned.view(torch.uint8))

    def two_means(self, ordered: Tensor, sums: Tensor, centres: Tensor) -> None:
        """Queue Lloyd's iteration."""
        from pcsr_fast.kernels.triton.mixture import two_means

        two_means(ordered, sums, MAX_LLOYD_STEPS, centres)


fit_mixture = on_device(partial(device_mixture.fit_mixture, _Steps))


@on_device
def posterior(values: Tensor, kind: str, fit: MixtureFit, low: float, high: float) -> Tensor:
    """As the reference's `low_posterior`."""
    from pcsr_fast.kernels.triton import mixture

    ends = device_mixture.held_ends(kind, low, high)
    state = device_mixture.state_of(fit, kind, values.device)
    out: Tensor = mixture.posterior(device_mixture.in_memory(values), kind, state, ends)
    return out.view(values.shape)


def supports_values(values: Tensor, **options: Any) -> str | None:
    """As `supports`; values are read in float64 too."""
    return supports(values, dtypes=(*DTYPES, torch.float64))
