"""What an op must cost at least: operations, bytes, and the time a machine of given peaks needs (KERNELS 1).

The floors count each input read once and each result written once, and the products of the score matrix; an
implementation cannot beat them, and benchmarks print the share reached.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

EM_ITERATIONS = 10
EM_FLOPS_PER_VALUE = 30
SOFTMAX_FLOPS_PER_SCORE = 4
Cost = tuple[int, int]
Shapes = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Estimate:
    """Floor of one call: flops, bytes moved, seconds at the peaks (flop/s, byte/s), and which peak binds."""

    op: str
    flops: int
    bytes: int
    seconds: float
    peak_flops: float
    peak_bandwidth: float

    @property
    def bound(self) -> str:
        """ "compute" or "memory"."""
        return "compute" if self.flops / self.peak_flops >= self.bytes / self.peak_bandwidth else "memory"


def _scores(shapes: Shapes) -> tuple[int, int, int]:
    """(N, M, D) of x (N, D) and y (M, D)."""
    (rows, width), (columns, _) = shapes
    return rows, columns, width


def _triplet(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    rows, columns, width = _scores(shapes)
    inputs = (rows + columns) * width
    gather = 8 * rows * width if backward else 0
    return 2 * rows * columns * width + gather, inputs * size * (3 if backward else 1) + 16 * (rows + columns)


def _contrastive(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    rows, columns, width = _scores(shapes)
    products = 4 if backward else 1
    flops = rows * columns * (2 * width * products + SOFTMAX_FLOPS_PER_SCORE * (2 if backward else 1))
    return flops, (rows + columns) * (width * size * (3 if backward else 1) + 4)


def _pairs(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    rows, columns, width = _scores(shapes)
    return 2 * rows * min(columns, batch_size or columns) * width, (rows + columns) * width * size + 4 * rows


def _ranks(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    rows, columns, width = _scores(shapes)
    return 2 * rows * columns * width, (rows + columns) * width * size + 8 * (rows + 2 * columns)


def _mixture(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    count = functools.reduce(lambda a, b: a * b, shapes[0], 1)
    return EM_ITERATIONS * EM_FLOPS_PER_VALUE * count, (EM_ITERATIONS + 1) * count * size + 8 * count


def _cross_attention(shapes: Shapes, size: int, backward: bool, batch_size: int | None) -> Cost:
    """The gradient is that of positives and hardest negatives: each pair recomputed, then two products for each one."""
    (images, regions, width), (words, _), (captions, _), *head = shapes
    per_word = 4 * regions * width if head else 2 * regions * (width + regions)
    flops, moved = words * per_word, images * regions * width + words * width
    if head:
        (similarity, _), (steps, *_) = head
        nodes = words + captions
        # Edges and their mixtures; the last step is of one node a pair.
        step = 4 * nodes * similarity * (similarity + nodes // captions)
        flops += 2 * nodes * similarity * width + (steps - 1) * step + 4 * captions * similarity * similarity
        moved += (images + captions) * width
    pairs = 3 * 3 if backward else 0
    return flops * (images + pairs), moved * size * (3 if backward else 1) + 4 * images * captions


COSTS: dict[str, Callable[[Shapes, int, bool, int | None], Cost]] = {
    "triplet_loss": _triplet,
    "hardest_negatives": _triplet,
    "contrastive_loss": _contrastive,
    "pair_losses": _pairs,
    "retrieval_ranks": _ranks,
    "fit_mixture": _mixture,
    "cross_attention_similarity": _cross_attention,
}
# Dimensions of the shapes that each op takes.
DIMENSIONS = {
    **dict.fromkeys(COSTS, ((2, 2),)),
    "fit_mixture": ((1,),),
    "cross_attention_similarity": ((3, 2, 2), (3, 2, 2, 2, 3)),
}


def _fastest(run: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Seconds of the fastest of some calls, the device's queue emptied before and after each."""
    best = float("inf")
    for _ in range(repeats):
        torch.accelerator.synchronize() if device.type != "cpu" else None
        start = time.perf_counter()
        run()
        torch.accelerator.synchronize() if device.type != "cpu" else None
        best = min(best, time.perf_counter() - start)
    return best


@functools.cache
def measured_peaks(dtype: torch.dtype, device: str) -> tuple[float, float]:
    """(flop/s of a 1024-cubed matrix product, byte/s of a 64 MiB copy) on this machine, measured once."""
    where = torch.device(device)
    a = torch.ones(1024, 1024, dtype=dtype, device=where)
    source = torch.ones(2**24, dtype=torch.float32, device=where)
    target = torch.empty_like(source)
    product = _fastest(lambda: a @ a, where)
    copy = _fastest(lambda: target.copy_(source), where)
    return 2 * 1024**3 / product, 2 * source.nbytes / copy


def estimate(
    op: str,
    shapes: Shapes,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    *,
    backward: bool = False,
    batch_size: int | None = None,
    peak_flops: float | None = None,
    peak_bandwidth: float | None = None,
) -> Estimate:
    """Floor of one call of `op` on tensors of these shapes.

    Args:
        op: triplet_loss, hardest_negatives, contrastive_loss, pair_losses, retrieval_ranks, fit_mixture or
            cross_attention_similarity.
        shapes: of the tensors, e.g. ((2048, 1024), (2048, 1024)), or ((145000,),) for fit_mixture. Of
            cross_attention_similarity: regions (B, R, d), all words (W, d), captions (C, d), then for SGR the projection
            (s, d) and the steps (K, s, s).
        dtype, device: of the tensors; used for their size and to measure the peaks not given.
        backward: include the gradient; of cross_attention_similarity that of the hardest negatives.
        batch_size: of pair_losses.
        peak_flops, peak_bandwidth: flop/s and byte/s of the machine.

    Raises:
        ValueError: an unknown op or shapes it cannot have.
    """
    if op not in COSTS:
        raise ValueError(f"estimate: op: got {op!r}, expected one of {', '.join(COSTS)}")
    got = tuple(len(shape) for shape in shapes)
    if got not in DIMENSIONS[op]:
        expected = " or ".join(str(wanted) for wanted in DIMENSIONS[op])
        raise ValueError(f"estimate: shapes: got {[tuple(s) for s in shapes]}, expected dimensions {expected} for {op}")
    flops, moved = COSTS[op](shapes, dtype.itemsize, backward, batch_size)
    if peak_flops is None or peak_bandwidth is None:
        measured = measured_peaks(dtype, str(device))
        peak_flops, peak_bandwidth = peak_flops or measured[0], peak_bandwidth or measured[1]
    seconds = max(flops / peak_flops, moved / peak_bandwidth)
    return Estimate(op, flops, moved, seconds, peak_flops, peak_bandwidth)
