"""What the suites of the ops share: the backends that run, embeddings of every kind and layout, the rule of precision.

Truth is float64. A backend is picked up by its name in the registry; PCSR_FAST_BACKEND leaves only the one it names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import backends

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
FORWARD = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}
BACKWARD = {torch.float64: 1e-12, torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
# Below, at and above the edges of register tiles and cache blocks.
ODD_SIZES = (63, 100, 127, 129, 257)
# Their score of a pair is the same to the bit wherever the pair lies; a BLAS chooses its kernel by shape and alignment.
STEADY = frozenset({"cpu"})

SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.one_of(
    st.integers(1, 12), st.integers(1, 40), st.sampled_from((15, 16, 17, 31, 32, 33, 48, 64, 65, 97, *ODD_SIZES))
)
WIDTHS = st.one_of(st.integers(1, 9), st.sampled_from((15, 16, 17, 31, 32, 33, 65)))
KINDS = ("unit", "integers", "duplicates", "scaled", "zeros")
GROUPINGS = ("none", "pairs", "some", "one")


class Pairs(NamedTuple):
    """Embeddings x, y (B, D), group ids (B,) or None, and whether every product and sum of them is exact."""

    x: Tensor
    y: Tensor
    groups: Tensor | None
    exact: bool


def runnable(op: str, *args: Any, **options: Any) -> list[str]:
    """The registered backends that say they run `op` on these public arguments."""
    wanted = os.environ.get("PCSR_FAST_BACKEND", "")
    names = [name for name, own in backends._REGISTRY[op].items() if own.supports(*args, **options) is None]
    return [name for name in names if wanted in ("", name)]


def source(generator: torch.Generator) -> dict[str, Any]:
    """Draw from a generator, and where it is whatever torch's default device."""
    return {"generator": generator, "device": generator.device}


