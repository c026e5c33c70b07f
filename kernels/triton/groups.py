"""Pairs of images and captions in tiles: captions of about one length together, so that a tile holds little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import triton

from .launch import interpreting

FEWEST_SLOTS = 16  # what tensor cores take of rows


class Tile(NamedTuple):
    """Tile of a launch: rows, width of the steps of its products, columns of a projection, the compiler's options."""

    rows: int
    block_k: int
    columns: int = 256
    warps: int = 8
    stages: int = 2
    precision: str = "ieee"

    @property
    def options(self) -> dict[str, Any]:
        """What every kernel that multiplies takes, besides rows."""
        own = {"BLOCK_K": self.block_k, "PRECISION": self.precision}
        return own | {"num_warps": self.warps, "num_stages": self.stages}


class Part(NamedTuple):
    """Groups of pairs: images (groups,) with captions (groups, rows / slots), both int32, caption -1 for none."""

    slots: int
    images: Tensor
    captions: Tensor

    @property
    def rows(self) -> int:
        """Rows of a tile that holds one group."""
        return self.slots * self.captions.shape[1]


def _slots(length: int, first: int) -> int:
    return max(FEWEST_SLOTS, triton.next_power_of_2(length + first))


def _table(captions: Sequence[int], each: int) -> list[list[int]]:
    """Rows of `each`, the last one filled up with -1."""
    groups = [list(captions[start : start + each]) for start in range(0, len(captions), each)]
    groups[-1] += [-1] * (each - len(groups[-1]))
    return groups


def grid_parts(
    lengths: Sequence[int], images: int, rows: int, first: int, chunk: int, device: torch.device
) -> Iterator[Part]:
    """All pairs of images with the captions that fit into a tile of `rows`, about `chunk` rows at a time.

    A caption takes a power of two of a tile's rows, `first` of them before its words.
    """
    members: dict[int, list[int]] = {}
    for caption, length in enumerate(lengths):
        if length + first <= rows:
            members.setdefault(_slots(length, first), []).append(caption)
    for slots, captions in sorted(members.items()):
        each = rows // slots
        table = torch.tensor(_table(captions, each), dtype=torch.int32, device=device)
        groups, step = len(table) * images, max(1, chunk // (each * slots))
        for start in range(0, groups, step):
            index = torch.arange(start, min(start + step, groups), device=device)
            yield Part(slots, (index % images).int(), table[index // images])


def pair_parts(
    lengths: Sequence[int],
    pairs: tuple[Sequence[int], Sequence[int]],
    rows: int,
    first: int,
    chunk: int,
    device: torch.device,
) -> Iterator[Part]:
    """The same of pairs (images, captions) alone; those of one image share its tiles."""
    members: dict[int, dict[int, list[int]]] = {}
    for image, caption in sorted(zip(*pairs, strict=True)):
        if lengths[caption] + first <= rows:
            members.setdefault(_slots(lengths[caption], first), {}).setdefault(image, []).append(caption)
    for slots, by_image in sorted(members.items()):
        each = rows // slots
        tables = [(image, group) for image, captions in by_image.items() for group in _table(captions, each)]
        step = max(1, chunk // (each * slots))
        for start in range(0, len(tables), step):
            owners, groups = zip(*tables[start : start + step], strict=True)
            whole = torch.tensor(owners, dtype=torch.int32, device=device)
            yield Part(slots, whole, torch.tensor(groups, dtype=torch.int32, device=device))


def regions_tile(regions: Tensor) -> int:
    """Columns of a tile that holds all regions of an image."""
    return max(FEWEST_SLOTS, triton.next_power_of_2(regions.shape[1]))


def gram_of(regions: Tensor) -> Tensor:
    """Products of the regions of each image with each other (B, R, R), rounded to the dtype of the regions."""
    wide = regions.float()
    return (wide @ wide.transpose(1, 2)).to(regions.dtype)


def wide(values: Tensor) -> bool:
    """Whether the interpreter must widen these before it multiplies."""
    return interpreting() and values.dtype == torch.bfloat16
