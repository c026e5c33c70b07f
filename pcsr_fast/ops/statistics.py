"""Set-wide ops without gradients: similarity matrix, pair losses (METHODS 2.2; KERNELS 1, K2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks
from pcsr_fast.ops.cpu import pairs as cpu
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cuda import arguments as cuda_arguments
from pcsr_fast.ops.cuda import hinge as cuda
from pcsr_fast.ops.triton import arguments as triton_arguments
from pcsr_fast.ops.triton import pairs as triton
from pcsr_fast.reference import pairs
from pcsr_fast.reference.labels import unit_rows
from pcsr_fast.reference.pairs import PairLosses, PairStatistics
from pcsr_fast.reference.reduction import compute_dtype

backends.register("pair_losses", "reference", pairs.pair_losses)
backends.register("pair_losses", "cpu", cpu.pair_losses, supports)
backends.register("pair_losses", "cuda", cuda.pair_losses, cuda_arguments.supports)
backends.register("pair_losses", "triton", triton.pair_losses, triton_arguments.supports)


def similarity(x: Tensor, y: Tensor, normalize: bool = True) -> Tensor:
    """Cosine (or plain product) matrix (B1, B2) of x (B1, D) and y (B2, D), in their dtype; differentiable.

    Normalising divides each row by its length + 1e-8, in float32 at least. Source: METHODS 8.

    Raises:
        TypeError, ValueError: an argument of the wrong kind.
    """
    _checks.check_embeddings("similarity", x, y, paired=False)
    if normalize:
        return unit_rows(x).to(x.dtype) @ unit_rows(y).to(y.dtype).T
    return x @ y.T


Five = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op(
    "pcsr_fast::pair_losses",
    mutates_args=(),
    schema="(Tensor x, Tensor y, float margin, int? batch_size, Tensor? order, Tensor? groups, int chunk, str backend)"
    " -> (Tensor losses, Tensor minimum, Tensor maximum, Tensor mean, Tensor variance)",
)
def pair_losses_op(
    x: Tensor,
    y: Tensor,
    margin: float,
    batch_size: int | None,
    order: Tensor | None,
    groups: Tensor | None,
    chunk: int,
    backend: str,
) -> Five:
    op = "pair_losses"
    # Here, as a compiled caller sees no values.
    if order is not None and not torch.equal(order.sort().values, torch.arange(len(order), device=order.device)):
        raise ValueError(f"{op}: order: expected a permutation of 0 to {x.shape[0] - 1}")
    run = backends.select(op, backend, x, y, margin=margin, batch_size=batch_size, groups=groups)
    with torch.autocast(x.device.type, enabled=False):
        losses, statistics = run(x, y, margin=margin, batch_size=batch_size, order=order, groups=groups, chunk=chunk)
    return losses, *statistics


@pair_losses_op.register_fake
def _(x: Tensor, *_: Any) -> Five:
    losses = x.new_empty((x.shape[0],), dtype=compute_dtype(x.dtype))
    minimum, maximum, mean, variance = (x.new_empty((), dtype=torch.float64) for _ in range(4))
    return losses, minimum, maximum, mean, variance


def pair_losses(
    x: Tensor,
    y: Tensor,
    *,
    margin: float = 0.2,
    batch_size: int | None = None,
    order: Tensor | None = None,
    groups: Tensor | None = None,
    chunk: int = 1024,
    backend: str | None = None,
) -> PairLosses:
    """Mean-hinge loss of every pair of a whole set, with the moments the split needs.

    Args:
        x, y: image and caption embeddings (N, D), one floating dtype and device; row i of both is a pair. Sets larger
            than memory: `torch.from_numpy(np.load(path, mmap_mode="r"))`.
        margin: a number.
        batch_size: None takes all other pairs as negatives; else only those of the pair's own block, nearly equal
            blocks of at most this many pairs (at least 2), cut from `order`.
        order: (N,) int64, a permutation (a seeded shuffle); None: as they lie. Only with `batch_size`.
        groups: (N,) integers; pairs with equal ids are no negatives.
        chunk: images a step; bounds memory and changes no result beyond rounding.
        backend: see `pcsr_fast.backends`.

    Returns:
        losses (N,), at least float32, and PairStatistics(minimum, maximum, mean, variance) as 0-d float64 tensors.
        Not differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 2.2 (eval_loss), 2.3; KERNELS 1, K2.
    """
    op = "pair_losses"
    _checks.check_embeddings(op, x, y)
    if groups is not None:
        _checks.check_integers(op, "groups", groups, x.shape[0], x)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise TypeError(f"{op}: margin: got {type(margin).__name__}, expected a number")
    if batch_size is not None and batch_size < 2:
        raise ValueError(f"{op}: batch_size: got {batch_size}, expected at least 2 or None")
    if chunk < 1:
        raise ValueError(f"{op}: chunk: got {chunk}, expected at least 1")
    if order is not None:
        if batch_size is None:
            raise ValueError(f"{op}: order: given without batch_size, where it has no effect; expected both or neither")
        _checks.check_integers(op, "order", order, x.shape[0], x)
        order = order.to(torch.int64)
    losses, *statistics = pair_losses_op(
        x.detach(), y.detach(), float(margin), batch_size, order, groups, chunk, backend or ""
    )
    return PairLosses(losses, PairStatistics(*statistics))