def rows_of(kind: str, rows: int, width: int, generator: torch.Generator) -> Tensor:
    """Embeddings (rows, width) in float64. `integers` are whole numbers whose scores are exact and often equal."""
    drawn = source(generator)
    if kind == "integers":
        return torch.randint(-2, 3, (rows, width), **drawn).double()
    unit = torch.nn.functional.normalize(torch.randn(rows, width, dtype=torch.float64, **drawn), dim=1)
    if kind == "duplicates":
        return unit[torch.randint(0, (rows + 2) // 3, (rows,), **drawn)]
    if kind == "scaled":
        return unit * torch.randint(-6, 7, (rows, 1), **drawn).double().exp2()
    if kind == "zeros":
        return unit * torch.randint(0, 2, (rows, 1), **drawn)
    return unit


def group_ids(grouping: str, size: int, generator: torch.Generator) -> Tensor | None:
    """None, ids of about two pairs each, ids of a few large groups (int32, some negative), or one id for all."""
    drawn = source(generator)
    if grouping == "none":
        return None
    if grouping == "one":
        return torch.full((size,), 7, device=generator.device)
    if grouping == "some":
        return torch.randint(-2, 2, (size,), dtype=torch.int32, **drawn)
    return torch.randint(0, size // 2 + 1, (size,), **drawn)


def make_pairs(
    seed: int, size: int, width: int, dtype: torch.dtype, kind: str = "unit", grouping: str = "none"
) -> Pairs:
    """Pairs drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (rows_of(kind, size, width, generator).to(dtype) for _ in range(2))
    return Pairs(x, y, group_ids(grouping, size, generator), kind == "integers")


@st.composite
def pairs(
    draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES, kinds: tuple[str, ...] = KINDS, smallest: int = 1
) -> Pairs:
    """Pairs of every size, width, dtype, kind and grouping."""
    dtype, kind, grouping = (draw(st.sampled_from(choices)) for choices in (dtypes, kinds, GROUPINGS))
    size = max(smallest, draw(SIZES))
    return make_pairs(draw(SEEDS), size, draw(WIDTHS), dtype, kind, grouping)


def merged(groups: Tensor | None, size: int) -> Tensor:
    """Coarser ids: every pair keeps its old group mates and gains some."""
    ids = torch.arange(size) if groups is None else groups.long()
    return ids.div(2, rounding_mode="floor")


def strided(value: Tensor) -> Tensor:
    """The same matrix with every other element of memory left out."""
    return torch.stack([value, torch.full_like(value, torch.nan)], dim=-1)[..., 0]


def transposed(value: Tensor) -> Tensor:
    """The same matrix with columns contiguous."""
    return value.T.contiguous().T


def inside(value: Tensor) -> Tensor:
    """The same matrix as a view with an odd offset into NaN, so that a read beyond a row shows."""
    around = value.new_full((value.shape[0] + 4, value.shape[1] + 5), torch.nan)
    view = around[3:-1, 1:-4]
    view.copy_(value)
    return view


LAYOUTS: tuple[Callable[[Tensor], Tensor], ...] = (strided, transposed, inside)


def reversed_ids(groups: Tensor | None) -> Tensor | None:
    """The same ids as a strided view."""
    return None if groups is None else torch.stack([groups, groups + 1], dim=1)[:, 0]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch and the native core with `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_as_good(ours: Tensor, theirs: Tensor, truth: Tensor, tolerance: float) -> None:
    """err(ours, float64) <= err(torch in the same dtype, float64) + tolerance, relative to the largest true value."""
    assert ours.shape == truth.shape
    error, allowed = ((value.double() - truth).abs().amax() for value in (ours, theirs))
    assert error <= allowed + tolerance * truth.abs().amax().clamp(min=1.0)


def assert_same_bits(ours: Tensor, other: Tensor) -> None:
    """Equal in every bit, the sign of zero included; NaN is refused."""
    assert ours.dtype == other.dtype
    assert torch.equal(ours, other)
    if ours.dtype.is_floating_point:
        assert torch.equal(ours.signbit(), other.signbit())


def assert_same(ours: Tensor, other: Tensor, *, bits: bool, dtype: torch.dtype) -> None:
    """Equal (of zeros whatever the sign), or within what sums in another order may differ by."""
    assert ours.dtype == other.dtype
    if bits:
        assert torch.equal(ours, other)
    else:
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        assert_as_good(ours, other, other.double(), tolerance)


def dot_bound(x: Tensor, y: Tensor) -> Tensor:
    """(N, M): how far a float32 (or float64) x_i.y_j may lie from the true one, whatever the order of its sum."""
    unit = 2.0**-53 if x.dtype == torch.float64 else 2.0**-24
    width = x.shape[1]
    return 2 * width * unit * (x.double().abs() @ y.double().abs().T) + width * 2.0**-149


def arguments(op: Any, **values: Any) -> tuple[Any, ...]:
    """Arguments of a torch.library op in the order of its schema, for opcheck."""
    values = {"precision": "exact"} | values
    return tuple(values[argument.name] for argument in op._schema.arguments)


@contextmanager
def guarded_memory() -> Iterator[list[Tensor]]:
    """Tensors made inside lie between borders of 77; raises at the end where a border was written to.

    Yields the blocks with their borders.
    """
    border, blocks = 32, []

    def between_borders(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def guarded(*args: Any, **options: Any) -> Tensor:
            made = make(*args, **options)
            block = fill((made.numel() + 2 * border,), 77, dtype=made.dtype)
            blocks.append(block)
            return block[border:-border].copy_(made.flatten()).view(made.shape)

        return guarded

    fill = torch.full
    with pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "zeros", "full", "empty_like", "zeros_like"):
            patch.setattr(torch, name, between_borders(getattr(torch, name)))
        for name in ("new_empty", "new_zeros", "new_full"):
            patch.setattr(Tensor, name, between_borders(getattr(Tensor, name)))
        yield blocks
    for block in blocks:
        mark = torch.tensor(77).to(block.dtype)
        assert (block[:border] == mark).all()
        assert (block[-border:] == mark).all()
