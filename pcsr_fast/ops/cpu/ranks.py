"""Retrieval ranks on the native core (METHODS 1.3; KERNELS 1, K5)."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.ops.cpu.arguments import address, kernel, matrix, rows_in_memory
from pcsr_fast.reference.ranks import TIES, RetrievalRanks


def retrieval_ranks(x: Tensor, y: Tensor, image_of_text: Tensor, ties: str, precision: str) -> RetrievalRanks:
    """As the reference, in O(N + M) memory; every score is computed the same way wherever it is compared."""
    if precision == "bf16":
        x, y = x.to(torch.bfloat16), y.to(torch.bfloat16)
    x, y = rows_in_memory(x), rows_in_memory(y)
    image_of_text = image_of_text.contiguous()
    out = [torch.empty(side.shape[0], dtype=torch.int64) for side in (x, y)]
    kernel("ranks", x.dtype)(
        matrix(x),
        matrix(y),
        address(image_of_text),
        TIES.index(ties),
        precision,
        [address(value) for value in out],
    )
    return RetrievalRanks(*out)
