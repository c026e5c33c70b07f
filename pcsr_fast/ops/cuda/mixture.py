"""Two-component mixtures by CUDA kernels (METHODS 2.3; KERNELS 1, K3)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from pcsr_fast.native_cuda import call
from pcsr_fast.ops import device_mixture
from pcsr_fast.ops.cpu.arguments import address
from pcsr_fast.reference.gaussian import MixtureFit
from pcsr_fast.reference.mixture import MIXTURE_KINDS
from pcsr_fast.reference.two_means import MAX_LLOYD_STEPS

MOST_PARTS, FLOAT32_PARTS = 1024, 528  # the latter a wave of an H100: four on each of its 132 multiprocessors
VALUES_A_PART = 4096  # so that sums do not depend on the device


def _raw(flat: Tensor) -> tuple[int, int, bool]:
    """Address, number, and whether they are float64."""
    return flat.data_ptr(), flat.numel(), flat.dtype == torch.float64


class _Steps:
    """`device_mixture.Steps` of the kernels, with the workspace of their sums."""

    def __init__(self, values: Tensor, kind: str, tol: float, reg_covar: float) -> None:
        self.values, self.settings = values, (MIXTURE_KINDS.index(kind), tol, reg_covar)
        most = FLOAT32_PARTS if kind == "gaussian" and values.dtype == torch.float32 else MOST_PARTS
        self.parts = min(most, -(-values.numel() // VALUES_A_PART))
        self.partials = torch.empty(self.parts, 7, dtype=torch.float64, device=values.device)

    def step(self, state: Tensor, stage: int, assigned: Tensor | None = None) -> None:
        """Queue one pass and the step that follows."""
        work = (address(state), address(self.partials), self.parts)
        call("mixture_pass", state.device, _raw(self.values), address(assigned), stage, *self.settings, *work)

    def two_means(self, ordered: Tensor, sums: Tensor, centres: Tensor) -> None:
        """Queue Lloyd's iteration."""
        addresses = address(ordered), address(sums)
        call("two_means", ordered.device, *addresses, ordered.numel(), MAX_LLOYD_STEPS, address(centres))


fit_mixture = partial(device_mixture.fit_mixture, _Steps)


def posterior(values: Tensor, kind: str, fit: MixtureFit, low: float, high: float) -> Tensor:
    """As the reference's `low_posterior`."""
    flat, state = device_mixture.in_memory(values), device_mixture.state_of(fit, kind, values.device)
    out = torch.empty(values.shape, dtype=torch.float64, device=values.device)
    ends = device_mixture.held_ends(kind, low, high)
    call("mixture_posterior", values.device, _raw(flat), MIXTURE_KINDS.index(kind), address(state), *ends, address(out))
    return out
