"""Retrieval ranks by CUDA kernels (METHODS 1.3; KERNELS 1, K5)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.native_cuda import call
from pcsr_fast.ops.cpu.arguments import address
from pcsr_fast.ops.cuda.arguments import sides
from pcsr_fast.reference.ranks import TIES, RetrievalRanks


def retrieval_ranks(x: Tensor, y: Tensor, image_of_text: Tensor, ties: str, precision: str) -> RetrievalRanks:
    """As the reference, in O(N + M) memory; every score is computed the same way wherever it is compared."""
    product, image_of_text = sides(x, y, precision), image_of_text.contiguous()
    best = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    own = torch.empty(y.shape[0], dtype=torch.float32, device=x.device)
    i2t, t2i = (torch.zeros(side.shape[0], dtype=torch.int64, device=x.device) for side in (x, y))
    call(
        "ranks",
        x.device,
        product.x,
        product.y,
        product.arithmetic,
        address(image_of_text),
        TIES.index(ties),
        [address(best), address(own)],
        [address(i2t), address(t2i)],
    )
    return RetrievalRanks(i2t.masked_fill_(best == 0, -1), t2i)
