"""Argument checks of the public ops: one line naming op, argument, what was got and what is expected."""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.hinge import MARGIN_MODES
from pcsr_fast.reference.negatives import Groups
from pcsr_fast.reference.reduction import REDUCTIONS, compute_dtype

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
MARGIN_NDIM = {"scalar": 0, "anchor": 1, "row": 1, "col": 1, "matrix": 2}


def check_choice(op: str, name: str, got: str, expected: tuple[str, ...]) -> None:
    """ValueError unless `got` is one of `expected`."""
    if got not in expected:
        raise ValueError(f"{op}: {name}: got {got!r}, expected one of {', '.join(expected)}")


def check_reduction(op: str, reduction: str) -> None:
    """ValueError unless it is none, mean or sum."""
    check_choice(op, "reduction", reduction, REDUCTIONS)


def check_matrix(op: str, name: str, value: Tensor) -> None:
    """A floating tensor of two non-empty dimensions: TypeError for the type, ValueError for the shape."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name}: got {type(value).__name__}, expected a torch.Tensor")
    if value.dtype not in FLOATING:
        raise TypeError(f"{op}: {name}: got dtype {value.dtype}, expected float64, float32, bfloat16 or float16")
    if value.ndim != 2 or value.shape[0] == 0 or value.shape[1] == 0:
        raise ValueError(f"{op}: {name}: got shape {tuple(value.shape)}, expected two dimensions, none of them 0")


def check_square(op: str, name: str, value: Tensor) -> None:
    """A floating (B, B) matrix."""
    check_matrix(op, name, value)
    if value.shape[0] != value.shape[1]:
        raise ValueError(f"{op}: {name}: got shape {tuple(value.shape)}, expected a square matrix (B, B)")


def check_same_kind(op: str, name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Same dtype (TypeError) and device (ValueError) as another argument."""
    if value.dtype != like.dtype:
        raise TypeError(f"{op}: {name}: got dtype {value.dtype}, expected {like.dtype} as {like_name} has")
    check_device(op, name, value, like)


def check_device(op: str, name: str, value: Tensor, like: Tensor) -> None:
    """ValueError unless both lie on one device."""
    if value.device != like.device:
        raise ValueError(f"{op}: {name}: got device {value.device}, expected {like.device} as the other tensors have")


def check_embeddings(op: str, x: Tensor, y: Tensor, *, paired: bool = True) -> None:
    """x (N, D) and y (M, D) of one dtype and device; N = M if `paired`."""
    check_matrix(op, "x", x)
    check_matrix(op, "y", y)
    check_same_kind(op, "y", y, "x", x)
    if x.shape[1] != y.shape[1] or (paired and x.shape[0] != y.shape[0]):
        expected = "the shape of x" if paired else "as many columns as x"
        raise ValueError(f"{op}: y: got shape {tuple(y.shape)} with x {tuple(x.shape)}, expected {expected}")


def check_integers(op: str, name: str, value: Tensor, length: int, like: Tensor) -> None:
    """An integer vector of `length` on the device of `like`."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name}: got {type(value).__name__}, expected an integer torch.Tensor")
    if value.dtype not in INTEGERS:
        raise TypeError(f"{op}: {name}: got dtype {value.dtype}, expected integers")
    if value.ndim != 1 or value.shape[0] != length:
        raise ValueError(f"{op}: {name}: got shape {tuple(value.shape)}, expected ({length},)")
    check_device(op, name, value, like)


def check_groups(op: str, groups: Groups, rows: int, columns: int, like: Tensor) -> None:
    """None, ids (rows,) of a square problem, or a pair of ids ((rows,), (columns,))."""
    if groups is None:
        if rows != columns:
            raise ValueError(f"{op}: groups: got None for {rows} x {columns}, expected a pair")
    elif isinstance(groups, tuple):
        if len(groups) != 2:
            raise ValueError(f"{op}: groups: got {len(groups)} tensors, expected a pair")
        check_integers(op, "groups[0]", groups[0], rows, like)
        check_integers(op, "groups[1]", groups[1], columns, like)
    else:
        check_integers(op, "groups", groups, rows, like)
        if rows != columns:
            raise ValueError(f"{op}: groups: got one vector for {rows} x {columns}, expected a pair")


def margin_tensor(op: str, margin: float | Tensor, margin_mode: str, like: Tensor) -> Tensor:
    """`margin` as a tensor on the device of `like`: 0-d, (B,) for anchor, row and col, or (B, B) for matrix.

    A column (B, 1) is refused: broadcasting would silently pick one of the modes.
    """
    check_choice(op, "margin_mode", margin_mode, MARGIN_MODES)
    if not isinstance(margin, Tensor):
        if isinstance(margin, bool) or not isinstance(margin, int | float):
            raise TypeError(f"{op}: margin: got {type(margin).__name__}, expected a number or a torch.Tensor")
        return torch.full((), margin, dtype=compute_dtype(like.dtype), device=like.device)
    if margin.dtype not in FLOATING:
        raise TypeError(f"{op}: margin: got dtype {margin.dtype}, expected a floating one")
    expected = (like.shape[0],) * MARGIN_NDIM[margin_mode]
    if margin.ndim != 0 and tuple(margin.shape) != expected:
        wanted = f"a number or {expected}" if expected else "a number"
        raise ValueError(f"{op}: margin: got shape {tuple(margin.shape)}, expected {wanted} for {margin_mode=}")
    check_device(op, "margin", margin, like)
    return margin
