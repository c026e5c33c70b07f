"""Which pairs of a batch are negatives of each other (METHODS 2.2, positive mask)."""

from __future__ import annotations

import torch
from torch import Tensor

Groups = Tensor | tuple[Tensor, Tensor] | None


def split_groups(groups: Groups) -> tuple[Tensor, Tensor] | None:
    """`groups` as a pair (image side, caption side); one vector serves both sides."""
    return (groups, groups) if isinstance(groups, Tensor) else groups


def negative_mask(S: Tensor, groups: Groups = None) -> Tensor:
    """Boolean, shape and device of S: True where caption j is a negative of image i.

    Without `groups` everything off the diagonal is; with them, everything whose id differs. The diagonal of a square
    set always shares its own id, so it is never a negative.
    """
    pair = split_groups(groups)
    if pair is not None:
        return pair[0][:, None] != pair[1][None, :]
    return ~torch.eye(*S.shape, dtype=torch.bool, device=S.device)
